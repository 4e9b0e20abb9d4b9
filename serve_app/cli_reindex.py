"""``mediaverse reindex``: another model in the place of the one that is served, without downtime, and back."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from serve_app.cli_common import DEFAULT_URL, AsJson, Url, bar, connect, fail, out, say_json, show_columns
from serve_app.client import Client
from serve_app.errors import Problem


def reindex(
    model: Annotated[str | None, typer.Option(help="the model that is to be served: mediaverse models list")] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="serve what was served before the last switch")] = False,
    status: Annotated[bool, typer.Option("--status", help="only say what is served, wanted and missing")] = False,
    wait: Annotated[bool, typer.Option(help="wait until the switch is made")] = True,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Embed everything with another model while the present one goes on serving, then switch. Goes on after a crash."""
    if (model is not None) + rollback + status != 1:
        raise typer.BadParameter("give one of --model NAME, --rollback and --status")
    try:
        with connect(url, as_json) as client:
            if status:
                _show(client.index_status(), as_json)
                return
            job = client.reindex(model) if model is not None else client.rollback()
            if wait:
                job = _watch(client, job)
    except Problem as problem:
        fail(problem, as_json)
    if as_json:
        say_json(job)
    elif job["state"] in ("queued", "running"):
        out.print(f"job {job['id']} makes the vectors; see: mediaverse jobs watch {job['id']}")
    else:
        out.print(
            "switched" if job["state"] == "succeeded" else f"{job['state']}: {job.get('error', '')}", markup=False
        )
    raise typer.Exit(1 if job["state"] in ("failed", "cancelled") else 0)


def _watch(client: Client, job: dict[str, Any]) -> dict[str, Any]:
    """The job at its end; meanwhile a bar with the vectors that are made."""
    with bar("{task.fields[made]}") as progress:
        task = progress.add_task("embedding", total=1, made="")
        for told in client.watch(job["id"]):
            job, detail = told, told.get("detail") or {}
            made = f"{detail['done']} of {detail['total']}" if "total" in detail else detail.get("stage", "")
            progress.update(task, completed=told["progress"], made=made)
    return job


def _show(index: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say_json(index)
        return
    rows = [
        (task["task"], role, each["model"], str(each["dim"]), str(each["vectors"]), str(each["missing"]))
        for task in index["tasks"]
        for role in ("served", "wanted", "previous")
        if (each := task.get(role))
    ]
    show_columns(("task", "is", "model", "dim", "vectors", "missing"), *rows)
    for task in index["tasks"]:
        if job := task.get("job"):
            why = f": {job['error']}" if job.get("error") else ""
            out.print(f"job {job['id']}: {job['state']}, {job['progress']:.0%}{why}", markup=False)
    if (recall := index.get("recall_at_10")) is not None:
        out.print(f"recall@10 against exact search: {recall:.3f}")
