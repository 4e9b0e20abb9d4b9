"""``mediaverse evaluate``: how well the service's own methods do on labelled files of yours."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Column, Table

from serve_app import cli_evaluate_faces, cli_evaluate_memes, cli_evaluate_recommendation, cli_evaluate_retrieval
from serve_app.annotation.scenes import DEFAULT, DETECTORS
from serve_app.errors import Problem
from serve_app.evaluation.scenes import Boundary, Score, Splits, read_labels, score, split_files

app = typer.Typer(help="Measure the methods on labelled files.", no_args_is_help=True)

app.command()(cli_evaluate_faces.faces)
app.command()(cli_evaluate_memes.memes)
app.command()(cli_evaluate_memes.meme_files)
app.command()(cli_evaluate_retrieval.retrieval)
app.command()(cli_evaluate_recommendation.recommendation)

NO, NO_INPUT = 1, 2


@app.callback()
def _group() -> None:
    """One command is a group of its own, so that others can follow."""


@app.command()
def scenes(
    path: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A video, or a folder of videos.", exists=True)],
    cuts: Annotated[
        Path | None,
        typer.Option(
            "--cuts",
            help="Labels: lines of file name, tab, first frames of scenes, such as 30,180,360-394 where spans say that "
            "a scene begins somewhere between. Without them the scenes are listed.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    detector: Annotated[
        str | None, typer.Option("--detector", help=f"One of {', '.join(DETECTORS)}; each, or {DEFAULT} for a list.")
    ] = None,
    tolerance: Annotated[int, typer.Option("--tolerance", min=0, help="Frames a boundary may be off.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """Split videos into scenes; with --cuts, say how well: F1, precision and recall of each detector."""
    if detector is not None and detector not in DETECTORS:
        _stop(f"no detector {detector!r}; there are {', '.join(DETECTORS)}")
    labels = _labels(cuts) if cuts else None
    paths = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
    if labels is not None:
        paths = [one for one in paths if one.name in labels]
        if not paths:
            _stop(f"{cuts} names no file of {path}")
    names = [detector] if detector else list(DETECTORS) if labels is not None else [DEFAULT]
    splits = _splits(split_files(paths, names))
    if labels is None:
        _say_scenes(splits, names[0], as_json)
    else:
        _say_scores(splits, names, labels, tolerance, as_json)


def _labels(path: Path) -> dict[str, list[Boundary]]:
    try:
        return read_labels(path.read_text(encoding="utf-8"))
    except Problem as problem:
        _stop(f"{path}, {problem.detail}; {problem.remedy}")
    except UnicodeDecodeError:
        _stop(f"{path} is no UTF-8 text")


def _splits(found: Iterable[tuple[Path, Splits | Problem]]) -> dict[str, Splits]:
    """Those of the files that can be read; says which cannot."""
    splits: dict[str, Splits] = {}
    for path, result in found:
        if isinstance(result, Problem):
            typer.echo(f"{path.name}: {result.detail} ({result.code})", err=True)
        else:
            splits[path.name] = result
    if not splits:
        raise typer.Exit(NO)
    return splits


def _say_scenes(splits: dict[str, Splits], name: str, as_json: bool) -> None:
    rows = [
        {
            "file": file,
            "scene": number,
            "start_frame": first,
            "end_frame": last,
            "start_s": round(split.times_s[first], 6),
        }
        for file, split in splits.items()
        for number, (first, last) in enumerate(_spans(split, name))
    ]
    if as_json:
        _print_json({"detector": name, "scenes": rows})
        return
    right = [Column(head, justify="right") for head in ("scene", "frames", "begins at")]
    table = Table(Column("video", overflow="fold"), *right)
    for row in rows:
        frames = f"{row['start_frame']}-{int(str(row['end_frame'])) - 1}"
        table.add_row(str(row["file"]), str(row["scene"]), frames, f"{row['start_s']:.3f} s")
    Console().print(table)


def _spans(split: Splits, name: str) -> list[tuple[int, int]]:
    starts = [0, *split.boundaries[name]]
    return list(zip(starts, [*starts[1:], split.frames], strict=True))


def _say_scores(
    splits: dict[str, Splits], names: list[str], labels: dict[str, list[Boundary]], tolerance: int, as_json: bool
) -> None:
    scores = {
        name: sum((score(one.boundaries[name], labels[file], tolerance) for file, one in splits.items()), Score())
        for name in names
    }
    rows: dict[str, dict[str, Any]] = {
        name: {"f1": one.f1, "precision": one.precision, "recall": one.recall, "found": one.found, "right": one.right}
        for name, one in scores.items()
    }
    labelled = next(iter(scores.values())).labelled
    if as_json:
        found = {file: {name: one.boundaries[name] for name in names} for file, one in splits.items()}
        _print_json({"tolerance": tolerance, "labelled": labelled, "detectors": rows, "found": found})
        return
    heads = ("F1", "precision", "recall", "found", "right")
    table = Table("detector", *(Column(head, justify="right") for head in heads))
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console().print(table)
    typer.echo(f"{labelled} labelled boundaries in {len(splits)} videos, tolerance {tolerance} frames")


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(NO_INPUT)
