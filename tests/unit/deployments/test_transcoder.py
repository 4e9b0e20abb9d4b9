"""The transcoder as a deployment, without a cluster: whose turn it is, and what becomes of it."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own use of pydantic
    import deployments.transcoder as module
    from deployments.transcoder import Transcoder


class Adaptation:
    """Takes as long as it is told, and knows how many files were worked on at the same time."""

    engine = "quill"

    def __init__(self) -> None:
        self.prepared, self.now, self.most = False, 0, 0
        self.go = asyncio.Event()

    def prepare(self) -> None:
        self.prepared = True

    async def adapt(self, request: Any) -> AsyncIterator[Any]:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            yield f"{request} began"
            await self.go.wait()
            yield f"{request} done"
        finally:
            self.now -= 1


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.001)


async def items(transcoder: Any, request: str) -> list[Any]:
    return [item async for item in transcoder.adapt(request)]


def test_one_at_a_time_and_the_others_hear_that_they_wait() -> None:
    async def both() -> tuple[list[Any], list[Any]]:
        work = Adaptation()
        transcoder = Transcoder.func_or_class(work, 1)
        first = asyncio.create_task(items(transcoder, "a"))
        second = asyncio.create_task(items(transcoder, "b"))
        await asyncio.sleep(0.05)
        work.go.set()
        found = await first, await second
        assert (work.prepared, work.most, work.now) == (True, 1, 0)
        assert await transcoder.status() == {"state": "ready", "model": "quill", "device": "cpu"}
        return found

    first, second = asyncio.run(both())
    assert first == ["a began", "a done"]
    assert second[0] is None
    assert [item for item in second if item is not None] == ["b began", "b done"]


def test_who_leaves_gives_the_turn_to_the_next() -> None:
    async def leave() -> list[Any]:
        work = Adaptation()
        transcoder = Transcoder.func_or_class(work, 1)
        async with aclosing(transcoder.adapt("a")) as leaving:
            assert await anext(leaving) == "a began"
        assert work.now == 0
        work.go.set()
        return await items(transcoder, "b")

    assert asyncio.run(leave()) == ["b began", "b done"]
