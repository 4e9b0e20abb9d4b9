"""Reads videos, each once: splits it into scenes and sends frames to the annotators while it reads on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

from ray import serve

WAIT_S = 0.5


class Reading(Protocol):
    """What is done with a stored video; the graph of videos is one."""

    def annotate(self, request: Any) -> AsyncIterator[Any]: ...
    async def probe(self, file: str) -> Any: ...


@serve.deployment
class SceneSplitter:
    """At most ``at_once`` videos are read at a time; the others wait their turn. Cancelling ends the decoder."""

    def __init__(self, reading: Reading, at_once: int = 2) -> None:
        self.reading = reading
        self.turn = asyncio.Semaphore(at_once)

    async def annotate(self, request: Any) -> AsyncIterator[Any]:
        """Progress, and the annotation as the last item; None now and then while others have their turn."""
        while self.turn.locked():
            yield None
            await asyncio.sleep(WAIT_S)
        async with self.turn, aclosing(self.reading.annotate(request)) as items:  # type: ignore[type-var]
            async for item in items:
                yield item

    async def probe(self, file: str) -> Any:
        """The facts of a video, from its header and its first frame; raises ``Problem`` where it has none."""
        return await self.reading.probe(file)

    async def status(self) -> dict[str, str]:
        """For ``/health/ready``: it answers, so it is there."""
        return {"state": "ready"}
