"""The ``mediaverse`` command."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from serve_app import (
    cli_adapt,
    cli_annotate,
    cli_doctor,
    cli_evaluate,
    cli_examples,
    cli_index,
    cli_jobs,
    cli_memes,
    cli_models,
    cli_people,
    cli_recommend,
    cli_reindex,
    cli_render,
    cli_search,
    cli_serve,
    cli_train,
)
from serve_app.cli_common import (
    DEFAULT_URL,
    AsJson,
    Url,
    complain,
    connect,
    err,
    fail,
    out,
    say_json,
    shape,
)
from serve_app.config import check_config
from serve_app.errors import Problem

app = typer.Typer(
    help="Annotate pictures, videos and 3D files, index and search them. Most talk to a running service: make run.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_evaluate.app, name="evaluate")
app.add_typer(cli_jobs.app, name="jobs")
app.add_typer(cli_models.app, name="models")
app.add_typer(cli_people.app, name="people")
app.add_typer(cli_train.app, name="train")
app.command("visual-part")(cli_memes.visual_part)
app.command()(cli_doctor.doctor)
app.command()(cli_recommend.recommend)
app.command()(cli_recommend.starter)
app.command()(cli_recommend.interests)
app.command()(cli_reindex.reindex)
app.command()(cli_adapt.adapt)
app.command()(cli_render.render)
app.command()(cli_search.search)


@app.command()
def annotate(
    files: Annotated[list[Path], typer.Argument(help="pictures, videos and 3D files")],
    annotators: Annotated[str | None, typer.Option(help="such as objects,faces; all when left out")] = None,
    seed: Annotated[int, typer.Option(min=0, help="chooses the frames of a video that are looked at")] = 0,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Say what is in pictures, videos and 3D files, and when or from where, without storing them."""
    failed = False
    with connect(url, as_json) as client:
        for file in files:
            try:
                answer = cli_annotate.annotate(client, file, annotators, seed)
            except Problem as problem:
                failed = True
                say_json({"file": str(file), "error": shape(problem)}) if as_json else complain(f"{file}: ", problem)
                continue
            say_json({"file": str(file)} | answer) if as_json else cli_annotate.show(file, answer)
    raise typer.Exit(1 if failed else 0)


@app.command()
def index(
    directory: Annotated[
        Path, typer.Argument(help="a folder of pictures, videos, 3D files and texts", exists=True, file_okay=False)
    ],
    owner: Annotated[str, typer.Option(help="whose they are")],
    replace: Annotated[bool, typer.Option(help="put changed files in the place of their old versions")] = False,
    wait: Annotated[bool, typer.Option(help="wait until everything is annotated and searchable")] = True,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Store and index a folder. Run it again to go on where it stopped: what is indexed is skipped."""
    try:
        with connect(url, as_json) as client:
            report = cli_index.index(client, directory, owner, replace=replace, wait=wait, console=err)
    except Problem as problem:
        fail(problem, as_json)
    if as_json:
        say_json(report.shape())
    else:
        for name, why in report.failed:
            err.print(f"[red]{escape(name)}[/]: {escape(why)}")
        out.print(report.sentence())
    raise typer.Exit(1 if report.failed else 0)


@app.command()
def examples(
    directory: Annotated[Path, typer.Argument(help="where to put them", file_okay=False)] = Path("photographs"),
    scenes: Annotated[
        int, typer.Option("--scenes", min=0, max=1000, help="generated scenes too, named after what they show")
    ] = 0,
    memes: Annotated[
        int,
        typer.Option(
            "--memes", min=0, max=10_000, help="generated memes too, and as many pictures with print and without"
        ),
    ] = 0,
    solids: Annotated[bool, typer.Option("--solids", help="3D files too: five solids and a room")] = False,
    film: Annotated[bool, typer.Option("--film", help="film.mp4 too: four shots made of the photographs")] = False,
) -> None:
    """Put eight photographs (scikit-image's) into a folder, to try things with."""
    directory.mkdir(parents=True, exist_ok=True)
    cli_examples.photographs(directory)
    out.print(f"{len(cli_examples.PHOTOGRAPHS)} photographs in {directory}")
    if scenes:
        cli_examples.scenes(directory, scenes, err)
        out.print(f"{scenes} scenes in {directory}")
    if memes:
        cli_examples.memes(directory, memes, err)
        out.print(f"{memes} memes in {directory / 'memes'}, others in with-text and without-text")
    if solids:
        cli_examples.solids(directory)
        out.print(f"five solids and a room in {directory}")
    if film:
        cli_examples.film(directory / "film.mp4")
        out.print(f"a film in {directory / 'film.mp4'}")


@app.command()
def serve(
    config: Annotated[Path, typer.Argument(help="a Serve file", exists=True)] = Path("serve_config.yaml"),
) -> None:
    """Start Ray and the service on this machine, and say when it is ready. Ctrl-C stops both."""
    try:
        status = cli_serve.serve(config, err)
    except Problem as problem:
        fail(problem, as_json=False)
    raise typer.Exit(status)


@app.command()
def check(
    config: Annotated[Path, typer.Argument(help="a Serve file")] = Path("serve_config.yaml"), as_json: AsJson = False
) -> None:
    """Refuse unknown keys, wrong types and over-committed shares in a Serve file and its tables, with their paths.

    Looks at the calibrated thresholds in its home too.
    """
    faults = check_config(config)
    if as_json:
        say_json({"ok": not faults, "faults": faults})
    else:
        for fault in faults:
            err.print(f"[red]{escape(fault)}[/]")
        if not faults:
            out.print(f"{config} is sound")
    raise typer.Exit(1 if faults else 0)


def main() -> None:
    """Entry point; a closed pipe (``| head``) is no error, nor is a file name that is not UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # which is also how JSON writes half a character
    try:
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
