"""A micro-batcher that collects while the model is busy.

``@serve.batch`` waits for a full batch or a timeout, fails every item when one raises and hangs on a cancelled item.
This one starts at once when the model is idle, takes whatever has arrived when it becomes free, halves a failing batch
until the bad item stands alone, and drops items whose caller has gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from serve_app.errors import Problem

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Done = TypeVar("Done")


@dataclass(frozen=True)
class BatchSizes:
    """How far a batch may grow; arrives through ``reconfigure(user_config)``."""

    max_batch_size: int = 16
    """Items in one call of the model."""
    max_queue: int = 1024
    """Items that may wait; one more is refused as ``overloaded``."""

    def __post_init__(self) -> None:
        if self.max_batch_size < 1 or self.max_queue < 1:
            raise ValueError("max_batch_size and max_queue are at least 1")

    @classmethod
    def of(cls, user_config: dict[str, Any] | None) -> BatchSizes:
        return cls(**(user_config or {}))


class Batcher(Generic[Item, Answer]):
    """Runs ``model(list of items) -> list of answers`` on one thread of its own, in batches.

    An answer that is an ``Exception`` is raised for its own item only. ``submit`` raises whatever the model raised for
    that item, or ``Problem("overloaded")`` when the queue is full. Must be used from one event loop.
    """

    def __init__(
        self, model: Callable[[list[Item]], Sequence[Answer | Exception]], sizes: BatchSizes | None = None
    ) -> None:
        self._model = model
        self.sizes = sizes or BatchSizes()
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Answer:
        if len(self._waiting) >= self.sizes.max_queue:
            self._drop_cancelled()
            if len(self._waiting) >= self.sizes.max_queue:
                raise Problem("overloaded", f"{len(self._waiting)} requests are waiting for this model")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    @property
    def waiting(self) -> int:
        """Items that no batch has taken yet."""
        return len(self._waiting)

    def between(self, work: Callable[[], Done]) -> Future[Done]:
        """Run ``work`` on the model's thread, between two batches; may be called from any thread."""
        return self._thread.submit(work)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._take():
            answers = await loop.run_in_executor(self._thread, self._isolate, [item for item, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def _take(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        while self._waiting and len(batch) < self.sizes.max_batch_size:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    def _drop_cancelled(self) -> None:
        self._waiting = deque(pair for pair in self._waiting if not pair[1].done())

    def _isolate(self, items: list[Item]) -> list[Answer | Exception]:
        """Run ``items``; when that raises, run each half alone, so that only the bad items fail."""
        try:
            answers = list(self._model(items))
            if len(answers) != len(items):
                raise RuntimeError(f"the model gave {len(answers)} answers for {len(items)} items")
            return answers
        except Exception as error:
            if len(items) == 1:
                return [error]
            half = len(items) // 2
            return self._isolate(items[:half]) + self._isolate(items[half:])
