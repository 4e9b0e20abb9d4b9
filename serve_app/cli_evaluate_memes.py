"""``mediaverse evaluate memes`` and ``meme-files``: the crossed scenarios, and a network on files of yours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli_common import AsJson, fail, out, say_json, show_columns
from serve_app.cli_train import (
    Cache,
    Epochs,
    MemesOf,
    Minutes,
    Seed,
    Threads,
    WithoutText,
    WithText,
    following,
    pools_of,
    read_scenario,
)
from serve_app.errors import Problem

Batch = Annotated[int, typer.Option(min=1, help="pictures of one step")]


def memes(
    memes_dir: MemesOf,
    with_text: WithText,
    without_text: WithoutText,
    to: Annotated[Path, typer.Option("--out", help="keeps checkpoints and what is finished: a run can go on")],
    scenario: Annotated[list[str] | None, typer.Option(help="P_W,P_T; the thirteen of the paper if left out")] = None,
    plot: Annotated[Path | None, typer.Option(help="draw the matrix as this PNG")] = None,
    seed: Seed = 0,
    epochs: Epochs = 20,
    batch: Batch = 64,
    minutes: Minutes = None,
    threads: Threads = 0,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Train MemeTector on each scenario and test it on all: accuracies, and their mean. --minutes is for each."""
    from serve_app.evaluation.memes import crossed
    from serve_app.evaluation.memes import plot as draw
    from serve_app.models.memes.fit import Recipe
    from serve_app.models.memes.scenarios import SCENARIOS

    try:
        chosen = tuple(map(read_scenario, scenario)) if scenario else SCENARIOS
        pools = pools_of((memes_dir, with_text, without_text), cache or to / "cache", seed)
        recipe = Recipe(epochs=epochs, batch=batch, minutes=minutes, threads=threads)
        matrix = crossed(pools, chosen, recipe, seed, to, following)
    except Problem as problem:
        fail(problem, as_json)
    names = [one.name for one in chosen]
    if plot:
        draw(matrix, names, plot)
    if as_json:
        say_json({"scenarios": names, "accuracies": matrix.tolist(), "mean": float(matrix.mean())})
        return
    rows = [(name, *(f"{value:.3f}" for value in row)) for name, row in zip(names, matrix, strict=True)]
    show_columns(("trained on", *names), *rows)
    out.print(f"mean accuracy {matrix.mean():.4f}")


def meme_files(
    memes_dir: Annotated[Path, typer.Option("--memes", exists=True, file_okay=False, help="a folder of memes")],
    others: Annotated[Path, typer.Option("--others", exists=True, file_okay=False, help="a folder of no memes")],
    model: Annotated[str, typer.Option(help="a row of models.yaml")] = "memetector-embedded",
    as_json: AsJson = False,
) -> None:
    """Say which memes of a folder a network tells, and which other pictures it takes for memes."""
    from serve_app.annotation.memes import load_memes
    from serve_app.evaluation.memes import scores
    from serve_app.models.manifest import load_manifest
    from serve_app.models.memes.pools import pictures
    from serve_app.models.store import Store, default_home

    try:
        row = load_manifest().models.get(model)
        if row is None or row.meme is None:
            raise Problem("not_found", f"models.yaml has no {model} with a meme section")
        detector = load_memes(row, Store(default_home()).locate(row))
        found = {
            kind: {path.name: score for path, score in scores(detector, pictures(folder)) if isinstance(score, float)}
            for kind, folder in (("memes", memes_dir), ("others", others))
        }
    except Problem as problem:
        fail(problem, as_json)
    told = {kind: [name for name, score in some.items() if score >= row.meme.threshold] for kind, some in found.items()}
    if as_json:
        say_json({"threshold": row.meme.threshold, "told": told["memes"], "false_alarms": told["others"]} | found)
        return
    missed = [name for name in found["memes"] if name not in told["memes"]]
    rows = [("missed", name, "memes") for name in missed] + [("false alarm", name, "others") for name in told["others"]]
    show_columns(("score", "wrong", "file"), *((f"{found[kind][name]:.3f}", wrong, name) for wrong, name, kind in rows))
    out.print(f"{len(told['memes'])} of {len(found['memes'])} memes told, ", end="")
    out.print(f"{len(told['others'])} false alarms among {len(found['others'])} other pictures")
