"""``mediaverse evaluate retrieval``: how well captions and pictures find each other, and thresholds for ``auto``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serve_app.cli_common import AsJson, bar, err, fail, out, say_json, show_columns
from serve_app.errors import Problem
from serve_app.models.manifest import ManifestError, Model, load_manifest
from serve_app.models.pull import PullError, convert_shipped
from serve_app.models.store import Store, default_home

if TYPE_CHECKING:
    from serve_app.evaluation.captions import Captioned
    from serve_app.evaluation.embedding import Embedded
    from serve_app.evaluation.retrieval import Pair

TASKS = ("cross_modal_embedding", "text_embedding")
Found = dict[str, dict[str, "Pair"]]
"""Revision -> pair of modalities -> what was measured."""


def retrieval(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE|DIR",
            help="COCO captions, or a folder of NAME.jpg with NAME.txt, a caption a line; generated pairs if left out.",
            exists=True,
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Where the pictures of a captions file are.", exists=True)
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="An encoder of models.yaml; the profile's else.")] = None,
    profile: Annotated[str, typer.Option("--profile", help="Whose encoders are measured.")] = "embedded",
    pairs: Annotated[int, typer.Option("--pairs", min=2, max=20_000, help="How many pairs are generated.")] = 1000,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Keep the thresholds for min_score: auto.")] = False,
    to: Annotated[Path | None, typer.Option("--out", help="Write retrieval.json and the curves here.")] = None,
    home: Annotated[Path | None, typer.Option("--home", envvar="MEDIAVERSE_HOME", help="Where weights are.")] = None,
    as_json: AsJson = False,
) -> None:
    """Recall and MRR between pictures and texts, similarities of what belongs together and what does not, and what
    leaving out the less similar costs."""
    place = home or default_home()
    try:
        captioned = _read(source, images, pairs)
        found, skipped = _measured(_models(model, profile), Store(place), captioned)
        kept = _keep(found, place) if calibrate else None
        document = _document(found, captioned, skipped)
        if to:
            _write(found, document, to)
    except Problem as problem:
        fail(problem, as_json)
    if as_json:
        say_json(document)
        return
    _say(document)
    if kept:
        out.print(f"thresholds for min_score auto are in {kept}; a service takes them up when it starts", markup=False)


def _read(source: Path | None, images: Path | None, pairs: int) -> Captioned:
    # Here, not above: every command imports this file, and these bring ONNX Runtime and torch.
    from serve_app.evaluation.captions import generated, read_captioned

    return generated(pairs) if source is None else read_captioned(source, images)


def _models(name: str | None, profile: str) -> list[Model]:
    """The encoder of that name, or those of the profile."""
    table = load_manifest()
    try:
        chosen = table.select(name) if name else list(table.profile(profile).values())
    except ManifestError as error:
        raise Problem("bad_request", str(error)) from None
    found = [model for model in chosen if model.task in TASKS]
    if not found:
        known = ", ".join(sorted(model.name for model in table.models.values() if model.task in TASKS))
        raise Problem("bad_request", f"{name or profile} is no encoder; there are {known}")
    return found


def _measured(models: list[Model], store: Store, captioned: Captioned) -> tuple[Found, dict[str, str]]:
    from serve_app.evaluation.embedding import embed

    found, skipped = Found(), dict[str, str]()
    with bar("{task.completed}/{task.total}") as progress:
        task = progress.add_task("making ready", total=None)
        for model in models:
            progress.update(task, description=f"making {model.key} ready", total=None)
            try:
                convert_shipped(store, model)
            except PullError as error:
                raise Problem("unavailable", str(error), store.remedy(model)) from None
            embedded = embed(
                model, store, captioned,
                tell=lambda stage, done, every: progress.update(task, description=stage, completed=done, total=every),
            )  # fmt: skip
            progress.update(task, description="comparing", total=None)
            found[model.key] = _pairs(embedded)
            skipped |= embedded.skipped
    return found, skipped


def _pairs(embedded: Embedded) -> dict[str, Pair]:
    from serve_app.evaluation.retrieval import Side, measure

    texts, images = embedded.texts, embedded.images
    found = {"text-text": measure(texts, texts, same=True)}
    if images is None or not len(images.groups):
        return found
    # A caption whose picture is not there is no query: nobody could answer it.
    there = (texts.groups[:, None] == images.groups[None, :]).any(axis=1)
    asked = Side(texts.vectors[there], texts.groups[there])
    return {
        "text-image": measure(asked, images),
        "image-text": measure(images, texts),
        **found,
        "image-image": measure(images, images, same=True),
    }


def _keep(found: Found, home: Path) -> Path:
    from serve_app.retrieval.thresholds import save_thresholds

    told = {
        revision: {(query, result): least for name, pair in pairs.items() if pair.known
                   for query, _, result in [name.partition("-")] if (least := pair.threshold()) is not None}
        for revision, pairs in found.items()
    }  # fmt: skip
    try:
        return save_thresholds(home, told)
    except (OSError, ValueError) as error:
        raise Problem("bad_request", f"the thresholds cannot be kept: {error}") from None


def _document(found: Found, captioned: Captioned, skipped: dict[str, str]) -> dict[str, Any]:
    return {
        "pictures": len(captioned.pictures),
        "captions": len(captioned.texts),
        "missing": captioned.missing,
        "skipped": skipped,
        "revisions": {
            revision: {name: pair.document() for name, pair in pairs.items()} for revision, pairs in found.items()
        },
    }


def _write(found: Found, document: dict[str, Any], to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    (to / "retrieval.json").write_text(json.dumps(document, indent=2, ensure_ascii=False), encoding="utf-8")
    for revision, pairs in found.items():
        for name, pair in pairs.items():
            shown = document["revisions"][revision][name]
            _draw(pair, shown, f"{name}, {revision}", to / f"{revision.replace('@', '-')}-{name}")


def _draw(pair: Pair, shown: dict[str, Any], title: str, start: Path) -> None:
    """The similarities, and where something is known to belong together what a threshold costs."""
    from serve_app.evaluation.plots import curves

    spreads = {"similar": pair.similar, "dissimilar": pair.dissimilar}
    if lines := {name: one.curve() for name, one in spreads.items() if len(one)}:
        curves(Path(f"{start}-similarities.png"), title, "cosine similarity", lines, shown["threshold"])
    if pair.known:
        lines = {
            figure: [(row["filtered_of_10"], row[figure]) for row in shown["curve"]]
            for figure in ("recall@1", "recall@5", "recall@10", "mrr")
        }
        mark = (shown["at_threshold"] or {}).get("filtered_of_10")
        curves(Path(f"{start}-filtered.png"), title, "left out of the first ten, a query", lines, mark)


def _say(document: dict[str, Any]) -> None:
    for name, why in document["skipped"].items():
        err.print(f"{name}: {why}", markup=False)
    missing = f" ({len(document['missing'])} more are not there)" if document["missing"] else ""
    out.print(f"{document['pictures']} pictures{missing}, {document['captions']} captions", markup=False)
    for revision, pairs in document["revisions"].items():
        _say_recall(revision, pairs)
        _say_similarities(pairs)


def _say_recall(revision: str, pairs: dict[str, Any]) -> None:
    out.print(f"\n{revision}", style="bold", markup=False)
    rows: list[tuple[str, ...]] = [
        ("query-result", "queries", "among", "recall@1", "@5", "@10", "MRR", "threshold", "keeps", "drops of 10")
    ]
    for name, pair in pairs.items():
        if pair["recall"] is None:
            rows.append((name, "0", str(pair["targets"]), *["unknown"] * 5, "", ""))
            continue
        figures = [f"{value:.3f}" for value in pair["recall"].values()]
        at = pair["at_threshold"]
        after = [f"{pair['threshold']:.3f}", f"{at['recall@10']:.3f}", f"{at['filtered_of_10']:.2f}"] if at else []
        rows.append((name, str(pair["answerable"]), str(pair["targets"]), *figures, *(after or ["unknown", "", ""])))
    show_columns(*rows)


def _say_similarities(pairs: dict[str, Any]) -> None:
    rows: list[tuple[str, ...]] = [("query-result", "", "pairs", "mean", "std", "5 %", "50 %", "95 %")]
    for name, pair in pairs.items():
        for kind in ("similar", "dissimilar"):
            if not (shown := pair[kind]):
                rows.append((name, kind, "0", *["unknown"] * 5))
                continue
            figures = [f"{shown[key]:.3f}" for key in ("mean", "std", "q0.05", "q0.5", "q0.95")]
            rows.append((name, kind, str(shown["pairs"]), *figures))
    show_columns(*rows)
