"""Server-sent events as a client reads them: the HTML standard, 9.2.6, but for reconnecting."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_END = re.compile(rb"\r\n|\r|\n")


def parse(chunks: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """Name and data of every event, as soon as it is whole; what the stream ends within is no event."""
    name, data = "", list[str]()
    for number, line in enumerate(_lines(chunks)):
        field, _, value = (line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line).partition(b":")
        text = value.removeprefix(b" ").decode("utf-8", "replace")
        if not line:
            if data:
                yield name or "message", "\n".join(data)
            name, data = "", []
        elif field == b"event":
            name = text
        elif field == b"data":
            data.append(text)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends, which are CR LF, CR or LF; ``str.splitlines`` knows more, which JSON may hold."""
    kept: list[bytes] = []
    after_return = False
    for chunk in chunks:
        if after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        if not chunk:
            continue
        *whole, rest = _END.split(chunk)
        for line in whole:
            yield b"".join((*kept, line))
            kept = []
        kept.append(rest)
        after_return = chunk.endswith(b"\r")
