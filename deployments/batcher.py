"""Micro-batchers that collect while the model, or whoever is asked, is busy.

``@serve.batch`` waits for a full batch or a timeout, fails every item when one raises and hangs on a cancelled item.
These start at once when the model is idle, take whatever has arrived when it becomes free, and drop items
whose caller has gone; that of models halves a failing batch until the bad item stands alone.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ray.exceptions import RayTaskError

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


async def settled(answers: Sequence[Awaitable[Answer]]) -> list[Answer | Exception]:
    """Each answer, or what went wrong with it, as it travels: a ``Problem``, or Ray's error with the cause."""
    done = await asyncio.gather(*answers, return_exceptions=True)
    return [_travelling(each) if isinstance(each, BaseException) else each for each in done]


def attempted(function: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer | Problem]:
    """The function of each item, or the ``Problem`` that it raised."""
    done: list[Answer | Problem] = []
    for item in items:
        try:
            done.append(function(item))
        except Problem as problem:
            done.append(problem)
    return done


def _travelling(error: BaseException) -> Exception:
    if isinstance(error, Problem | RayTaskError):
        return error
    if not isinstance(error, Exception):
        raise error
    return RayTaskError("answer", "".join(traceback.format_exception(error)), error)


class Gatherer(Generic[Item, Answer]):
    """Asks ``many(list of items) -> list of answers``; what arrives while ``lanes`` of these go on is asked together.

    An answer that is an ``Exception`` is raised for its own item only; what ``many`` raises, for all of its items.
    ``submit`` raises ``Problem("overloaded")`` when the queue is full. Must be used from one event loop at a time.
    """

    def __init__(
        self, many: Callable[[list[Item]], Awaitable[Sequence[Answer | Exception]]], sizes: BatchSizes | None = None,
        lanes: int = 1,
    ) -> None:  # fmt: skip
        self._many = many
        self.sizes = sizes or BatchSizes()
        self._lanes = lanes
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._workers: set[asyncio.Task[None]] = set()

    async def submit(self, item: Item) -> Answer:
        if len(self._waiting) >= self.sizes.max_queue:
            self._drop_cancelled()
            if len(self._waiting) >= self.sizes.max_queue:
                raise Problem("overloaded", f"{len(self._waiting)} requests are waiting already")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._workers = {worker for worker in self._workers if not worker.done()}
        if len(self._workers) < self._lanes:
            self._workers.add(asyncio.create_task(self._work()))
        return await future

    @property
    def waiting(self) -> int:
        """Items that no batch has taken yet."""
        return len(self._waiting)

    async def _work(self) -> None:
        while batch := self._take():
            answers: Sequence[Answer | Exception]
            try:
                answers = await self._many([item for item, _ in batch])
                if len(answers) != len(batch):
                    raise RuntimeError(f"{len(answers)} answers for {len(batch)} items")
            except Exception as error:
                answers = [error] * len(batch)
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


class Batcher(Gatherer[Item, Answer]):
    """Runs ``model(list of items) -> list of answers`` on one thread of its own, in batches.

    An answer that is an ``Exception`` is raised for its own item only, and so is what the model raises: a batch that
    fails is halved until the bad item stands alone.
    """

    def __init__(
        self, model: Callable[[list[Item]], Sequence[Answer | Exception]], sizes: BatchSizes | None = None
    ) -> None:
        super().__init__(self._run, sizes)
        self._model = model
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    def between(self, work: Callable[[], Done]) -> Future[Done]:
        """Run ``work`` on the model's thread, between two batches; may be called from any thread."""
        return self._thread.submit(work)

    async def _run(self, items: list[Item]) -> Sequence[Answer | Exception]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._isolate, items)

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
