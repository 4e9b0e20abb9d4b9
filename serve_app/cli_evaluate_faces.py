"""``mediaverse evaluate faces``: how well a face descriptor tells people apart, and its thresholds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Column, Table

from serve_app.cli_common import bar, out
from serve_app.errors import Problem
from serve_app.models.manifest import Manifest, ManifestError, Model, load_manifest
from serve_app.models.pull import PullError, convert_shipped
from serve_app.models.store import Store, default_home

if TYPE_CHECKING:
    from serve_app.annotation.descriptor import FaceDescriptor
    from serve_app.annotation.labels import FoundFace
    from serve_app.evaluation.face_folder import Find, People
    from serve_app.evaluation.faces import AtCount, AtRate, Best, Distances

NO, NO_INPUT = 1, 2
RATES = (0.1, 0.01, 0.001)
"""Of false acceptance; only those that the number of pairs can show."""


def faces(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Pictures as DIR/<person>/<picture>.", exists=True, file_okay=False)
    ],
    model: Annotated[str | None, typer.Option("--model", help="A face descriptor of models.yaml.")] = None,
    profile: Annotated[str, typer.Option("--profile", help="Whose detector (and descriptor) is used.")] = "light",
    skip: Annotated[list[str] | None, typer.Option("--skip", help="A folder that is nobody; may be repeated.")] = None,
    largest: Annotated[int, typer.Option("--largest", min=1, max=100, help="Most faces of a prototype.")] = 13,
    draws: Annotated[int, typer.Option("--draws", min=1, max=1000, help="Draws of the faces of prototypes.")] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Of those draws.")] = 0,
    home: Annotated[Path | None, typer.Option("--home", envvar="MEDIAVERSE_HOME", help="Where weights are.")] = None,
    manifest: Annotated[Path | None, typer.Option("--manifest", help="Another models.yaml.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")] = False,
) -> None:
    """Distances between the faces of a folder of people: the threshold that tells best, those at given rates of false
    acceptance, and those for prototypes of 1 to --largest faces with their accuracy."""
    # Here, not above: every command imports this file, and these bring OpenCV, ONNX Runtime and torch.
    from serve_app.evaluation.face_folder import read_people
    from serve_app.evaluation.faces import pairs, prototypes

    detecting, describing = _models(_table(manifest), model, profile)
    find, descriptor = _open(Store(home or default_home()), detecting, describing)
    with bar("{task.completed}/{task.total}") as progress:
        task = progress.add_task("reading faces", total=None)
        people = read_people(
            folder,
            find,
            descriptor,
            skip or (),
            lambda _, done, every: progress.update(task, completed=done, total=every),
        )
    counted = pairs(people.vectors, people.names)
    if not counted.usable:
        _say_skipped(people)
        _stop(
            f"{folder}: faces of two people, two of one of them, are needed; {len(people.names)} faces were found", NO
        )
    rates = [at for rate in RATES if (at := counted.at_rate(rate))]
    by_count = prototypes(people.vectors, people.names, largest=largest, draws=draws, seed=seed)
    document = _document(describing, people, counted, counted.best(), rates, by_count)
    if as_json:
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _say(describing, people, document, rates, by_count)


def _table(path: Path | None) -> Manifest:
    try:
        return load_manifest(path)
    except (ManifestError, OSError) as error:
        _stop(str(error), NO_INPUT)


def _models(table: Manifest, name: str | None, profile: str) -> tuple[Model, Model]:
    """The detector of the profile, and the descriptor of that name or of the profile."""
    try:
        served = table.profile(profile)
    except ManifestError as error:
        _stop(str(error), NO_INPUT)
    found = table.models.get(name) if name else served.get("face_identity")
    if found is None or found.descriptor is None:
        known = ", ".join(sorted(model.name for model in table.models.values() if model.descriptor))
        _stop(f"{name or profile} is no face descriptor; there are {known}", NO_INPUT)
    return served["face_detection"], found


def _open(store: Store, detecting: Model, describing: Model) -> tuple[Find, FaceDescriptor]:
    """How faces are found and described; weights that ship with packages are made ready where they are not."""
    from serve_app.annotation.descriptor import load_descriptor
    from serve_app.annotation.faces import find_faces, load_faces

    try:
        for model in (detecting, describing):
            convert_shipped(store, model)
        detector: Any = load_faces(detecting, store.locate(detecting))
        descriptor = load_descriptor(describing, store.locate(describing))
    except Problem as problem:
        _stop(f"{problem.detail}; {problem.remedy}", NO)
    except PullError as error:
        _stop(str(error), NO)

    def find(data: bytes) -> list[FoundFace]:
        prepared = detector.prepare(data)
        (found,) = detector.run([prepared.tensor])
        return find_faces(detector, found, prepared.geometry)

    return find, descriptor


def _document(
    model: Model, people: People, counted: Distances, best: Best, rates: Sequence[AtRate], by_count: Sequence[AtCount]
) -> dict[str, Any]:
    return {
        "model": model.key,
        "faces": len(people.names),
        "people": len(set(people.names)),
        "skipped": people.skipped,
        "pairs": {"same": int(counted.same.sum()), "different": int(counted.different.sum())},
        "best": asdict(best),
        "at_rate": [asdict(one) for one in rates],
        "prototypes": [asdict(one) for one in by_count],
        "thresholds": {one.k: one.best.threshold for one in by_count} or {1: best.threshold},
    }


def _say(
    model: Model, people: People, document: dict[str, Any], rates: Sequence[AtRate], by_count: Sequence[AtCount]
) -> None:
    _say_skipped(people)
    same, different = document["pairs"]["same"], document["pairs"]["different"]
    out.print(f"{model.key}: {document['faces']} faces of {document['people']} people")
    out.print(f"{same} pairs of one person, {different} of two, which count as much")
    best = document["best"]
    table = Table("pairs", *(Column(head, justify="right") for head in ("distance", "right", "one person accepted")))
    table.add_row("told best", f"{best['threshold']:.3f}", f"{best['accuracy']:.3f}", "")
    for one in rates:
        table.add_row(f"{one.rate:g} of two pass for one", f"{one.threshold:.3f}", "", f"{one.accepted:.3f}")
    Console().print(table)
    if by_count:
        heads = ("k", "people", "distance", "right", "nearest is right")
        table = Table(*(Column(head, justify="right") for head in heads), title="prototypes of k faces")
        for of in by_count:
            figures = (of.best.threshold, of.best.accuracy, of.identified)
            table.add_row(str(of.k), str(of.people), *(f"{figure:.3f}" for figure in figures))
        Console().print(table)
    pasted = ", ".join(f"{k}: {distance:g}" for k, distance in document["thresholds"].items())
    out.print(f"for models.yaml, chosen on these very faces: thresholds: {{{pasted}}}", markup=False)


def _say_skipped(people: People) -> None:
    for file, why in people.skipped.items():
        typer.echo(f"{file}: {why}", err=True)


def _stop(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
