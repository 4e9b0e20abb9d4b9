"""Jobs at the door: listed, looked at, cancelled, watched."""

from __future__ import annotations

import json

import httpx
import pytest
from starlette.testclient import TestClient

from serve_app.errors import Problem
from serve_app.wire import schemas
from serve_app.wire.http import create_app
from tests.unit.wire.door import FOREVER, NOW, Jobs, events, job, services, serving


def client(jobs: Jobs) -> TestClient:
    return TestClient(create_app(services(jobs=jobs)), raise_server_exceptions=False)


def test_jobs_are_listed_a_page_at_a_time() -> None:
    jobs = Jobs()
    http = client(jobs)
    page = http.get("/v1/jobs").json()
    assert page["next_cursor"] == "more"
    assert page["items"] == [
        {
            "id": "j1", "kind": "process", "asset_id": "anna/a.mp4", "state": "running", "progress": 0.5,
            "attempts": 1, "created_at": "2026-11-23T00:00:00Z",
        }
    ]  # fmt: skip
    http.get("/v1/jobs", params={"state": "failed", "asset_id": "anna/a ü", "limit": 3, "cursor": "more"})
    assert jobs.asked == [
        {"state": None, "asset_id": None, "limit": 50, "cursor": None},
        {"state": "failed", "asset_id": "anna/a ü", "limit": 3, "cursor": "more"},
    ]


@pytest.mark.parametrize(
    "bad", [{"state": "late"}, {"limit": 0}, {"limit": 501}, {"limit": "x"}, {"cursor": "c" * 1025}]
)
def test_nonsense_is_refused(bad: dict[str, str]) -> None:
    jobs = Jobs()
    answer = client(jobs).get("/v1/jobs", params=bad)
    assert (answer.status_code, answer.json()["code"], jobs.asked) == (400, "bad_request", [])


def test_a_job_says_what_it_is_at() -> None:
    body = client(Jobs()).get("/v1/jobs/j1").json()
    assert body["detail"] == {"stage": "annotate", "frames": 50, "expected": 100}
    assert "error" not in body


def test_a_job_is_cancelled() -> None:
    jobs = Jobs()
    answer = client(jobs).delete("/v1/jobs/j1")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert jobs.asked[-1] == ("cancel", "j1")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/events")])
def test_a_job_that_is_not_there_is_not_found(method: str, path: str) -> None:
    answer = client(Jobs()).request(method, f"/v1/jobs/none{path}", headers={"Accept": "text/event-stream"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_the_changes_of_a_job_are_events_until_it_ends() -> None:
    detail = schemas.JobDetail(stage="annotate", frames=50, expected=100)
    script = job("queued"), job(progress=0.5, detail=detail), job("succeeded", 1.0, finished_at=NOW)
    answer = client(Jobs(*script)).get("/v1/jobs/j1/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = [(name, json.loads(data)) for name, data in events(answer.text)]
    assert [(name, body["state"]) for name, body in told] == [
        ("progress", "queued"), ("progress", "running"), ("end", "succeeded"),
    ]  # fmt: skip
    assert told[1][1]["detail"]["frames"] == 50


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_a_job_that_has_ended_is_one_event(state: schemas.JobState) -> None:
    assert [name for name, _ in events(client(Jobs(job(state))).get("/v1/jobs/j1/events").text)] == ["end"]


def test_a_job_that_vanishes_is_an_error_event() -> None:
    text = client(Jobs(job(), Problem("not_found", "it is gone"))).get("/v1/jobs/j1/events").text
    (_, _), (name, data) = events(text)
    assert (name, json.loads(data)["code"]) == ("error", "not_found")


def test_whoever_stops_watching_ends_the_watch() -> None:
    jobs = Jobs(job(), FOREVER)
    with serving(services(jobs=jobs)) as url:
        with httpx.stream("GET", f"{url}/v1/jobs/j1/events") as answer:
            assert b"event: progress" in next(answer.iter_raw())
        assert jobs.script.ended.wait(2)


def test_they_are_documented_with_examples() -> None:
    paths = client(Jobs()).get("/openapi.json").json()["paths"]
    assert set(paths["/v1/jobs/{id}"]) == {"get", "delete"}
    told = events(paths["/v1/jobs/{id}/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]["example"])
    assert [(name, schemas.Job.model_validate_json(data).state) for name, data in told] == [
        ("progress", "running"), ("end", "succeeded"),
    ]  # fmt: skip
