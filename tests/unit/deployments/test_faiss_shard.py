"""The deployment around shards, over a real catalog in this process."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayTaskError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own use of pydantic
    from deployments import faiss_shard
    from deployments.faiss_shard import FaissShard, ShardRecipe
from serve_app.catalog import Catalog, NewContent
from serve_app.retrieval.hits import Query

DIM = 8
VECTORS = np.eye(DIM, dtype=np.float32)


class Metric:
    """Stands where Ray's gauge would."""

    def __init__(self, *_: object) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def set(self, value: float, tags: Mapping[str, str]) -> None:
        self.values[tuple(tags.values())] = value


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'catalog.db'}"


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    made = Catalog.open(url)
    yield made
    made.close()


@pytest.fixture
def replica(url: str, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(faiss_shard, "Gauge", Metric)
    monkeypatch.setattr(faiss_shard, "get_gpu_ids", list)
    monkeypatch.setattr(faiss_shard, "PAUSE_S", 0.01)
    put(catalog, 0, "clip@1")
    recipe = ShardRecipe(url, "clip@1", DIM, home=str(tmp_path))
    made = FaissShard.func_or_class(recipe)  # type: ignore[attr-defined]  # Serve's decorator says it stays the class
    yield made
    made.ended.set()
    made.background.join()


def put(catalog: Catalog, number: int, revision: str) -> None:
    content = NewContent(f"a{number}", "anna", "image", "image/png", f"{number:064x}", 1, f"f/{number}")
    catalog.contents.add(content, VECTORS[number], revision)


async def ask(replica: Any, revision: str, number: int, head: int) -> list[float]:
    (hits,) = await replica.search([Query(VECTORS[number], 9, revision, ("image",), head)])
    if isinstance(hits, Exception):
        raise hits
    scores: list[float] = hits["image"].scores.tolist()
    return scores


def test_what_was_acknowledged_is_found(replica: Any, catalog: Catalog) -> None:
    async def go() -> list[float]:
        put(catalog, 1, "clip@1")
        return await ask(replica, "clip@1", 1, catalog.vectors.head())

    assert asyncio.run(go()) == [1.0, 0.0]


def test_a_revision_that_is_asked_for_is_loaded_before_the_answer(replica: Any, catalog: Catalog) -> None:
    put(catalog, 2, "clip@2")

    async def go() -> tuple[list[list[float]], dict[str, Any]]:
        answers = await asyncio.gather(*(ask(replica, "clip@2", 2, catalog.vectors.head()) for _ in range(5)))
        await replica.release("clip@2")
        return answers, await replica.status()

    answers, status = asyncio.run(go())
    assert answers == [[1.0]] * 5
    assert set(status["revisions"]) == {"clip@1"}


def test_a_revision_is_prepared_in_the_background(replica: Any) -> None:
    async def go() -> dict[str, Any]:
        while not await replica.prepare("clip@2", DIM):
            await asyncio.sleep(0.01)
        status: dict[str, Any] = await replica.status()
        return status

    assert asyncio.run(go())["revisions"]["clip@2"]["image"]["vectors"] == 0


def test_one_that_cannot_be_loaded_is_not_ready_and_tried_again(replica: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[object, ...]] = []

    def fail(*given: object) -> None:
        opened.append(given)
        raise OSError("no catalog")

    monkeypatch.setattr(replica.holder, "open", fail)

    async def go() -> None:
        assert not await replica.prepare("clip@2", DIM)
        with pytest.raises(RayTaskError, match="no catalog"):
            await ask(replica, "clip@2", 1, 0)

    asyncio.run(go())
    assert len(opened) == 2


def test_the_background_goes_on_after_a_failure(replica: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> bool:
        monkeypatch.setattr(replica.holder, "chore", lambda idle: 1 / 0)
        await asyncio.sleep(0.1)
        alive: bool = replica.background.is_alive()
        return alive

    assert asyncio.run(go())
