"""A bounded number of tasks, and a job that is held while it is worked on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from graphs.crew import Crew
from graphs.holding import LEASE_S, Hold
from serve_app.catalog import Catalog, LeaseLostError


def test_no_more_than_its_size_are_at_work_and_who_brings_more_waits() -> None:
    async def scenario() -> tuple[int, int]:
        crew, most, running = Crew(3), 0, 0

        async def work() -> None:
            nonlocal most, running
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1

        for _ in range(10):
            await crew.add(work())
        left = [count async for count in crew.drained(tick_s=0.005)]
        return most, left[-1]

    assert asyncio.run(scenario()) == (3, 0)


def test_stopping_cancels_what_is_not_done() -> None:
    async def scenario() -> list[str]:
        ended: list[str] = []

        async def work() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        crew = Crew(2)
        await crew.add(work())
        await crew.add(work())
        await asyncio.sleep(0)
        crew.stop()
        async for _ in crew.drained():
            pass
        return ended

    assert asyncio.run(scenario()) == ["cancelled", "cancelled"]


@pytest.fixture
def hold(tmp_path: Path) -> Hold:
    catalog = Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}")
    catalog.jobs.add("index")
    job = catalog.jobs.claim("w", LEASE_S)
    assert job is not None
    return Hold(catalog.jobs, job)


def test_what_is_noted_reaches_the_row(hold: Hold) -> None:
    async def work() -> str:
        hold.note("annotate", 0.25, frames=10, expected=40)
        async with asyncio.timeout(30):
            while not hold.jobs.get(hold.job.id).detail:
                await asyncio.sleep(0.05)
        return "done"

    assert asyncio.run(hold.during(work())) == "done"
    job = hold.jobs.get(hold.job.id)
    assert (job.progress, job.detail) == (0.25, {"stage": "annotate", "frames": 10, "expected": 40})


def test_the_work_of_a_cancelled_job_is_cancelled(hold: Hold) -> None:
    async def work() -> None:
        hold.jobs.cancel(hold.job.id)
        await asyncio.sleep(60)

    with pytest.raises(LeaseLostError):
        asyncio.run(asyncio.wait_for(hold.during(work()), 5))


def test_what_the_work_raises_comes_out(hold: Hold) -> None:
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(hold.during(work()))
