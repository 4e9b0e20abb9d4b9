"""What meshes are called: by hand, and by the detector that ships."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from serve_app.evaluation import solids
from serve_app.evaluation.detector import Reader, Stored
from serve_app.evaluation.solids import Seen, look, mesh_figures, seen
from serve_app.media.cameras import ring
from serve_app.media.meshes import Mesh
from serve_app.media.rendering import Camera, Style, Views
from serve_app.models.embedded.solids import SOLIDS
from serve_app.models.manifest import load_manifest


class Numbered(Reader):
    """Finds in a picture what its number says: rows of score and class."""

    def __init__(self, *found: Sequence[tuple[float, int]]) -> None:
        self.stored, self.labels, self.size = Stored(0.5, 0.5, 1.0, 0.0), [*SOLIDS, "text block"], 256
        self._found = found

    def find(self, pixels: np.ndarray) -> np.ndarray:
        rows = [(0, 0, 9, 9, *one) for one in self._found[int(pixels[0, 0, 0])]]
        return np.array(rows, np.float32).reshape(-1, 6)


class Numbers:
    """Draws the number of each view."""

    name = "numbers"

    def render(self, mesh: Mesh, cameras: Sequence[Camera], style: Style) -> Views:
        colour = (
            np.zeros((len(cameras), 8, 8, 3), np.uint8) + np.arange(len(cameras), dtype=np.uint8)[:, None, None, None]
        )
        return Views(colour, np.zeros((len(cameras), 8, 8), np.uint8), np.zeros((len(cameras), 8, 8), np.float32))


def test_labels_of_all_views_are_joined_at_the_threshold() -> None:
    reader = Numbered([(0.6, 0), (0.2, 2)], [], [(0.8, 1), (0.7, 0), (0.49, 3)])
    found = look(reader, Numbers(), ring()[:3], 0, "cube")
    assert found.labels == {"sphere": pytest.approx(0.8), "cube": pytest.approx(0.7)}
    assert list(found.labels) == ["sphere", "cube"]
    assert (found.named, found.named_first) == (True, False)


def test_shares_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "cube": {"cube": 0.9},
        "sphere": {"cone": 0.9, "sphere": 0.7},
        "cylinder": {"cone": 0.9},
        "cone": {"cone": 0.9, "pyramid": 0.8},
        "torus": {},
        "pyramid": {"pyramid": 0.6},
        "mug": {"cylinder": 0.7},
        "bottle": {},
    }
    monkeypatch.setattr(solids, "look", lambda reader, renderer, cameras, number, shape: Seen(shape, answers[shape]))
    found = mesh_figures(Numbered(), 6)
    assert found["solids named in rendered meshes"] == pytest.approx(4 / 6)
    assert found["solids named first"] == pytest.approx(3 / 6)
    assert [found[f"{shape} named first"] for shape in SOLIDS] == [1, 0, 0, 1, 0, 1]
    assert found["everyday meshes called a solid"] == pytest.approx(1 / 2)


def test_the_detector_that_ships_names_solids() -> None:
    """One of each; `mediaverse models evaluate` looks at more."""
    weights = Path(str(files("serve_app.models.embedded"))) / "weights" / "shapes.onnx"
    found = seen(Reader(load_manifest().models["shapes-embedded"], weights, threads=1), SOLIDS, len(SOLIDS))
    assert sum(one.named for one in found) >= 5
    assert sum(one.named_first for one in found) >= 4
