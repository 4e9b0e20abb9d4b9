"""A bounded number of tasks at once; who brings one more waits. That wait is what holds a producer back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any


class Crew:
    """At most ``size`` tasks at a time. A task must not raise; what it has to say it notes down itself."""

    def __init__(self, size: int) -> None:
        self._free = asyncio.Semaphore(size)
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin ``work`` once there is a free hand."""
        try:
            await self._free.acquire()
        except BaseException:
            work.close()
            raise
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def drained(self, tick_s: float = 1.0) -> AsyncIterator[int]:
        """Wait for all tasks; gives how many are left, every ``tick_s`` seconds."""
        while self._tasks:
            await asyncio.wait(self._tasks, timeout=tick_s)
            yield len(self._tasks)

    def stop(self) -> None:
        """Cancel what is not done."""
        for task in self._tasks:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free.release()
        if not task.cancelled():
            task.exception()  # seen, so that asyncio does not complain of it later
