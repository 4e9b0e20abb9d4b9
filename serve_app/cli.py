"""The ``mediaverse`` command."""

from __future__ import annotations

import importlib.resources
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from serve_app import cli_index, cli_models, cli_serve
from serve_app.client import Client
from serve_app.config import check_config
from serve_app.errors import Problem

app = typer.Typer(
    help="Annotate pictures, index and search them. Most commands talk to a running service: make run.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_models.app, name="models")

Url = Annotated[str, typer.Option(help="where the service answers", envvar="MEDIAVERSE_URL")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for programs")]
EXAMPLES = (
    "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "horse.png", "motorcycle_left.png", "page.png",
    "rocket.jpg",
)  # fmt: skip
DEFAULT_URL = "http://127.0.0.1:8000"

out = Console(highlight=False, soft_wrap=True, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


@app.command()
def annotate(
    files: Annotated[list[Path], typer.Argument(help="pictures")],
    annotators: Annotated[str | None, typer.Option(help="such as objects,faces; all when left out")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Say what is in pictures, without storing them."""
    failed = False
    with _connect(url, as_json) as client:
        for file in files:
            try:
                answer = client.annotate(file, annotators)
            except Problem as problem:
                failed = True
                _say_json({"file": str(file), "error": _shape(problem)}) if as_json else _complain(f"{file}: ", problem)
                continue
            _say_json({"file": str(file)} | answer) if as_json else _show_annotation(file, answer)
    raise typer.Exit(1 if failed else 0)


@app.command()
def index(
    directory: Annotated[Path, typer.Argument(help="a folder of pictures and texts", exists=True, file_okay=False)],
    owner: Annotated[str, typer.Option(help="whose they are")],
    replace: Annotated[bool, typer.Option(help="put changed files in the place of their old versions")] = False,
    wait: Annotated[bool, typer.Option(help="wait until everything is annotated and searchable")] = True,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Store and index a folder. Run it again to go on where it stopped: what is indexed is skipped."""
    try:
        with _connect(url, as_json) as client:
            report = cli_index.index(client, directory, owner, replace=replace, wait=wait, console=err)
    except Problem as problem:
        _fail(problem, as_json)
    if as_json:
        _say_json(report.shape())
    else:
        for name, why in report.failed:
            err.print(f"[red]{escape(name)}[/]: {escape(why)}")
        out.print(report.sentence())
    raise typer.Exit(1 if report.failed else 0)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="words, or the path of a picture")],
    k: Annotated[int, typer.Option("-k", help="at most this many of each modality")] = 10,
    filter: Annotated[str | None, typer.Option(help="such as: object:person -meme owner:anna")] = None,
    min_score: Annotated[str | None, typer.Option(help="a number, or auto")] = None,
    user: Annotated[str | None, typer.Option(help="leave this user's own items out")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Find by words or by a picture."""
    options = {"k": k, "filter": filter, "username": user, "min_score": _number(min_score)}
    try:
        with _connect(url, as_json) as client:
            is_file = os.path.isfile(query)  # unlike a Path's, it takes names that no file could have
            answer = client.search_file(Path(query), **options) if is_file else client.search_text(query, **options)
    except Problem as problem:
        _fail(problem, as_json)
    if as_json:
        _say_json(answer)
        return
    for modality in ("image", "text"):
        ranking = answer.get(modality) or {"contents": [], "scores": []}
        rows = [(f"{score:.3f}", name) for name, score in zip(ranking["contents"], ranking["scores"], strict=True)]
        if rows:
            _show_columns(("score", modality), *rows)
    if not any((answer.get(modality) or {}).get("contents") for modality in ("image", "text")):
        out.print("nothing found")
    if answer.get("truncated"):
        err.print("[yellow]the text is longer than the model reads; its beginning was searched[/]")


@app.command()
def examples(
    directory: Annotated[Path, typer.Argument(help="where to put them", file_okay=False)] = Path("photographs"),
    scenes: Annotated[
        int, typer.Option("--scenes", min=0, max=1000, help="generated scenes too, named after what they show")
    ] = 0,
) -> None:
    """Put eight photographs (scikit-image's) into a folder, to try things with."""
    directory.mkdir(parents=True, exist_ok=True)
    photographs = importlib.resources.files("skimage") / "data"
    for name in EXAMPLES:
        (directory / name).write_bytes((photographs / name).read_bytes())
    out.print(f"{len(EXAMPLES)} photographs in {directory}")
    if scenes:
        _draw_scenes(directory, scenes)


def _draw_scenes(directory: Path, count: int) -> None:
    """Scenes of a world that no training drew."""
    # The renderer takes a second to import, which the other commands must not wait for.
    from PIL import Image

    from serve_app.models.embedded.held_out import WORLD
    from serve_app.models.embedded.scenes import Mix, generate

    mix = Mix(photographs=0, pages=0, full=True)
    for number in track(range(count), "drawing", console=err, transient=True):
        scene = generate(WORLD, number, 320, mix)
        name = "-".join(re.findall(r"[a-z0-9]+", scene.caption.lower()))
        Image.fromarray(scene.pixels).save(directory / f"{number:02}-{name[:80]}.png")
    out.print(f"{count} scenes in {directory}")


@app.command()
def serve(
    config: Annotated[Path, typer.Argument(help="a Serve file", exists=True)] = Path("serve_config.yaml"),
) -> None:
    """Start Ray and the service on this machine, and say when it is ready. Ctrl-C stops both."""
    try:
        status = cli_serve.serve(config, err)
    except Problem as problem:
        _fail(problem, as_json=False)
    raise typer.Exit(status)


@app.command()
def check(
    config: Annotated[Path, typer.Argument(help="a Serve file")] = Path("serve_config.yaml"), as_json: AsJson = False
) -> None:
    """Refuse unknown keys, wrong types and over-committed shares in a Serve file and its tables, with their paths."""
    faults = check_config(config)
    if as_json:
        _say_json({"ok": not faults, "faults": faults})
    else:
        for fault in faults:
            err.print(f"[red]{escape(fault)}[/]")
        if not faults:
            out.print(f"{config} is sound")
    raise typer.Exit(1 if faults else 0)


def _connect(url: str, as_json: bool) -> Client:
    try:
        return Client(url)
    except Problem as problem:
        _fail(problem, as_json)


def _number(text: str | None) -> float | str | None:
    if text is None or text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter("a number, or auto", param_hint="--min-score") from None


def _show_annotation(file: Path, answer: dict[str, Any]) -> None:
    asset = answer["asset"]
    out.print(f"[bold]{escape(str(file))}[/] {asset['media_type']} {asset['width']}x{asset['height']}")
    _show_columns(("annotator", "answer"), *((name, _sentence(result)) for name, result in answer["results"].items()))


def _show_columns(head: tuple[str, str], *rows: tuple[str, str]) -> None:
    """Two columns, the second as long as it is: what is cut off cannot be copied."""
    width = max(len(first) for first, _ in (head, *rows))
    out.print(f"{head[0]:<{width}}  {head[1]}", style="bold", markup=False)
    for first, second in rows:
        out.print(f"{first:<{width}}  {second}", markup=False)


def _sentence(result: dict[str, Any]) -> str:
    if result["status"] != "ok":
        return f"{result['status']}: {result.get('remedy') or result.get('error')}"
    if "embedding" in result:
        return f"a vector of {len(result['embedding'])} numbers"
    seen = [f"{label['label']} {label['confidence']:.2f}" for label in result["labels"]]
    return ", ".join(seen) or "nothing"


def _shape(problem: Problem) -> dict[str, Any]:
    return {"code": problem.code, "detail": problem.detail, "remedy": problem.remedy}


def _say_json(body: Any) -> None:
    sys.stdout.write(json.dumps(body, ensure_ascii=False) + "\n")


def _complain(before: str, problem: Problem) -> None:
    remedy = f"\n{problem.remedy}" if problem.remedy else ""
    err.print(f"[red]{escape(before)}{escape(problem.detail)}[/] ({problem.code}){escape(remedy)}")


def _fail(problem: Problem, as_json: bool) -> NoReturn:
    _say_json({"error": _shape(problem)}) if as_json else _complain("", problem)
    raise typer.Exit(1)


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
