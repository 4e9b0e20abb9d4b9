"""``mediaverse models``: which weights there are, bring them here, check them, train and evaluate the embedded ones."""

from __future__ import annotations

import importlib.resources
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from serve_app.models import pull as pulling
from serve_app.models.manifest import Manifest, ManifestError, Model, load_manifest
from serve_app.models.store import EMBEDDED, Report, Store, default_home

app = typer.Typer(help="The weights of the networks: list, pull, verify, train, evaluate.", no_args_is_help=True)

Home = Annotated[Path | None, typer.Option("--home", envvar="MEDIAVERSE_HOME", help="Where weights are kept.")]
Rows = Annotated[Path | None, typer.Option("--manifest", help="A models.yaml other than the shipped one.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]

NO, NO_INPUT = 1, 2


class Size(StrEnum):
    """Which recipe trains a model; serve_app.models.embedded.recipes has one for each."""

    embedded = "embedded"
    large = "large"


@app.command("list")
def list_models(home: Home = None, manifest: Rows = None, as_json: Json = False) -> None:
    """Show every model with its profiles, licence, size, and whether it is on this machine."""
    table, store = _read(manifest), _store(home)
    rows = [_row(table, store, model) for model in table.models.values()]
    if as_json:
        tasks = {name: note.model_dump() for name, note in table.tasks.items()}
        _print_json({"home": str(store.home), "models": rows, "profiles": table.profiles, "tasks": tasks})
        return
    shown = Table(Column("model", no_wrap=True), "task", "profiles", "licence", "size", "state")
    for row in rows:
        shown.add_row(row["model"], row["task"], ", ".join(row["profiles"]), row["licence"], row["size"], row["state"])
    Console().print(shown)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(metavar="PROFILE|MODEL", help="embedded, light, full, or one model.")],
    home: Home = None,
    manifest: Rows = None,
    source: Annotated[Path | None, typer.Option("--from", help="Copy from this folder; ask no network.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the licences shown.")] = False,
) -> None:
    """Bring the weights of a profile or a model to this machine, checked; goes on where it was interrupted."""
    store = _store(home)
    models = _select(_read(manifest), name)
    _agree([model for model in models if not model.offline and store.state(model) == "missing"], yes)
    failures = [failure for model in models if (failure := _pull_one(store, model, source))]
    if failures:
        _stop("\n".join(failures), NO)


@app.command()
def verify(
    name: Annotated[
        str | None, typer.Argument(metavar="[PROFILE|MODEL]", help="All that is on this machine when left out.")
    ] = None,
    home: Home = None,
    manifest: Rows = None,
    as_json: Json = False,
) -> None:
    """Hash the weights again. Exit code 1 when a file is missing or corrupt."""
    table, store = _read(manifest), _store(home)
    models = _select(table, name) if name else [one for one in table.models.values() if _here(store, one)]
    reports = [report for model in models for report in store.verify(model)]
    remedies = {model.key: store.remedy(model) for model in models}
    bad = [report for report in reports if report.state != "ok"]
    if as_json:
        _print_json({"ok": not bad, "files": [_reported(report, remedies) for report in reports]})
    else:
        for report in reports:
            mend = "" if report.state == "ok" else f" -> {remedies[report.model]}"
            typer.echo(f"{report.state:8} {report.model} {report.file}{mend}")
    if bad:
        raise typer.Exit(NO)


@app.command("train-embedded")
def train_embedded(
    name: Annotated[str | None, typer.Argument(help="One embedded model; each of them when left out.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where the weights go; the package when left out.")] = None,
    size: Annotated[
        Size, typer.Option("--size", help="The recipe: what ships, or a larger one for a GPU (give --out).")
    ] = Size.embedded,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of all that is random.")] = 0,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.01, help="Stop training after this long.")] = None,
    resume: Annotated[bool, typer.Option("--resume/--afresh", help="Go on from the last checkpoint.")] = True,
    manifest: Rows = None,
) -> None:
    """Train the weights that ship with the package, from generated data, and print their rows for models.yaml."""
    known = [model.name for model in _read(manifest).models.values() if _trained_here(model)]
    if name is not None and name not in known:
        _stop(f"no embedded model {name!r}; there are {', '.join(known)}", NO_INPUT)
    if size is not Size.embedded and out is None:
        _stop("what ships stays small: say with --out where the larger weights go", NO_INPUT)
    # Training imports torch, which the other commands must not wait for.
    from serve_app.evaluation.embedded import evaluate
    from serve_app.models.embedded.train import train

    package = _embedded_package()
    folder, cards = (out, out) if out else (package / "weights", package / "cards")
    for one in [name] if name else known:
        with _training(one) as listener:
            report = train(
                one,
                folder,
                evaluate,
                size=size.value,
                seed=seed,
                minutes=minutes,
                resume=resume,
                progress=listener,
                cards=cards,
            )
        for file, (length, sha256) in report.files.items():
            typer.echo(f"{one} {folder / file}: sha256 {sha256}, bytes {length}")


@app.command()
def evaluate(
    name: Annotated[str | None, typer.Argument(help="One embedded model; each of them when left out.")] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="A folder of other weights than those that ship.")
    ] = None,
    photographs: Annotated[
        Path | None,
        typer.Option(
            "--photographs",
            exists=True,
            file_okay=False,
            help="A folder of different photographs without solids and printed text to use instead of scikit-image's.",
        ),
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=10, help="Generated pictures with captions.")] = 1_000,
    scenes: Annotated[int, typer.Option("--scenes", min=10, help="Generated scenes with boxes.")] = 300,
    as_json: Json = False,
) -> None:
    """Measure embedded weights on generated scenes and photographs that no training sees, as train-embedded does."""
    known = [model.name for model in load_manifest().models.values() if _trained_here(model)]
    if name is not None and name not in known:
        _stop(f"no embedded model {name!r}; there are {', '.join(known)}", NO_INPUT)
    from serve_app.evaluation import embedded
    from serve_app.evaluation.photographs import read_photographs

    given = read_photographs(photographs) if photographs else None
    if given and not given.pictures:
        _stop(f"no picture in {photographs} can be read", NO_INPUT)
    if given and given.skipped:
        typer.echo(f"skipped {len(given.skipped)}, no pictures that can be read: {', '.join(given.skipped)}", err=True)
    folder = weights or _embedded_package() / "weights"
    found: dict[str, dict[str, float]] = {}
    for one in [name] if name else known:
        try:
            with _counting(one) as tell:
                shown = list(given.pictures.values()) if given else None
                found[one] = embedded.evaluate(one, folder, pairs=pairs, scenes=scenes, photographs=shown, tell=tell)
        except (OSError, ValueError) as error:
            _stop(f"{one}: {error}", NO)
    if as_json:
        read = {"photographs": len(given.pictures), "skipped": list(given.skipped)} if given else {}
        _print_json({"figures": found, "weights": str(folder), **read})
        return
    for one, figures in found.items():
        table = Table(one, Column("value", justify="right"))
        for figure, value in figures.items():
            table.add_row(figure, f"{value:.3f}")
        Console().print(table)


def _row(table: Manifest, store: Store, model: Model) -> dict[str, Any]:
    return {
        "model": model.key,
        "task": model.task,
        "profiles": [profile for profile, rows in table.profiles.items() if model.name in rows.values()],
        "licence": model.licence,
        "licence_note": model.licence_note,
        "source": model.source,
        "bytes": model.bytes,
        "size": f"{model.bytes / 1e6:.1f} MB" if model.bytes else "?",
        "state": store.state(model),
        "remedy": None if store.state(model) == "present" else store.remedy(model),
    }


def _agree(models: list[Model], yes: bool) -> None:
    """Show the licence of each set of weights that is not here yet, and ask."""
    for model in models:
        size = f", {model.bytes / 1e6:.1f} MB" if model.bytes else ""
        typer.echo(f"{model.key}: {model.licence}{size}, from {model.source}")
        if model.licence_note:
            typer.echo(f"  {model.licence_note}")
    if not models or yes:
        return
    if not sys.stdin.isatty():
        _stop("these licences were not accepted yet: give --yes, or run this in a terminal", NO_INPUT)
    if not typer.confirm("Pull these weights under these licences?"):
        _stop("nothing was pulled", NO)


def _pull_one(store: Store, model: Model, source: Path | None) -> str | None:
    """Pull one model and say what came; the sentence of a failure, so that the other models still get their turn."""
    try:
        with _bar() as listener:
            done = pulling.pull(store, [model], from_dir=source, progress=listener)
    except (pulling.PullError, OSError) as error:
        return str(error)
    for one in done:
        note = f", recorded as sha256 {one.sha256}" if one.recorded else ""
        typer.echo(f"{one.model} {one.file}: {one.origin}{note}")
    return None


@contextmanager
def _bar() -> Iterator[Callable[[pulling.Progress], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[tuple[str, str, str], TaskID] = {}

        def listen(step: pulling.Progress) -> None:
            key = (step.model, step.file, step.stage)
            if key not in tasks:
                tasks[key] = bar.add_task(" ".join(filter(None, (step.stage, step.model, step.file))), total=None)
            bar.update(tasks[key], completed=step.done, total=step.total)

        yield listen


@contextmanager
def _training(name: str) -> Iterator[Callable[[Any], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None, loss="")

        def listen(step: Any) -> None:
            loss = "" if step.loss is None else f"loss {step.loss:.4f}"
            left = "" if step.eta_s is None else f", {step.eta_s:.0f} s left"
            label = f"{name}: {step.phase}"
            bar.update(task, description=label, completed=step.step, total=step.steps, loss=loss + left)

        yield listen


@contextmanager
def _counting(name: str) -> Iterator[Callable[[str, int, int], None]]:
    with Progress(TextColumn("{task.description}"), BarColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)

        def tell(stage: str, done: int, every: int) -> None:
            bar.update(task, description=f"{name}: {stage}", completed=done, total=every)

        yield tell


def _embedded_package() -> Path:
    return Path(str(importlib.resources.files("serve_app.models.embedded")))


def _here(store: Store, model: Model) -> bool:
    """Whether a model ships, or something of it was brought: labels that a package carries are no model yet."""
    brought = [report for report in store.states(model) if not model.files[report.file].package]
    return model.embedded or any(report.state != "missing" for report in brought)


def _trained_here(model: Model) -> bool:
    return all((file.package or "").startswith(EMBEDDED) for file in model.files.values())


def _reported(report: Report, remedies: dict[str, str]) -> dict[str, Any]:
    mend = None if report.state == "ok" else remedies[report.model]
    return {
        "model": report.model,
        "file": report.file,
        "path": str(report.path),
        "state": report.state,
        "sha256": report.sha256,
        "remedy": mend,
    }


def _store(home: Path | None) -> Store:
    return Store(home or default_home())


def _read(manifest: Path | None) -> Manifest:
    try:
        return load_manifest(manifest)
    except (ManifestError, OSError) as error:
        _stop(str(error), NO_INPUT)


def _select(manifest: Manifest, name: str) -> list[Model]:
    try:
        return manifest.select(name)
    except ManifestError as error:
        _stop(str(error), NO_INPUT)


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _stop(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
