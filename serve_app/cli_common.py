"""What the commands that talk to a service share: options, and how they print."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from serve_app.client import Client
from serve_app.errors import Problem

Url = Annotated[str, typer.Option(help="where the service answers", envvar="MEDIAVERSE_URL")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for programs")]
DEFAULT_URL = "http://127.0.0.1:8000"

out = Console(highlight=False, soft_wrap=True, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def connect(url: str, as_json: bool) -> Client:
    """A client of the service at ``url``; ends the command where that is no address."""
    try:
        return Client(url)
    except Problem as problem:
        fail(problem, as_json)


def bar(*columns: str) -> Progress:
    """A progress bar on standard error, which is gone when it is done; nothing where that is no terminal."""
    before, *after = (TextColumn(column, markup=False) for column in ("{task.description}", *columns))
    return Progress(
        before, BarColumn(), *after, TimeRemainingColumn(), console=err, disable=not err.is_terminal, transient=True
    )


def clock(seconds: float) -> str:
    """``03:25.1`` for 205.12: minutes and seconds, with hours before them where there are some."""
    minutes, tenths = divmod(round(abs(seconds) * 10), 600)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if seconds < 0 and (hours or minutes or tenths) else ""
    return f"{sign}{f'{hours}:' if hours else ''}{minutes:02}:{tenths / 10:04.1f}"


def span(part: dict[str, Any]) -> str:
    """When a part of a video is: ``00:04.2-00:09.8``."""
    return f"{clock(part['start_s'])}-{clock(part['end_s'])}"


def show_columns(*rows: tuple[str, ...]) -> None:
    """The first row is the head; the last column is as long as it is: what is cut off cannot be copied."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]) - 1)]
    for number, row in enumerate(rows):
        cells = (f"{cell:<{width}}" for cell, width in zip(row[:-1], widths, strict=True))
        out.print("  ".join((*cells, row[-1])), style="bold" if number == 0 else None, markup=False)


def shape(problem: Problem) -> dict[str, Any]:
    """For ``--json``."""
    return {"code": problem.code, "detail": problem.detail, "remedy": problem.remedy}


def say_json(body: Any) -> None:
    """One line on standard output."""
    sys.stdout.write(json.dumps(body, ensure_ascii=False) + "\n")


def complain(before: str, problem: Problem) -> None:
    """For people, on standard error."""
    remedy = f"\n{problem.remedy}" if problem.remedy else ""
    err.print(f"[red]{escape(before)}{escape(problem.detail)}[/] ({problem.code}){escape(remedy)}")


def fail(problem: Problem, as_json: bool) -> NoReturn:
    """Say ``problem`` and end the command."""
    say_json({"error": shape(problem)}) if as_json else complain("", problem)
    raise typer.Exit(1)
