"""The client against a real server that is busy, strange or not there."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from serve_app.client import Client, pause_s
from serve_app.errors import Problem
from serve_app.wire import schemas
from serve_app.wire.ports import NewAsset, Upload
from tests.unit.wire.door import ANSWER, FOREVER, Jobs, Videos, at, job, services, serving
from tests.unit.wire.test_http import Fake

Step = tuple[int, dict[str, str], bytes]


class Scripted(ThreadingHTTPServer):
    """Answers each request with the next step, and with the last one from then on."""

    daemon_threads = True

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps
        self.asked: list[tuple[str, str, bytes]] = []
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may hang up when it knows enough
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.asked.append((self.command, self.path, body))
        steps = self.server.steps
        status, headers, data = steps.pop(0) if len(steps) > 1 else steps[0]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, format: str, *args: Any) -> None:
        """A test needs no log."""


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    servers = []

    def start(*steps: Step) -> Scripted:
        server = Scripted(list(steps))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return server

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def nowhere() -> str:
    """The address of a service that is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    with contextlib.ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(Client(*args, **options))


def ok(body: Any) -> Step:
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


def problem(status: int, code: str, retry_after: str | None = "0", **more: str) -> Step:
    headers = {"Content-Type": "application/problem+json"}
    headers |= {"Retry-After": retry_after} if retry_after is not None else {}
    return status, headers, json.dumps({"code": code, "detail": "why", "status": status} | more).encode()


def refused(act: Callable[..., Any], *args: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        act(*args)
    return caught.value


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_service_is_asked_again_with_the_whole_file(
    connect: Callable[..., Client], scripted: Callable[..., Scripted], tmp_path: Path, status: int
) -> None:
    server = scripted(problem(status, "overloaded"), problem(status, "overloaded"), ok({"id": "x"}))
    file = tmp_path / "na\u00efve.png"
    file.write_bytes(bytes(range(256)) * 100)
    assert connect(server.url).add(file, "anna", "x") == {"id": "x"}
    assert [(method, path) for method, path, _ in server.asked] == [("POST", "/v1/assets")] * 3
    assert all(file.read_bytes() in body for _, _, body in server.asked)


def test_it_waits_as_long_as_it_is_told(connect: Callable[..., Client], scripted: Callable[..., Scripted]) -> None:
    server = scripted(problem(503, "overloaded", "0.3"), ok({}))
    started = time.monotonic()
    connect(server.url).search_text("x")
    assert 0.3 <= time.monotonic() - started < 2


def test_a_service_that_stays_busy_is_given_up(
    connect: Callable[..., Client], scripted: Callable[..., Scripted]
) -> None:
    server = scripted(problem(503, "overloaded"))
    found = refused(connect(server.url).search_text, "x")
    assert (found.code, found.detail) == ("overloaded", "why")
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "bad_request"),
        (404, "not_found"),
        (409, "conflict"),
        (500, "internal"),
        (504, "deadline"),
        (503, "unavailable"),
    ],
)
def test_what_waiting_does_not_mend_is_said_at_once(
    connect: Callable[..., Client], scripted: Callable[..., Scripted], status: int, code: str
) -> None:
    server = scripted(problem(status, code, remedy="do this"))
    found = refused(connect(server.url).search_text, "x")
    assert (found.code, found.detail, found.remedy) == (code, "why", "do this")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 2), ("", 2), ("0", 0), ("1", 1), ("0.5", 0.5), ("99", 10), ("inf", 10), ("-3", 0), ("nan", 0), ("soon", 2),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Wed, 21 Oct 2215 07:28:00 GMT", 10), ("21 Oct 2015 07:28:00 -0000", 2)],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date_or_nonsense(header: str | None, seconds: float) -> None:
    assert pause_s(header) == seconds


def test_a_date_soon_is_waited_for() -> None:
    assert 3 < pause_s(formatdate(time.time() + 6, usegmt=True)) <= 6


@pytest.mark.parametrize(
    "step",
    [(200, {}, b"<html>hello</html>"), (200, {"Content-Type": "application/json"}, b"{"), (200, {}, b"")],
)
def test_an_answer_of_another_service_is_said_to_be_one(
    connect: Callable[..., Client], scripted: Callable[..., Scripted], step: Step
) -> None:
    server = scripted(step)
    found = refused(connect(server.url).search_text, "x")
    assert found.code == "unavailable"
    assert server.url in found.detail


@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b"[]", b'{"code": "new_code", "detail": "x"}', b"\xff"])
def test_a_refusal_of_any_shape_is_a_problem(
    connect: Callable[..., Client], scripted: Callable[..., Scripted], body: bytes
) -> None:
    assert refused(connect(scripted((502, {}, body)).url).search_text, "x").code == "internal"


def test_a_service_that_is_not_there_is_said_to_be_so(connect: Callable[..., Client], nowhere: str) -> None:
    found = refused(connect(nowhere).search_text, "x")
    assert found.code == "unavailable"
    assert nowhere in found.detail
    assert found.remedy == "start it with: make run"


@pytest.mark.parametrize(
    "url", ["http://[", "http://host:port", "http://host:99999", "nonsense", "", "ftp://127.0.0.1", "http://"]
)
def test_what_is_no_address_is_refused(connect: Callable[..., Client], url: str) -> None:
    assert refused(lambda: connect(url).search_text("x")).code in ("bad_request", "unavailable")


def test_a_service_that_hangs_is_a_deadline(connect: Callable[..., Client], scripted: Callable[..., Scripted]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        found = refused(connect(url, timeout_s=0.1).search_text, "x")
    assert found.code == "deadline"


def test_pages_are_followed_to_the_last(connect: Callable[..., Client], scripted: Callable[..., Scripted]) -> None:
    server = scripted(
        ok({"items": [{"id": "c"}, {"id": "b"}], "next_cursor": "n e x t&"}), ok({"items": [{"id": "a"}]})
    )  # fmt: skip
    assert [asset["id"] for asset in connect(server.url).assets("an na")] == ["c", "b", "a"]
    assert "cursor" not in server.asked[0][1]
    assert "owner=an%20na" in server.asked[1][1].replace("+", "%20")
    assert "cursor=n%20e%20x%20t%26" in server.asked[1][1].replace("+", "%20")


def test_any_id_reaches_its_route(connect: Callable[..., Client], scripted: Callable[..., Scripted]) -> None:
    server = scripted(ok({}))
    connect(server.url).asset("anna/a b?#%2f\u00e9.png")
    assert server.asked[0][1] == "/v1/assets/anna/a%20b%3F%23%252f%C3%A9.png"


def test_a_file_that_cannot_be_read_is_named(connect: Callable[..., Client], nowhere: str, tmp_path: Path) -> None:
    for path in (tmp_path / "missing.png", tmp_path):
        found = refused(connect(nowhere).annotate, path)
        assert found.code == "bad_request"
        assert str(path) in found.detail


def test_a_text_that_is_half_a_character_is_refused(connect: Callable[..., Client], nowhere: str) -> None:
    assert refused(connect(nowhere).search_text, "caf\udce9").code == "bad_request"


def stream(*events: tuple[str, Any]) -> Step:
    body = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
    return 200, {"Content-Type": "text/event-stream; charset=utf-8"}, body.encode()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    (tmp_path / "a.mp4").write_bytes(b"film")
    return tmp_path / "a.mp4"


def test_a_video_is_sent_once_and_tells_how_far_it_is(
    connect: Callable[..., Client], scripted: Callable[..., Scripted], film: Path
) -> None:
    told: list[Any] = []
    server = scripted(problem(503, "overloaded"), stream(("progress", {"frames": 1}), ("result", {"scenes": []})))
    assert connect(server.url).annotate_video(film, "objects,faces", 7, told.append) == {"scenes": []}
    assert told == [{"frames": 1}]
    assert {path for _, path, _ in server.asked} == {"/v1/annotate/video?annotators=objects%2Cfaces&seed=7"}
    assert all(b"film" in body for _, _, body in server.asked)
    connect(server.url).annotate_video(film)
    assert server.asked[-1][1] == "/v1/annotate/video?seed=0"


REFUSAL = {"code": "unprocessable", "detail": "why", "remedy": "do this", "status": 422}


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (stream(("progress", {}), ("error", REFUSAL)), "unprocessable"),
        (stream(("error", REFUSAL | {"code": "new_code"})), "internal"),
        (problem(422, "undecodable_media"), "undecodable_media"),
        (stream(("progress", {})), "unavailable"),
        (stream(), "unavailable"),
        (ok({"scenes": []}), "unavailable"),
        (stream(("error", [])), "unavailable"),
        ((200, {"Content-Type": "text/event-stream"}, b"data: {\n\n"), "unavailable"),
        ((200, {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}, b"nonsense"), "unavailable"),
    ],
)
def test_a_stream_that_ends_badly_is_a_problem(
    connect: Callable[..., Client], scripted: Callable[..., Scripted], film: Path, step: Step, code: str
) -> None:
    client = connect(scripted(step).url)
    assert refused(client.annotate_video, film).code == code
    assert refused(list, client.watch("j")).code == code


def test_a_stream_that_falls_silent_is_a_deadline(connect: Callable[..., Client], film: Path) -> None:
    videos = Videos(at(0), FOREVER)
    with serving(services(video=videos)) as url:
        assert refused(connect(url, timeout_s=0.5).annotate_video, film).code == "deadline"
        assert videos.script.ended.wait(5), "it hung up"


def test_a_job_is_watched_to_its_end(connect: Callable[..., Client]) -> None:
    with serving(services(jobs=Jobs(job("queued"), job(progress=0.5), job("failed", 0.5, error="why")))) as url:
        watched = list(connect(url).watch("j1"))
        assert [change["state"] for change in watched] == ["queued", "running", "failed"]
        assert [listed["id"] for listed in connect(url).jobs("failed", "a")] == ["j1", "j0"]
        assert connect(url).cancel("j1")["state"] == "cancelled"
        assert refused(connect(url).job, "a/b ?").code == "not_found"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of 30 MB."""
    with (tmp_path / "large.mp4").open("wb") as file:
        file.truncate(30_000_000)
    return tmp_path / "large.mp4"


class Sizes(Fake):  # type: ignore[misc]
    async def add(self, new: NewAsset) -> tuple[schemas.Asset, bool]:
        self.note(new.upload.size)
        return self.asset("a"), True


class Unread(Videos):
    async def _play(self, upload: Upload) -> AsyncGenerator[Any, None]:
        yield ANSWER


def test_a_large_file_is_not_read_into_memory(connect: Callable[..., Client], large: Path) -> None:
    assets = Sizes()
    with serving(services(assets=assets, video=Unread())) as url:
        client = connect(url)
        tracemalloc.start()
        try:
            client.add(large, "anna", "a")
            client.annotate_video(large)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert assets.asked == [(30_000_000,)]
    assert peak < 15e6, f"{peak / 1e6:.1f} MB, of the client and the door together"


def test_a_file_that_is_too_large_is_refused_before_it_is_sent_whole(
    connect: Callable[..., Client], large: Path
) -> None:
    with serving(services(video=Videos(), max_upload_bytes=1000)) as url:
        for send in (connect(url).annotate_video, lambda file: connect(url).add(file, "anna", "a")):
            assert refused(send, large).code == "too_large"
