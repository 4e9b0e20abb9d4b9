"""``mediaverse evaluate recommendation``: lists for users whose interests are known, by every mode."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve_app.cli_common import AsJson, bar, fail, out, say_json, show_columns
from serve_app.errors import Problem

if TYPE_CHECKING:
    from serve_app.evaluation.recommendation import Bench, Row


def recommendation(
    users: Annotated[int, typer.Option(min=2, max=1000, help="of each kind, for each seed")] = 10,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="catalogs that are generated, by seeds 0, 1, ...")] = 2,
    captions: Annotated[
        Path | None,
        typer.Option(
            "--captions",
            help="a folder with captions/coco_captions_and_labels.json and pictures: users of these too",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="a row of models.yaml that embeds captions and pictures")
    ] = "clip-embedded",
    to: Annotated[
        Path | None, typer.Option("--out", help="curves over k and over d too: tables, JSON and plots in this folder")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the modes: diversity (ILD), relevance, nearness to posts held out, and how many interests are covered."""
    from serve_app.evaluation.readers import SCENARIOS, generated
    from serve_app.evaluation.recommendation import D, K, measure, sweep

    try:
        kinds = [[generated(scenario, users, seed) for seed in range(seeds)] for scenario in SCENARIOS]
        if captions is not None:
            kinds += _of_captions(captions, model, users, seeds)
        points = sweep() if to else [(K, D)]
        rows: list[Row] = []
        with bar("{task.completed}/{task.total} users") as progress:
            total = sum(len(bench.readers) for benches in kinds for bench in benches)
            task = progress.add_task("recommending", total=total)
            for benches in kinds:
                rows += measure(benches, points, lambda: progress.advance(task))
    except Problem as problem:
        fail(problem, as_json)
    if to:
        _write(rows, to)
    if as_json:
        say_json({"rows": [asdict(row) for row in rows]})
        return
    show_columns(*_table([row for row in rows if (row.k, row.d) == (K, D)]))
    out.print(f"k={K}, d={D}, {users * seeds} users of each kind; ± is half of the 95 % interval")


def _of_captions(folder: Path, model: str, users: int, seeds: int) -> list[list[Bench]]:
    """For each type of result the benches of all seeds."""
    import numpy as np

    from serve_app.evaluation.encoder import Towers
    from serve_app.evaluation.readers import captioned, read_captioned
    from serve_app.media import images
    from serve_app.models.manifest import load_manifest
    from serve_app.models.store import Store, default_home

    row = load_manifest().models.get(model)
    if row is None or row.clip is None:
        raise Problem("not_found", f"models.yaml has no {model} with a clip section")
    towers = Towers(row, Store(default_home()).locate(row))
    found = read_captioned(
        folder,
        lambda texts: np.concatenate([towers.text(text) for text in texts]),
        lambda files: np.concatenate([towers.picture(images.decode(data, 640).pixels) for data in files]),
    )
    by_seed = [captioned(found, users, seed=seed) for seed in range(seeds)]
    return [list(benches) for benches in zip(*by_seed, strict=True)]


def _table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    heads = ("method", "ILD", "relevance", "nearness", "coverage", "users")
    return [heads, *((row.method, *map(str, row.figures.values()), row.bench) for row in rows)]


def _write(rows: Sequence[Row], folder: Path) -> None:
    """Everything as JSON, the tables as Markdown, and a plot a measure for each axis."""
    from serve_app.evaluation.plots import curves
    from serve_app.evaluation.recommendation import METHODS, NAMES, D, K

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recommendation.json").write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    lines = [f"| {' | '.join((row[-1], *row[:-1]))} |" for row in _table([r for r in rows if (r.k, r.d) == (K, D)])]
    lines.insert(1, "|---|---|" + "---:|" * len(NAMES))
    for name in NAMES:
        for across, other, at in (("k", "d", D), ("d", "k", K)):
            some = [row for row in rows if getattr(row, other) == at]
            lines += ["", *_curve_table(some, name, across)]
            plotted = [row for row in some if row.bench == PLOTTED]
            points = {
                method: sorted(
                    (getattr(row, across), row.figures[name].mean) for row in plotted if row.method == method
                )
                for method in METHODS
            }
            curves(folder / f"{name}-{across}.png", f"{name} of {PLOTTED}, {other} = {at}", across, points)
    (folder / "recommendation.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


PLOTTED = "five interests"


def _curve_table(rows: Sequence[Row], name: str, across: str) -> list[str]:
    """The means of one measure against ``across``, a line for each kind of user and method."""
    points = sorted({getattr(row, across) for row in rows})
    means = {(row.bench, row.method, getattr(row, across)): row.figures[name].mean for row in rows}
    heads = " | ".join(f"{across} = {point}" for point in points)
    lines = [f"| {name} | method | {heads} |", "|---|---|" + "---:|" * len(points)]
    for bench, method in dict.fromkeys((row.bench, row.method) for row in rows):
        lines.append(f"| {bench} | {method} | {' | '.join(f'{means[bench, method, p]:.3f}' for p in points)} |")
    return lines
