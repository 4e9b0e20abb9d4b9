"""Draws 3D models from all around, a few at a time, and has them annotated and shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from ray import serve

WAIT_S = 0.2
CHECKS = 2
"""Files that are read at once only to see that they can be."""


class Shapes(Protocol):
    """What is done with a stored 3D model; the graph of 3D models is one."""

    @property
    def device(self) -> str: ...
    @property
    def renderer(self) -> Any: ...
    def prepare(self) -> None: ...
    async def check(self, file: str) -> Any: ...
    def annotate(self, request: Any) -> AsyncIterator[Any]: ...
    def previews(self, file: str, names: Sequence[str]) -> AsyncIterator[Any]: ...


@serve.deployment
class MultiViewRenderer:
    """At most ``at_once`` models are drawn at a time, since one may take much memory; the others wait their turn."""

    def __init__(self, shapes: Shapes, at_once: int = 1) -> None:
        self.shapes = shapes
        self.turn = asyncio.Semaphore(at_once)
        self.checks = asyncio.Semaphore(CHECKS)
        shapes.prepare()

    async def check(self, file: str) -> Any:
        """The facts of a 3D model; raises ``Problem`` where it cannot be read."""
        async with self.checks:
            return await self.shapes.check(file)

    async def annotate(self, request: Any) -> AsyncIterator[Any]:
        """Steps, and the annotation as the last item; None now and then while others have their turn."""
        async with aclosing(self._in_turn(self.shapes.annotate(request))) as items:
            async for item in items:
                yield item

    async def previews(self, file: str, names: Sequence[str]) -> AsyncIterator[Any]:
        """The previews of these names as they are made; None now and then while others have their turn."""
        async with aclosing(self._in_turn(self.shapes.previews(file, names))) as items:
            async for item in items:
                yield item

    async def _in_turn(self, work: AsyncIterator[Any]) -> AsyncIterator[Any]:
        while self.turn.locked():
            yield None
            await asyncio.sleep(WAIT_S)
        async with self.turn, aclosing(work) as items:  # type: ignore[type-var]
            async for item in items:
                yield item

    async def status(self) -> dict[str, str]:
        """For ``/health/ready``: it has drawn something, so it can."""
        return {"state": "ready", "model": self.shapes.renderer.name, "device": self.shapes.device}
