"""``mediaverse train``: the networks whose training is described here, on pictures of yours or generated ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import TaskID

from serve_app.cli_common import AsJson, bar, fail, out, say_json, show_columns
from serve_app.errors import Problem

if TYPE_CHECKING:
    from serve_app.annotation.ocr import TextReader
    from serve_app.models.memes.fit import Progress as Step
    from serve_app.models.memes.pools import Pools
    from serve_app.models.memes.scenarios import Scenario

app = typer.Typer(help="Train networks on folders of pictures.", no_args_is_help=True)

Box = tuple[float, float, float, float]
SURE = 0.7
"""Confidence of the boxes of words that visual parts keep clear of, as in the paper."""

MemesOf = Annotated[Path, typer.Option("--memes", help="memes; boxes.json there may hold the boxes of their words")]
WithText = Annotated[Path, typer.Option("--with-text", help="pictures with words in them that are no memes")]
WithoutText = Annotated[Path, typer.Option("--without-text", help="pictures without words")]
Seed = Annotated[int, typer.Option(min=0, help="of the split and of all that is random")]
Epochs = Annotated[int, typer.Option(min=1, help="times that every picture is seen")]
Minutes = Annotated[float | None, typer.Option(min=0.01, help="stop training after this long")]
Threads = Annotated[int, typer.Option(min=0, help="of the training; 0 for every core")]
Cache = Annotated[Path | None, typer.Option(help="where resized pictures are kept; OUT/cache if left out")]


@app.callback()
def _group() -> None:
    """One command is a group of its own, so that others can follow."""


@app.command()
def memes(
    memes_dir: MemesOf,
    with_text: WithText,
    without_text: WithoutText,
    to: Annotated[Path, typer.Option("--out", help="where the weights and the checkpoint go")],
    scenario: Annotated[str, typer.Option(help="shares of web pictures, and of text among those: P_W,P_T")] = "0.67,1",
    seed: Seed = 0,
    epochs: Epochs = 20,
    batch: Annotated[int, typer.Option(min=1, help="pictures of one step")] = 64,
    dropout: Annotated[float, typer.Option(min=0, max=0.9, help="in the layers; 0 is for short runs")] = 0.1,
    minutes: Minutes = None,
    resume: Annotated[bool, typer.Option("--resume/--afresh", help="go on from the last checkpoint")] = True,
    threads: Threads = 0,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Train MemeTector; a run that was interrupted goes on where it stopped. Words are sought where no box is known."""
    from serve_app.models.memes.fit import Recipe
    from serve_app.models.memes.train import train_memes
    from serve_app.models.memetector import MemeTectorConfig

    try:
        mixture = read_scenario(scenario)
        pools = pools_of((memes_dir, with_text, without_text), cache or to / "cache", seed)
        if not resume:
            (to / "checkpoint.pt").unlink(missing_ok=True)
        with following(f"scenario {mixture.name}") as listener:
            config = MemeTectorConfig(dropout=dropout)
            recipe = Recipe(epochs=epochs, batch=batch, minutes=minutes, threads=threads, config=config)
            report = train_memes(pools, mixture, recipe, seed, to, listener)
    except Problem as problem:
        fail(problem, as_json)
    if as_json:
        row = {"file": str(report.file), "sha256": report.sha256, "bytes": report.bytes}
        row |= {"mean": report.trained.mean, "std": report.trained.std, "steps": report.trained.steps}
        say_json(row | {"scenario": mixture.name, "accuracies": report.accuracies})
        return
    show_columns(("test scenario", "accuracy"), *((name, f"{value:.4f}") for name, value in report.accuracies.items()))
    out.print(f"{report.file}, {report.trained.steps} steps; its row in models.yaml:", markup=False)
    out.print(report.row(), markup=False)


@app.command("memes-world")
def memes_world(
    to: Annotated[Path, typer.Option("--out", help="gets the folders memes, with-text and without-text")],
    count: Annotated[int, typer.Option("--memes", min=1, help="how many memes")] = 6000,
    with_text: Annotated[int, typer.Option(min=0, help="how many pictures with words")] = 4500,
    without_text: Annotated[int, typer.Option(min=0, help="how many without")] = 4500,
    seed: Seed = 0,
) -> None:
    """Draw the memes and other pictures that the embedded MemeTector was trained on."""
    from serve_app.models.memes.world import KINDS, write_world

    with bar("{task.completed:.0f}/{task.total:.0f}") as shown:
        task = shown.add_task("drawing", total=None)
        counts = dict(zip(KINDS, (count, with_text, without_text), strict=True))
        write_world(to, counts, seed, lambda done, every: shown.update(task, completed=done, total=every))
    out.print(f"{sum(counts.values())} pictures in {to}", markup=False)


def read_scenario(told: str) -> Scenario:
    """``0.67,1.0`` as shares; raises ``Problem`` for what is no two numbers."""
    from serve_app.models.memes.scenarios import Scenario

    web, _, text = told.partition(",")
    try:
        return Scenario(float(web), float(text or 0))
    except ValueError:
        raise Problem("bad_request", f"{told!r} is no scenario", "give P_W,P_T such as 0.67,1.0") from None


def pools_of(folders: tuple[Path, Path, Path], cache: Path, seed: int) -> Pools:
    """The folders' pictures at the network's size, with the visual parts of the memes cut out."""
    from serve_app.annotation.visual_part import visual_part
    from serve_app.models.memes.pools import read_pools
    from serve_app.models.memetector import MemeTectorConfig

    for folder in folders:
        if not folder.is_dir():
            raise Problem("not_found", f"there is no folder {folder}")
    sizes = MemeTectorConfig()
    with bar("{task.completed:.0f}/{task.total:.0f}") as shown:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, every: int) -> None:
            task = tasks.setdefault(what, shown.add_task(f"reading {what}", total=every)) if done == 1 else tasks[what]
            shown.update(task, completed=done)

        return read_pools(folders, sizes.side, sizes.grid, cache, visual_part, text_finder(), seed, tell)


def text_finder() -> Callable[[bytes], list[Box]]:
    """Finds the boxes of words with the reader that ships; it is opened at the first picture without known boxes."""
    opened: list[TextReader] = []

    def find(data: bytes) -> list[Box]:
        if not opened:
            opened.append(_reader())
        item = opened[0].prepare(data)
        labels = opened[0].finish(opened[0].run([item])[0], item)
        return [label.box for label in labels if label.box is not None and label.confidence >= SURE]

    return find


def _reader() -> TextReader:
    from serve_app.annotation.ocr import load_reader
    from serve_app.models.manifest import load_manifest
    from serve_app.models.store import Store, default_home

    model = load_manifest().models["rapidocr"]
    return load_reader(model, Store(default_home()).locate(model))


@contextmanager
def following(title: str) -> Iterator[Callable[[Step], None]]:
    """A progress bar of the training, and a line after each epoch."""
    with bar("{task.completed:.0f}/{task.total:.0f}", "loss {task.fields[loss]:.3f}") as shown:
        task = shown.add_task(title, total=None, loss=0.0)

        def listen(step: Step) -> None:
            shown.update(task, completed=step.step, total=step.steps, loss=step.loss)
            if step.accuracy is not None:
                shown.console.print(f"{title}: step {step.step}, {step.accuracy:.4f} of the validation part right")

        yield listen
