"""``mediaverse jobs``: what the service works at in the background."""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import typer

from serve_app.cli_common import DEFAULT_URL, AsJson, Url, bar, connect, fail, out, say_json, show_columns
from serve_app.errors import Problem

app = typer.Typer(help="Work in the background: list it, look at it, watch it, cancel it.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="a job's id")]


class State(StrEnum):
    """How a job stands."""

    queued = "queued"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"


@app.command("list")
def list_jobs(
    state: Annotated[State | None, typer.Option(help="only those that stand so")] = None,
    asset: Annotated[str | None, typer.Option(help="only those of this asset")] = None,
    most: Annotated[int, typer.Option("-n", min=1, help="at most this many")] = 50,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show jobs, newest first."""
    try:
        with connect(url, as_json) as client:
            jobs = list(islice(client.jobs(state and state.value, asset), most))
    except Problem as problem:
        fail(problem, as_json)
    if as_json:
        say_json({"items": jobs})
    elif jobs:
        rows = ((job["id"], job["state"], _share(job), job["kind"], job.get("asset_id", "")) for job in jobs)
        show_columns(("id", "state", "done", "kind", "asset"), *rows)
    else:
        out.print("no jobs")


@app.command()
def show(id: Id, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show one job: how far it is, and why it failed where it did."""
    try:
        with connect(url, as_json) as client:
            job = client.job(id)
    except Problem as problem:
        fail(problem, as_json)
    say_json(job) if as_json else _show(job)


@app.command()
def watch(id: Id, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Wait until a job has ended; the exit code is 1 unless it succeeded. With --json, a line at each change."""
    job: dict[str, Any] = {}
    try:
        with connect(url, as_json) as client, bar("{task.percentage:>3.0f}%", "{task.fields[at]}") as progress:
            task = progress.add_task(id, total=1, at="")
            for job in client.watch(id):
                progress.update(task, completed=job["progress"], at=_at(job))
                if as_json:
                    say_json(job)
    except Problem as problem:
        fail(problem, as_json)
    if not as_json:
        _show(job)
    raise typer.Exit(0 if job["state"] == State.succeeded else 1)


@app.command()
def cancel(id: Id, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Cancel a job. One that has ended stays as it is."""
    try:
        with connect(url, as_json) as client:
            job = client.cancel(id)
    except Problem as problem:
        fail(problem, as_json)
    say_json(job) if as_json else _show(job)


def _show(job: dict[str, Any]) -> None:
    facts = {
        "job": job["id"], "state": job["state"], "done": _share(job), "at": _at(job), "error": job.get("error"),
        "kind": job["kind"], "asset": job.get("asset_id"), "attempts": str(job["attempts"]),
        "created": job["created_at"], "finished": job.get("finished_at"),
    }  # fmt: skip
    show_columns(*((name, fact) for name, fact in facts.items() if fact))


def _share(job: dict[str, Any]) -> str:
    return f"{job['progress']:.0%}"


def _at(job: dict[str, Any]) -> str:
    detail = job.get("detail")
    if not detail:
        return ""
    if "frames" not in detail:
        return str(detail["stage"])
    expected = f" of {detail['expected']}" if "expected" in detail else ""
    return f"{detail['stage']}, {detail['frames']}{expected} frames"
