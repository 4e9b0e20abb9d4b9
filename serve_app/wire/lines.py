"""Newline-delimited bodies: pieces as they come become lines, and lines become chunks, all of them bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator

from serve_app.errors import Problem

Line = tuple[int, bytes | None]
"""Its number, from 1, and its content; None for one that is longer than allowed."""


async def split(pieces: AsyncIterable[bytes], longest: int, most: int) -> AsyncIterator[Line]:
    """The lines of a body, without blank ones, which are numbered all the same. No more than ``longest`` is kept.

    ``too_large`` after ``most`` lines.
    """
    kept, number, too_long = bytearray(), 1, False
    async for piece in pieces:
        *ended, rest = piece.split(b"\n")
        for part in ended:
            if number > most:
                raise Problem("too_large", f"a request has at most {most} lines")
            too_long = too_long or len(kept) + len(part) > longest
            line = None if too_long else bytes(kept) + part
            kept.clear()
            if line is None or line.strip():
                yield number, line
            number, too_long = number + 1, False
        too_long = too_long or len(kept) + len(rest) > longest
        kept.clear() if too_long else kept.extend(rest)
    if too_long or bytes(kept).strip():
        yield number, None if too_long else bytes(kept)


async def bounded(pieces: AsyncIterable[bytes], limit: int) -> AsyncIterator[bytes]:
    """``pieces`` until they pass ``limit`` bytes together: ``too_large``."""
    received = 0
    async for piece in pieces:
        received += len(piece)
        if received > limit:
            raise Problem("too_large", f"the body is larger than {limit} bytes")
        yield piece


class Inbox:
    """Lines that have come and are not taken yet: at most about ``size`` bytes and ``count`` lines.

    What comes while a chunk is worked on is the next chunk, so that a line alone does not wait for others and many
    are taken together.
    """

    def __init__(self, count: int, size: int) -> None:
        self._count, self._size = count, size
        self._lines: deque[Line] = deque()
        self._bytes = 0
        self._ended = False
        self._changed = asyncio.Condition()

    async def fill(self, lines: AsyncIterable[Line]) -> None:
        """Take in all ``lines``; waits while the inbox is full."""
        try:
            async for line in lines:
                async with self._changed:
                    await self._changed.wait_for(lambda: len(self._lines) < self._count and self._bytes < self._size)
                    self._lines.append(line)
                    self._bytes += len(line[1] or b"")
                    self._changed.notify_all()
        finally:
            async with self._changed:
                self._ended = True
                self._changed.notify_all()

    async def take(self) -> list[Line]:
        """All that is there, once there is something; empty at the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._lines) or self._ended)
            taken = list(self._lines)
            self._lines.clear()
            self._bytes = 0
            self._changed.notify_all()
            return taken
