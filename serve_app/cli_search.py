"""``mediaverse search``: what a service finds, page by page where that is asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from serve_app.cli_common import DEFAULT_URL, AsJson, Url, connect, err, fail, out, say_json, show_columns, span
from serve_app.client import Client
from serve_app.errors import Problem

MODALITIES = ("image", "text", "video", "shape3d")
"""In the order in which what was found is shown."""
LISTS = ("contents", "scores", "words", "moments", "views")
"""What a ranking holds a result in each of."""


def search(
    query: Annotated[str, typer.Argument(help="words, or the path of a picture")],
    k: Annotated[int, typer.Option("-k", help="at most this many of each modality (a page)")] = 10,
    filter: Annotated[str | None, typer.Option(help="such as: object:person -meme created>2026-01-31")] = None,
    min_score: Annotated[str | None, typer.Option(help="a number, or auto")] = None,
    user: Annotated[str | None, typer.Option(help="leave this user's own items out")] = None,
    modalities: Annotated[str | None, typer.Option(help="such as image,video; all when left out")] = None,
    diversity: Annotated[
        float | None, typer.Option(help="0 to 1: prefer results that differ from those before them")
    ] = None,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before, as --json prints it")] = None,
    all_pages: Annotated[bool, typer.Option("--all-pages", help="ask on until the last page")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Find by words or by a picture. With --json a line a page."""
    options: dict[str, Any] = {
        "k": k, "filter": filter, "username": user, "min_score": _number(min_score), "diversity": _fraction(diversity),
        "modalities": modalities.split(",") if modalities is not None else None, "cursor": cursor,
    }  # fmt: skip
    found: dict[str, Any] = {}
    try:
        with connect(url, as_json) as client:
            for page in _pages(client, query, options, all_pages):
                if as_json:
                    say_json(page)
                else:
                    _gather(found, page)
    except Problem as problem:
        fail(problem, as_json)
    if not as_json:
        _show(found)


def _pages(client: Client, query: str, options: dict[str, Any], every: bool) -> Iterator[dict[str, Any]]:
    is_file = os.path.isfile(query)  # unlike a Path's, it takes names that no file could have
    while True:
        page = client.search_file(Path(query), **options) if is_file else client.search_text(query, **options)
        yield page
        options = options | {"cursor": page.get("next_cursor")}
        if not every or options["cursor"] is None:
            return


def _gather(found: dict[str, Any], page: dict[str, Any]) -> None:
    """Put a page's rankings behind those of the pages before it."""
    for name in ("partial", "truncated"):
        found[name] = found.get(name) or page.get(name)
    for modality in MODALITIES:
        ranking = page.get(modality) or {"contents": [], "scores": []}
        ranking = {"words": [False] * len(ranking["contents"])} | ranking
        before = found.setdefault(modality, {})
        for name in (name for name in LISTS if name in ranking):
            before.setdefault(name, []).extend(ranking[name])


def _show(found: dict[str, Any]) -> None:
    for modality in MODALITIES:
        _show_ranking(modality, found[modality])
    if not any(found[modality]["contents"] for modality in MODALITIES):
        out.print("nothing found")
    if found["truncated"]:
        err.print("[yellow]the text is longer than the model reads; its beginning was searched[/]")
    if found["partial"]:
        err.print("[yellow]a part of the index did not answer in time; what it holds is missing here[/]")


def _show_ranking(modality: str, ranking: dict[str, Any]) -> None:
    """A row a hit: its score, what its words found, in a video the moment, of a 3D model the view, and the id."""
    if not ranking["contents"]:
        return
    columns = {"score": [f"{score:.3f}" for score in ranking["scores"]]}
    if any(ranking["words"]):
        columns["words"] = ["yes" if one else "" for one in ranking["words"]]
    if "moments" in ranking:
        columns["moment"] = [span(moment) for moment in ranking["moments"]]
    if "views" in ranking:
        columns["view"] = [str(view) for view in ranking["views"]]
    columns[modality] = ranking["contents"]
    show_columns(tuple(columns), *zip(*columns.values(), strict=True))


def _number(text: str | None) -> float | str | None:
    if text is None or text == "auto":
        return text
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise typer.BadParameter("a number, or auto", param_hint="--min-score")
    return number


def _fraction(number: float | None) -> float | None:
    if number is not None and not 0 <= number <= 1:
        raise typer.BadParameter("a number from 0 to 1", param_hint="--diversity")
    return number
