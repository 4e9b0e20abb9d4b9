"""Many assets in one request: over the real door on a socket, with a shelf behind it that tests fill and break."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from serve_app.errors import Problem
from serve_app.wire import lines, routes_batch, schemas
from serve_app.wire.ports import NewAsset
from tests.unit.wire.door import services, serving, soon

NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Shelf:
    """Keeps what is added by its id; refuses what says ``bad``; stays at ``gate`` while there is one."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.chunks: list[int] = []
        self.news: list[NewAsset] = []
        self.gate: threading.Event | None = None
        self.fault: Exception | None = None

    async def add_many(self, news: Sequence[NewAsset]) -> list[tuple[schemas.Asset, bool] | Problem]:
        if self.gate is not None:
            await asyncio.to_thread(self.gate.wait)
        if self.fault is not None:
            raise self.fault
        self.chunks.append(len(news))
        self.news += news
        return [self._add(new) for new in news]

    def _add(self, new: NewAsset) -> tuple[schemas.Asset, bool] | Problem:
        if new.upload.data == b"bad":
            return Problem("unsupported_media", "no picture")
        id = new.id or "made"
        created = id not in self.kept
        self.kept[id] = new.upload.data
        asset = schemas.Asset(
            id=id, owner=new.owner, kind="text", media_type="text/plain", sha256="0" * 64, bytes=new.upload.size,
            state="processing", stages={}, created_at=NOW,
        )  # fmt: skip
        return asset, created


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def url(shelf: Shelf) -> Iterator[str]:
    with serving(services(assets=shelf)) as address:
        yield address


def post(url: str, body: bytes | Iterator[bytes], media_type: str = "application/x-ndjson") -> httpx.Response:
    return httpx.post(f"{url}/v1/assets:batch", content=body, headers={"content-type": media_type}, timeout=20)


def answers(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def line(**item: Any) -> bytes:
    return json.dumps({"owner": "anna"} | item).encode() + b"\n"


def test_each_line_is_answered_in_order_and_fares_for_itself(url: str, shelf: Shelf) -> None:
    picture = base64.b64encode(b"\x89PNG").decode()
    body = b"".join(
        [
            line(id="a", text="words"),
            b"\n",
            line(id="p", data=picture, description="red", media_type="image/png", idempotency_key="k"),
            b"{not json\n",
            b"[1, 2]\n",
            line(id="a", text="words"),
            line(text="x", data=picture),
            line(id="q"),
            line(id="q", text="x", colour="red"),
            line(id="q", data="%%%"),
            line(id="b", text="bad"),
            b'{"owner": "anna", "text": "\\ud800"}\n',
            b"[" * 100_000 + b"\n",
            line(id="z", text="the last has no newline").rstrip(),
        ]
    )
    said = answers(post(url, body))
    assert [each["line"] for each in said] == [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    assert [each["status"] for each in said] == [202, 202, 400, 400, 200, 400, 400, 400, 400, 415, 400, 400, 202]
    assert [each["asset"]["id"] for each in said if "asset" in each] == ["a", "p", "a", "z"]
    codes = {each["problem"]["code"] for each in said if "problem" in each}
    assert codes == {"bad_request", "unsupported_media"}
    first, second = shelf.news[:2]
    assert (first.owner, first.upload.data, first.media_type) == ("anna", b"words", "text/plain")
    assert (second.upload.data, second.description, second.media_type) == (b"\x89PNG", "red", "image/png")
    assert second.idempotency_key == "k"


def test_a_chunk_that_cannot_be_stored_is_said_of_each_of_its_lines(url: str, shelf: Shelf) -> None:
    shelf.fault = Problem("unavailable", "the disk is full")
    said = answers(post(url, line(id="a", text="x") + b"{\n" + line(id="b", text="x")))
    assert [(each["status"], each["problem"]["code"]) for each in said] == [
        (503, "unavailable"), (400, "bad_request"), (503, "unavailable"),
    ]  # fmt: skip
    shelf.fault = ZeroDivisionError()
    assert [each["status"] for each in answers(post(url, line(id="a", text="x")))] == [500]


def test_what_is_too_long_is_said_of_its_line_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_batch, "MAX_LINE", 100)
    said = answers(post(url, line(id="a", text="x") + line(id="b", text="y" * 100) + line(id="c", text="z")))
    assert [each["status"] for each in said] == [202, 413, 202]
    assert "/v1/assets" in said[1]["problem"]["remedy"]


def test_a_body_beyond_the_bounds_ends_with_a_problem(url: str, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_batch, "MAX_LINES", 2)
    said = answers(post(url, b"".join(line(id=id, text="x") for id in "abcd")))
    assert [each["status"] for each in said] == [202, 202, 413]
    monkeypatch.setattr(routes_batch, "MAX_BODY", 50)
    refused = post(url, line(id="e", text="x" * 50))
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    said = answers(post(url, iter([line(id="f", text="x" * 50)])))
    assert [each["status"] for each in said] == [413]
    assert sorted(shelf.kept) == ["a", "b"]


def test_other_bodies_are_refused(url: str) -> None:
    refused = post(url, b"{}", "application/json")
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media")
    assert answers(post(url, b"\n\n")) == []


def test_what_comes_while_a_chunk_is_stored_is_the_next_chunk(url: str, shelf: Shelf) -> None:
    shelf.gate = threading.Event()
    body = iter([line(id=str(number), text="x") for number in range(50)])
    got: list[httpx.Response] = []
    posting = threading.Thread(target=lambda: got.append(post(url, body)))
    posting.start()
    assert soon(lambda: next(body, None) is None)
    shelf.gate.set()
    posting.join(20)
    assert len(answers(got[0])) == len(shelf.kept)
    assert len(shelf.chunks) < 10


def test_a_line_is_answered_while_the_client_still_sends(url: str) -> None:
    host = url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.putrequest("POST", "/v1/assets:batch")
    connection.putheader("Content-Type", "application/x-ndjson")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    told = connection.sock.makefile("rb")
    for id in ("a", "b"):
        piece = line(id=id, text="x")
        connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        while not (said := told.readline()).startswith(b"{"):
            assert said, "the answer broke off"
        assert json.loads(said)["asset"]["id"] == id
    connection.send(b"0\r\n\r\n")
    assert told.read()
    connection.close()


def test_a_client_that_breaks_off_leaves_what_was_stored_and_no_more(url: str, shelf: Shelf) -> None:
    host = url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.putrequest("POST", "/v1/assets:batch")
    connection.putheader("Content-Type", "application/x-ndjson")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders()
    connection.send(line(id="a", text="x") + line(id="b", text="half a line")[:-9])
    assert soon(lambda: "a" in shelf.kept)
    connection.close()
    assert post(url, line(id="c", text="x")).status_code == 200
    assert sorted(shelf.kept) == ["a", "c"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_are_the_same_however_the_body_is_cut(size: int) -> None:
    body = b"one\n\n  \ntwo\r\n" + b"x" * 20 + b"\nlast"
    expected = [(1, b"one"), (4, b"two\r"), (5, None), (6, b"last")]

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    async def gathered() -> list[Any]:
        return [each async for each in lines.split(pieces(), longest=10, most=10)]

    assert asyncio.run(gathered()) == expected
