"""The renderer of views as a deployment, without a cluster: whose turn it is, and what becomes of it."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own use of pydantic
    import deployments.multi_view_renderer as module
    from deployments.multi_view_renderer import MultiViewRenderer

from serve_app.errors import Problem


class Shapes:
    """Takes as long as it is told, and knows how many models were worked on at the same time."""

    device, renderer = "cpu", SimpleNamespace(name="pencil")

    def __init__(self) -> None:
        self.prepared, self.now, self.most, self.closed = False, 0, 0, 0
        self.go = asyncio.Event()

    def prepare(self) -> None:
        self.prepared = True

    async def check(self, file: str) -> str:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.go.wait()
        self.now -= 1
        return file

    async def annotate(self, request: Any) -> AsyncIterator[Any]:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            yield f"{request} began"
            await self.go.wait()
            if request == "broken":
                raise Problem("undecodable_media", "it is broken")
            yield f"{request} done"
        finally:
            self.now -= 1
            self.closed += 1

    def previews(self, file: str, names: Sequence[str]) -> AsyncIterator[Any]:
        return self.annotate(f"{file} {' '.join(names)}")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.001)


async def listed(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


def made(at_once: int = 1) -> tuple[Any, Shapes]:
    shapes = Shapes()
    return MultiViewRenderer.func_or_class(shapes, at_once), shapes


def test_it_is_warm_before_it_is_ready() -> None:
    async def scenario() -> None:
        replica, shapes = made()
        assert shapes.prepared
        assert await replica.status() == {"state": "ready", "model": "pencil", "device": "cpu"}

    asyncio.run(scenario())


@pytest.mark.parametrize("at_once", [1, 2])
def test_some_are_drawn_and_the_others_are_told_to_wait(at_once: int) -> None:
    async def scenario() -> None:
        replica, shapes = made(at_once)
        streams = (replica.annotate("a"), replica.previews("b", ["x", "y"]), replica.annotate("c"))
        tasks = [asyncio.create_task(listed(stream)) for stream in streams]
        await asyncio.sleep(0.05)
        assert shapes.now == at_once
        shapes.go.set()
        answers = await asyncio.gather(*tasks)
        assert shapes.most == at_once
        told = [[item for item in answer if item is not None] for answer in answers]
        assert told == [[f"{what} began", f"{what} done"] for what in ("a", "b x y", "c")]
        assert [None in answer for answer in answers] == [False, at_once == 1, True]

    asyncio.run(scenario())


def test_who_fails_or_leaves_makes_room() -> None:
    async def scenario() -> None:
        replica, shapes = made()
        async with aclosing(replica.annotate("left")) as items:
            assert await anext(items) == "left began"
        shapes.go.set()
        with pytest.raises(Problem, match="broken"):
            await listed(replica.annotate("broken"))
        assert shapes.closed == 2
        assert (await listed(replica.annotate("next")))[-1] == "next done"

    asyncio.run(scenario())


def test_checks_wait_for_no_drawing_and_are_bounded_too() -> None:
    async def scenario() -> None:
        replica, shapes = made()
        async with replica.turn:
            checks = [asyncio.create_task(replica.check(str(number))) for number in range(5)]
            await asyncio.sleep(0.02)
            assert shapes.now == module.CHECKS
            shapes.go.set()
            assert await asyncio.gather(*checks) == list("01234")
        assert shapes.most == module.CHECKS

    asyncio.run(scenario())
