"""The reader of server-sent events on the examples of the HTML standard (9.2.5, 9.2.6) and on every cut of them."""

from __future__ import annotations

import pytest

from serve_app.wire.sse import parse

# Streams and the events that the standard says they hold.
EXAMPLES = [
    ("data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10")]),
    (
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [("message", "first event"), ("message", "second event"), ("message", " third event")],
    ),
    ("data\n\ndata\ndata\n\ndata:", [("message", ""), ("message", "\n")]),
    ("data:test\n\ndata: test\n\n", [("message", "test"), ("message", "test")]),
    (
        "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\ndata: x\n\n",
        [("add", "73857293"), ("remove", "2153"), ("message", "x")],
    ),
    ("\ufeffevent: a\nretry: 3\nunknown: y\ndata: {\u2028\x0c\x1c\u00e9: }\n\n", [("a", "{\u2028\x0c\x1c\u00e9: }")]),
    ("event: nothing\n\ndata: y\n\ndata: never whole\n", [("message", "y")]),
]  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("text", "expected"), EXAMPLES)
def test_a_stream_is_read_however_it_is_cut(text: str, expected: list[tuple[str, str]], end: str) -> None:
    stream = text.replace("\n", end).encode()
    for size in range(1, len(stream) + 1):
        cut = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert list(parse(cut)) == expected
    assert list(parse([b"", stream, b""])) == expected


def test_an_event_is_given_as_soon_as_it_is_whole() -> None:
    reading = parse(iter([b"data: a\r\r", b"data: b\n\n"]))
    assert next(reading) == ("message", "a")


def test_a_long_event_takes_time_in_proportion() -> None:
    pieces = [b"data: "] + [b"x" * 100] * 100_000 + [b"\n\n"]
    assert [len(data) for _, data in parse(pieces)] == [10_000_000]
