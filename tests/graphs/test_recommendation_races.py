"""Nothing whose deletion was acknowledged is ever recommended, however adding, deleting and asking meet."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve_app.wire import recommendation_schemas as schemas
from tests.graphs.world import DIM, World

OWNERS = ("anna", "ben", "cleo")
MODES = ("report", "all-clusters")


class Shelf:
    """What is there for certain, and what is gone for certain."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = np.random.default_rng(seed)
        self.alive: dict[str, str] = {}
        self.gone: set[str] = set()
        self.number = 0

    def add(self, owner: str, topic: int, modality: str = "text") -> None:
        self.number += 1
        name = f"t{self.number}"
        row = np.eye(DIM)[topic] + self.dice.normal(size=DIM) * 0.05
        self.world.post(owner, name, row, modality)
        self.alive[f"{owner}/{name}"] = owner

    def delete(self, place: int) -> None:
        if self.alive:
            name = sorted(self.alive)[place % len(self.alive)]
            del self.alive[name]
            self.world.catalog.assets.delete(name)
            self.gone.add(name)


def told(answer: schemas.Recommendations) -> set[str]:
    """Every id that an answer names."""
    lists = [getattr(getattr(answer, seed), result) for seed in ("text", "image") for result in ("text", "image")]
    named = {name for found in lists for name in found.contents}
    named |= {why.seed for found in lists for why in found.explanations}
    return named | {line.medoid for kind in ("text", "image") for line in getattr(answer.clusters, kind)}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.sampled_from(OWNERS), st.integers(0, 3), st.integers(1, 6)),
            st.tuples(st.just("delete"), st.integers(0, 1000), st.integers(1, 4)),
            st.tuples(st.just("pick"), st.sampled_from(OWNERS), st.integers(0, 1000)),
            st.tuples(st.just("renew")),
        ),
        max_size=25,
    ),
    st.integers(0, 1000),
)
def test_whatever_happened_before(tmp_path_factory: pytest.TempPathFactory, steps: list[Any], seed: int) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    shelf, graph = Shelf(world, seed), world.recommendation
    try:
        for what, *details in steps:
            if what == "add":
                for _ in range(details[2]):
                    shelf.add(details[0], details[1])
            elif what == "delete":
                for more in range(details[1]):
                    shelf.delete(details[0] + more)
            elif what == "pick" and shelf.alive:
                name = sorted(shelf.alive)[details[1] % len(shelf.alive)]
                asyncio.run(graph.put_interests(details[0], schemas.Interests(ids=[name])))
            elif what == "renew":
                graph.recommender.target.renew()
            for mode in MODES:
                answer = asyncio.run(graph.recommendations("anna", 5, 0.2, seed, mode))  # type: ignore[arg-type]
                assert not told(answer) & shelf.gone
                others = {name for name, owner in shelf.alive.items() if owner != "anna"}
                known = set(asyncio.run(graph.interests("anna")).ids)
                found = answer.text.text
                assert set(found.contents) <= others - known
                if "anna" in shelf.alive.values():
                    assert len(found.contents) == min(5, len(others - known))
        starters = asyncio.run(graph.starter(10)).items
        assert {item.id for item in starters} <= set(shelf.alive)
        assert len(starters) >= min(1, len(shelf.alive))
    finally:
        world.close()


@pytest.mark.parametrize("seed", range(3))
def test_side_by_side(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path, shards=2)
    shelf, graph = Shelf(world, seed), world.recommendation
    for number in range(60):
        shelf.add(OWNERS[number % 3], number % 4, ("text", "image")[number % 5 == 0])

    async def write(until: asyncio.Event) -> int:
        changes = 0
        while not until.is_set():
            if shelf.dice.random() < 0.5 and len(shelf.alive) > 20:
                await asyncio.to_thread(shelf.delete, int(shelf.dice.integers(1000)))
            else:
                await asyncio.to_thread(shelf.add, OWNERS[changes % 3], int(shelf.dice.integers(4)))
            changes += 1
        return changes

    async def read(number: int) -> int:
        seen = 0
        for turn in range(15):
            gone = set(shelf.gone)
            answer = await graph.recommendations(OWNERS[number % 3], 8, 0.2, turn, MODES[turn % 2])  # type: ignore[arg-type]
            assert not told(answer) & gone
            gone = set(shelf.gone)
            legacy = await graph.recommend("anna", 8)
            lists = [each for some in legacy.values() for each in some.values() if isinstance(each, dict)]
            assert not {name for each in lists for name in each["contents"]} & gone
            gone = set(shelf.gone)
            starters = await graph.starter(5)
            assert not {item.id for item in starters.items} & gone
            seen += len(told(answer))
        return seen

    async def everything() -> tuple[int, list[int]]:
        until = asyncio.Event()
        writing = asyncio.create_task(write(until))
        seen = await asyncio.gather(*(read(number) for number in range(3)))
        until.set()
        return await writing, seen

    try:
        changes, seen = asyncio.run(everything())
    finally:
        world.close()
    assert changes > 20
    assert shelf.gone
    assert min(seen) > 50
