"""Server-sent events: work behind the door that is told while it lasts, and ends when its client leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from fastapi import Request
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from serve_app.wire.problems import detail_of

log = logging.getLogger("mediaverse")

PING_S = 15.0
"""Without an event for so long, a comment is sent, so that nothing on the way takes the connection for dead."""

# A proxy that buffers would turn the stream into one late answer.
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

T = TypeVar("T")
Shape = TypeVar("Shape", bound=BaseModel)


def wants_events(request: Request) -> bool:
    """Whether ``Accept`` names ``text/event-stream``, and does not like JSON better (RFC 9110, 12.5.1)."""
    weights: dict[str, float] = {}
    for part in ",".join(request.headers.getlist("accept")).split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((value[2:] for value in parameters if value.startswith("q=")), "1")
        try:
            weights[name] = float(weight)
        except ValueError:
            weights[name] = 0.0
    events = weights.get("text/event-stream", 0.0)
    return events > 0 and events >= weights.get("application/json", 0.0)


def events_docs(example: str) -> dict[str, Any]:
    """OpenAPI description of an answer by server-sent events."""
    return {"text/event-stream": {"schema": {"type": "string"}, "example": example}}


async def event_stream(
    request: Request, at_end: AsyncExitStack, items: AsyncGenerator[Shape, None], name: Callable[[Shape], str]
) -> Response:
    """``items`` as events, each called what ``name`` says; ``items`` is closed at the request's end.

    An error before the first event is raised, for a plain answer; a later one is an event ``error`` with the problem.
    """
    pump = await at_end.enter_async_context(_Pump(items))
    frames = _frames(pump, name)
    first = await until_left(request, anext(frames, b""))
    return EventSourceResponse(_joined(first, frames), headers=_HEADERS)


async def until_left(request: Request, work: Awaitable[T]) -> T:
    """What ``work`` gives; it is cancelled, with ``ClientDisconnect``, when the client leaves. The body is read."""
    doing, leaving = asyncio.ensure_future(work), asyncio.create_task(_leaving(request))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientDisconnect
        return doing.result()
    finally:
        doing.cancel()
        leaving.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


async def _leaving(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _joined(first: bytes, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for frame in frames:
        yield frame


async def _frames(pump: _Pump[Shape], name: Callable[[Shape], str]) -> AsyncIterator[bytes]:
    begun = False
    while True:
        try:
            item = await pump.next(PING_S)
        except StopAsyncIteration:
            return
        except Exception as error:
            if not begun:
                raise
            yield _event("error", detail_of(error))
            return
        begun = True
        yield KEEPALIVE_COMMENT if item is None else _event(name(item), item)


def _event(name: str, body: BaseModel) -> bytes:
    return format_sse_event(event=name, data_str=body.model_dump_json(exclude_none=True))


@dataclass(frozen=True)
class _End:
    error: Exception | None


class _Pump(Generic[T]):
    """Runs a generator in a task of its own, so that waiting for its next item can be given up and taken up again.

    Leaving the context cancels what the generator is at, and closes it.
    """

    def __init__(self, items: AsyncGenerator[T, None]) -> None:
        self._items = items
        self._queue: asyncio.Queue[T | _End] = asyncio.Queue(1)
        self._left = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._left = True
        self._task.cancel()
        await asyncio.wait({self._task})

    async def next(self, timeout_s: float) -> T | None:
        """The next item, None where there is none in time; raises the generator's error or StopAsyncIteration."""
        try:
            async with asyncio.timeout(timeout_s):
                item = await self._queue.get()
        except TimeoutError:
            return None
        if isinstance(item, _End):
            raise item.error or StopAsyncIteration
        return item

    async def _run(self) -> None:
        error = None
        try:
            async with aclosing(self._items) as items:
                async for item in items:
                    await self._queue.put(item)
        except Exception as caught:
            error = caught
        if not self._left:
            await self._queue.put(_End(error))
        elif error is not None:
            log.warning("what a client left did not end well", exc_info=error)
