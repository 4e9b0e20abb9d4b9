"""``mediaverse recommend``, ``starter`` and ``interests``: what a user may like, and what to begin with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from serve_app.cli_common import DEFAULT_URL, AsJson, Url, connect, fail, out, say_json, show_columns
from serve_app.client import Client
from serve_app.errors import Problem

User = Annotated[str, typer.Argument(metavar="USER", help="a user's name")]
TYPES = ("text", "image")


def recommend(
    user: User,
    k: Annotated[int, typer.Option("-k", help="at most this many in each list")] = 10,
    d: Annotated[float | None, typer.Option("--d", help="the part for what is unlike the rest, 0 to 1; 0.2")] = None,
    seed: Annotated[int | None, typer.Option(help="another number draws others")] = None,
    mode: Annotated[str | None, typer.Option(help="all-clusters, or report for the method of the report")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Recommend other users' contents by a user's own posts, and say why."""
    answer = _ask(url, as_json, lambda client: client.recommendations(user, k=k, d=d, seed=seed, mode=mode))
    if as_json:
        return say_json(answer)
    lists = [(source, kind, answer[source][kind]) for source in TYPES for kind in TYPES]
    for source, kind, found in lists:
        if found["contents"]:
            rows = zip(found["scores"], found["explanations"], found["contents"], strict=True)
            told = ((f"{score:.3f}", _reason(why), name) for score, why, name in rows)
            show_columns(("score", f"because of {source}", kind), *told)
    if not any(found["contents"] for *_, found in lists):
        out.print("nothing to recommend" if not answer["cold_start"] else NO_POSTS)


NO_POSTS = "no posts and no interests yet; show what there is with: mediaverse starter"


def starter(
    k: Annotated[int, typer.Option("-k", help="at most this many, up to 200")] = 20,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show contents that differ, for a user without posts to pick interests from."""
    answer = _ask(url, as_json, lambda client: client.starter(k))
    if as_json:
        say_json(answer)
    elif answer["items"]:
        show_columns(("kind", "content"), *((item["kind"], item["id"]) for item in answer["items"]))
    else:
        out.print("there are no contents yet")


def interests(
    user: User,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="what the user picked")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="forget what was picked")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Keep what a user picked, in place of earlier picks; without ids show it."""
    if ids and clear:
        raise typer.BadParameter("either ids or --clear")
    change = bool(ids) or clear
    picked = _ask(
        url, as_json, lambda client: client.put_interests(user, ids or []) if change else client.interests(user)
    )
    if as_json:
        say_json(picked)
    elif picked["ids"]:
        show_columns(("interests",), *((name,) for name in picked["ids"]))
    else:
        out.print("no interests; pick some of: mediaverse starter")


def _reason(why: dict[str, Any]) -> str:
    if why["role"] == "medoid":
        return f"cluster {why['cluster'] + 1} ({why['share']:.0%}), {why['seed']}"
    return f"{why['role']} {why['seed']}"


def _ask(url: str, as_json: bool, question: Callable[[Client], Any]) -> Any:
    try:
        with connect(url, as_json) as client:
            return question(client)
    except Problem as problem:
        fail(problem, as_json)
