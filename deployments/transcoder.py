"""Encodes stored files for every screen, a few at a time: each encoding takes all the cores that there are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

from ray import serve

WAIT_S = 0.5
DIRECT = 2
"""What clients wait for goes on beside the encodings, so many at once."""


class Adaptation(Protocol):
    """What is done with a stored file; the graph of adaptation is one."""

    @property
    def engine(self) -> str: ...
    def prepare(self) -> None: ...
    def adapt(self, request: Any) -> AsyncIterator[Any]: ...
    async def direct(self, request: Any) -> Any: ...
    async def probe(self, file: str) -> Any: ...


@serve.deployment
class Transcoder:
    """At most ``at_once`` files are encoded at a time; the others wait their turn."""

    def __init__(self, adaptation: Adaptation, at_once: int = 1) -> None:
        self.adaptation = adaptation
        self.turn = asyncio.Semaphore(at_once)
        self.desk = asyncio.Semaphore(DIRECT)
        adaptation.prepare()

    async def adapt(self, request: Any) -> AsyncIterator[Any]:
        """Shares of the work, and the files as they are stored; None now and then while others have their turn."""
        while self.turn.locked():
            yield None
            await asyncio.sleep(WAIT_S)
        async with self.turn, aclosing(self.adaptation.adapt(request)) as items:  # type: ignore[type-var]
            async for item in items:
                yield item

    async def direct(self, request: Any) -> Any:
        """What is made at once of a file."""
        async with self.desk:
            return await self.adaptation.direct(request)

    async def probe(self, file: str) -> Any:
        """What is in a file; raises ``Problem`` where it cannot be read."""
        async with self.desk:
            return await self.adaptation.probe(file)

    async def status(self) -> dict[str, str]:
        """For ``/health/ready``: the binary has told what it can do, so it runs."""
        return {"state": "ready", "model": self.adaptation.engine, "device": "cpu"}
