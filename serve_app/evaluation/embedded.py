"""Evaluate an embedded model by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from serve_app.evaluation import detector, encoder, motion, solids
from serve_app.evaluation.photographs import Pixels, read_photographs
from serve_app.evaluation.report import Figures, Tell, say_nothing
from serve_app.models.embedded.solids import SOLIDS
from serve_app.models.manifest import load_manifest

PAIRS, SCENES = 1_000, 300
MESHES = 0.2  # for each scene that was asked for: eight views are drawn and read of each
CLIPS = 6  # for each scene that was asked for: a clip is read faster, and there are more labels


def evaluate(
    name: str,
    folder: Path,
    *,
    pairs: int = PAIRS,
    scenes: int = SCENES,
    photographs: Sequence[Pixels] | None = None,
    tell: Tell = say_nothing,
) -> Figures:
    """What the weights in ``folder`` are worth as the model ``name`` of the shipped manifest.

    Without ``photographs`` an encoder looks for scikit-image's eight, and the others are given none. Raises KeyError
    for an unknown name, FileNotFoundError where a file is missing, ValueError for files that do not fit the manifest's
    row.
    """
    model = load_manifest().models[name]
    files = {logical: folder / file.name for logical, file in model.files.items()}
    if model.video is not None:
        return motion.evaluate(model, files, CLIPS * scenes, photographs or (), tell)
    if model.clip is None:
        found = detector.evaluate(model, files["weights"], scenes, photographs or (), tell)
        reader = detector.Reader(model, files["weights"])
        return found | solids.mesh_figures(reader, max(len(SOLIDS), round(MESHES * scenes)), tell)
    chosen = list(read_photographs().pictures.values()) if photographs is None else photographs
    return encoder.evaluate(model, files, pairs, chosen, tell)
