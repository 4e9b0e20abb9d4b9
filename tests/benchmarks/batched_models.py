"""The same two models behind our batcher and behind ``@serve.batch``, as deployments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from ray import serve

from deployments.batcher import Batcher, BatchSizes
from tests.benchmarks import bare, samples

MAX_BATCH = 16
ACCELERATOR_S = (0.040, 0.002)
"""A launch and each item of it, as an accelerator looks from the host: the thread waits, the cores are free."""


def accelerator() -> Callable[[list[int]], list[int]]:
    launch, item = ACCELERATOR_S

    def run(items: list[int]) -> list[int]:
        time.sleep(launch + item * len(items))
        return items

    return run


def image_tower() -> Callable[[list[int]], list[int]]:
    """The embedded image tower on prepared pictures that the replica already has; an item names one of them."""
    tower = bare.image_tower()
    prepared = [tower.prepare(data) for data in samples.pictures()]

    def run(items: list[int]) -> list[int]:
        tower.run([prepared[item % len(prepared)] for item in items])
        return items

    return run


def capacity(model: str) -> float:
    """Items a second of full batches, one after the other."""
    run = MODELS[model]()
    batch = list(range(MAX_BATCH))
    run(batch)
    begun = time.perf_counter()
    for _ in range(8):
        run(batch)
    return 8 * MAX_BATCH / (time.perf_counter() - begun)


MODELS = {"accelerator": accelerator, "image tower": image_tower}


class _Counted:
    """Counts batches and items of a model, and the time from a request's arrival in the replica to its answer."""

    def __init__(self, model: str) -> None:
        self._run = MODELS[model]()
        self._run([0])
        self._sizes: list[int] = []

    def run(self, items: list[int]) -> list[int]:
        self._sizes.append(len(items))
        return self._run(items)

    async def sizes(self) -> list[int]:
        """The sizes of all batches since the last call."""
        taken, self._sizes = self._sizes, []
        return taken


@serve.deployment(max_ongoing_requests=2000, num_replicas=1, ray_actor_options={"num_cpus": 0.1})
class Ours(_Counted):
    def __init__(self, model: str) -> None:
        super().__init__(model)
        self._batcher: Batcher[int, int] = Batcher(self.run, BatchSizes(MAX_BATCH, 2000))

    async def one(self, item: int) -> float:
        begun = time.perf_counter()
        await self._batcher.submit(item)
        return time.perf_counter() - begun


@serve.deployment(max_ongoing_requests=2000, num_replicas=1, ray_actor_options={"num_cpus": 0.1})
class Theirs(_Counted):
    """``wait_s`` None leaves ``batch_wait_timeout_s`` at Serve's default (0.01)."""

    def __init__(self, model: str, wait_s: float | None) -> None:
        super().__init__(model)
        if wait_s is not None:
            self._batch.set_batch_wait_timeout_s(wait_s)  # type: ignore[attr-defined]

    @serve.batch(max_batch_size=MAX_BATCH)
    async def _batch(self, items: list[int]) -> list[int]:
        # In a thread, as the documentation asks: a model on the event loop would stop the replica's arrivals.
        return await asyncio.to_thread(self.run, items)

    async def one(self, item: int) -> float:
        begun = time.perf_counter()
        await self._batch(item)
        return time.perf_counter() - begun


VARIANTS: dict[str, Callable[[str], Any]] = {
    "ours": lambda model: Ours.bind(model),
    "@serve.batch": lambda model: Theirs.bind(model, None),
    "@serve.batch, waits 50 ms": lambda model: Theirs.bind(model, 0.05),
}
