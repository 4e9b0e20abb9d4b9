"""Videos at the door: one answer or a stream of events, spooled uploads, and clients that leave."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import json
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from serve_app.errors import Problem
from serve_app.wire import streams
from serve_app.wire.http import create_app
from tests.unit.wire.door import ANSWER, FOREVER, Videos, at, comments, events, services, serving, soon

PATH = "/v1/annotate/video"
STREAM = {"Accept": "text/event-stream"}
BROKEN = Problem("undecodable_media", "no video stream", "send another")


def client(videos: Videos) -> TestClient:
    return TestClient(create_app(services(video=videos)), raise_server_exceptions=False)


def post(videos: Videos, headers: dict[str, str] | None = None, query: str = "") -> httpx.Response:
    return client(videos).post(PATH + query, files={"file": ("a.mp4", b"film")}, headers=headers or {})


def test_the_answer_comes_whole_as_json() -> None:
    videos = Videos(at(0), at(50, scenes=1), ANSWER)
    answer = post(videos)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    body = answer.json()
    assert body["asset"]["duration_s"] == 75.26
    assert body["scenes"][1] == {"start_s": 4.2, "end_s": 75.26, "start_frame": 105, "end_frame": 1881}
    assert body["decoded"] == {"frames": 1881, "expected": 1900, "errors": 3, "complete": False}
    assert body["stage"] == {"load_s": 0.5, "annotate_s": 0.75, "after_last_frame_s": 0.25, "total_s": 1.0}
    cat = body["results"]["object_detection"]["labels"][1]
    assert cat == {"label": "cat", "confidence": 0.5, "timestamp_s": 7.0}, "what is not known is left out"
    assert videos.script.ended.is_set()


def test_the_annotators_the_seed_and_the_file_reach_the_service() -> None:
    videos = Videos(ANSWER)
    post(videos, query="?annotators=scenes,faces&seed=7")
    post(videos)
    assert [(chosen, seed) for _, chosen, seed in videos.asked] == [
        (("scenes", "faces"), 7),
        (("scenes", "objects"), 0),
    ]
    upload = videos.asked[0][0]
    assert (upload.size, upload.name, videos.read) == (4, "a.mp4", [b"film"] * 2)


@pytest.mark.parametrize("query", ["?seed=-1", "?seed=x", "?seed=1.5", f"?seed={2**63}", "?annotators=nonsense"])
def test_nonsense_is_refused_before_the_file_is_looked_at(query: str) -> None:
    videos = Videos(ANSWER)
    answer = post(videos, query=query)
    assert (answer.status_code, answer.json()["code"], videos.asked) == (400, "bad_request", [])


def test_the_stream_tells_progress_and_then_the_result() -> None:
    answer = post(Videos(at(0), at(50, scenes=1), ANSWER), STREAM)
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache"
    told = [(name, json.loads(data)) for name, data in events(answer.text)]
    assert told == [
        ("progress", {"frames": 0, "expected": 100, "progress": 0.0, "scenes": 0}),
        ("progress", {"frames": 50, "expected": 100, "progress": 0.5, "scenes": 1}),
        ("result", post(Videos(ANSWER)).json()),
    ]


@pytest.mark.parametrize(
    ("accept", "stream"),
    [
        ("text/event-stream", True),
        ("application/json, TEXT/EVENT-STREAM;q=1.0", True),
        ("application/json, text/event-stream; q=0.5", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream;q=nonsense", False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
    ],
)
def test_the_client_chooses(accept: str, stream: bool) -> None:
    answer = post(Videos(ANSWER), {"Accept": accept})
    assert answer.headers["content-type"].startswith("text/event-stream" if stream else "application/json")


@pytest.mark.parametrize("headers", [{}, STREAM])
def test_a_video_that_cannot_be_read_is_a_plain_problem(headers: dict[str, str]) -> None:
    answer = post(Videos(BROKEN), headers)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["remedy"] == "send another"


@pytest.mark.parametrize(
    ("error", "code", "status"), [(BROKEN, "undecodable_media", 422), (RuntimeError("secret"), "internal", 500)]
)
def test_an_error_on_the_way_is_an_event(error: Exception, code: str, status: int) -> None:
    answer = post(Videos(at(0), error), STREAM)
    assert answer.status_code == 200
    (first, _), (name, data) = events(answer.text)
    assert (first, name, json.loads(data)["code"], json.loads(data)["status"]) == ("progress", "error", code, status)
    assert "secret" not in answer.text
    assert post(Videos(at(0), error)).status_code == status


def test_silence_is_broken_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PING_S", 0.05)
    text = post(Videos(0.3, at(0), 0.3, ANSWER), STREAM).text
    assert [name for name, _ in events(text)] == ["progress", "result"]
    first, second = text.split("event: progress")
    assert 2 <= comments(first) <= 6
    assert 2 <= comments(second) <= 6


def test_no_answer_at_all_is_no_success() -> None:
    assert post(Videos(at(0))).status_code == 500


def leave(url: str, headers: dict[str, str], begun: threading.Event) -> None:
    """Send a video and go away, after the first piece of an answer or, when there is none, once it has begun."""
    sent = httpx.Request("POST", url + PATH, files={"file": b"film" * 500_000}, headers=headers)
    connection = http.client.HTTPConnection(sent.url.host, sent.url.port, timeout=20)
    try:
        connection.request("POST", PATH, sent.read(), dict(sent.headers))
        assert begun.wait(20)
        assert connection.sock is not None
        connection.sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            connection.getresponse().read1(1)
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("headers", "steps"),
    [
        (STREAM, (at(0), FOREVER)),
        (STREAM, itertools.repeat(at(1))),
        ({}, (at(0), FOREVER)),
        (STREAM, (FOREVER,)),
    ],
    ids=["between events", "in a flood of events", "before the answer", "before the first event"],
)
def test_a_client_that_leaves_ends_the_work(headers: dict[str, str], steps: Any) -> None:
    videos = Videos()
    videos.script.steps = steps
    with serving(services(video=videos)) as url:
        leave(url, headers, videos.script.begun)
        assert videos.script.begun.is_set()
        assert videos.script.ended.wait(2), "the work went on without its client"
        assert soon(lambda: videos.asked[0][0].file.closed, 2), "the upload is still there"


def test_what_fails_while_it_is_stopped_holds_nothing_up() -> None:
    class Stubborn(Videos):
        async def _play(self, upload: Any) -> Any:
            try:
                async for item in super()._play(upload):
                    yield item
            finally:
                raise ValueError("even the end fails")

    videos = Stubborn()
    videos.script.steps = itertools.repeat(at(1))
    with serving(services(video=videos)) as url:
        leave(url, STREAM, videos.script.begun)
        assert soon(lambda: videos.asked[0][0].file.closed, 2)


@pytest.mark.parametrize("headers", [{}, STREAM])
def test_a_large_upload_is_spooled_and_closed_at_the_end(headers: dict[str, str]) -> None:
    piece, pieces = bytes(range(256)) * 256, 480  # 30 MB
    hashes = []

    class Hashing(Videos):
        async def _play(self, upload: Any) -> Any:
            yield at(0)
            hashes.append(hashlib.file_digest(upload.file, "sha256").hexdigest())
            yield ANSWER

    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        for _ in range(pieces):
            yield piece
        yield b"\r\n--b--\r\n"

    videos = Hashing()
    headers = headers | {"content-type": "multipart/form-data; boundary=b"}
    with serving(services(video=videos)) as url:
        tracemalloc.start()
        try:
            answer = httpx.post(url + PATH, content=body(), headers=headers, timeout=60)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert answer.status_code == 200
        upload = videos.asked[0][0]
        assert soon(lambda: upload.file.closed)
    assert upload.size == len(piece) * pieces
    assert hashes == [hashlib.sha256(piece * pieces).hexdigest()]
    assert peak < 15e6, f"{peak / 1e6:.1f} MB for an upload of {upload.size / 1e6:.1f} MB"


def test_it_is_documented_with_examples() -> None:
    described = client(Videos()).get("/openapi.json").json()["paths"][PATH]["post"]
    answers = described["responses"]["200"]["content"]
    assert answers["application/json"]["schema"]["$ref"].endswith("/VideoAnnotation")
    told = events(answers["text/event-stream"]["example"])
    assert [name for name, _ in told] == ["progress", "result"]
    type(at(0)).model_validate_json(told[0][1])
    type(ANSWER).model_validate_json(told[1][1])
    assert {parameter["name"] for parameter in described["parameters"]} == {"annotators", "seed"}
