"""``mediaverse jobs`` against the real door with one job behind it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from serve_app.cli import app
from serve_app.errors import Problem
from serve_app.wire import schemas
from tests.unit.wire.door import NOW, Jobs, job, services, serving


def run(jobs: Jobs, *arguments: object, code: int = 0) -> Any:
    with serving(services(jobs=jobs)) as url:
        result = CliRunner().invoke(app, ["jobs", *map(str, arguments), "--url", url])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_jobs_are_listed_newest_first() -> None:
    jobs = Jobs()
    assert run(jobs, "list").stdout.splitlines() == [
        "id  state    done  kind     asset",
        "j1  running  50%   process  anna/a.mp4",
        "j0  failed   25%   process  anna/a.mp4",
    ]
    assert [asked["cursor"] for asked in jobs.asked] == [None, "more"]


def test_a_list_may_be_of_a_state_or_an_asset_and_short() -> None:
    jobs = Jobs()
    said = run(jobs, "list", "--state", "running", "--asset", "anna/é", "-n", "1", "--json").stdout
    assert [item["id"] for item in json.loads(said)["items"]] == ["j1"]
    ((asked),) = jobs.asked
    assert (asked["state"], asked["asset_id"]) == ("running", "anna/é")
    run(Jobs(), "list", "--state", "late", code=2)


def test_a_job_is_shown() -> None:
    jobs = Jobs()
    assert run(jobs, "show", "j1").stdout.splitlines() == [
        "job       j1",
        "state     running",
        "done      50%",
        "at        annotate, 50 of 100 frames",
        "kind      process",
        "asset     anna/a.mp4",
        "attempts  1",
        "created   2026-11-23T00:00:00Z",
    ]
    assert json.loads(run(jobs, "show", "j1", "--json").stdout)["detail"]["frames"] == 50


@pytest.mark.parametrize("command", ["show", "watch", "cancel"])
@pytest.mark.parametrize("id", ["none", "../x", "a/b?c#d"])
def test_a_job_that_is_not_there_is_said_to_be_so(command: str, id: str) -> None:
    jobs = Jobs()
    assert "(not_found)" in run(jobs, command, id, code=1).stderr
    assert json.loads(run(jobs, command, id, "--json", code=1).stdout)["error"]["code"] == "not_found"


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_a_job_is_watched_until_it_ends(state: schemas.JobState, code: int) -> None:
    detail = schemas.JobDetail(stage="annotate", frames=50)
    end = job(state, 1.0, finished_at=NOW, error="it is [bold]broken" if state == "failed" else None)
    watched = run(Jobs(job("queued"), job(progress=0.5, detail=detail), end), "watch", "j1", code=code)
    assert f"state     {state}" in watched.stdout
    assert ("error     it is [bold]broken" in watched.stdout) == (state == "failed")
    assert watched.stderr == "", "a progress bar is for terminals"
    lines = run(Jobs(job("queued"), end), "watch", "j1", "--json", code=code).stdout.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["queued", state]


def test_a_watch_that_breaks_off_is_no_success() -> None:
    assert "broke off" in run(Jobs(job()), "watch", "j1", code=1).stderr
    gone = run(Jobs(job(), Problem("not_found", "it is gone")), "watch", "j1", code=1)
    assert "it is gone (not_found)" in gone.stderr


def test_a_job_is_cancelled() -> None:
    jobs = Jobs()
    assert "state     cancelled" in run(jobs, "cancel", "j1").stdout
    assert jobs.asked[-1] == ("cancel", "j1")
    assert json.loads(run(jobs, "cancel", "j1", "--json").stdout)["state"] == "cancelled"
