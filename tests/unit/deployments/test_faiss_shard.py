import asyncio
import warnings

import numpy as np
import pytest

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

    def __init__(self, *_):
        self.values = {}

    def set(self, value, tags):
        self.values[tuple(tags.values())] = value


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'catalog.db'}"


@pytest.fixture
def catalog(url):
    made = Catalog.open(url)
    yield made
    made.close()


@pytest.fixture
def replica(url, catalog, tmp_path, monkeypatch):
    monkeypatch.setattr(faiss_shard, "Gauge", Metric)
    monkeypatch.setattr(faiss_shard, "get_gpu_ids", list)
    monkeypatch.setattr(faiss_shard, "PAUSE_S", 0.01)
    put(catalog, 0, "clip@1")
    made = FaissShard.func_or_class(ShardRecipe(url, "clip@1", DIM, home=str(tmp_path)))
    yield made
    made.ended.set()
    made.background.join()


def put(catalog, number, revision):
    content = NewContent(f"a{number}", "anna", "image", "image/png", f"{number:064x}", 1, f"f/{number}")
    catalog.contents.add(content, VECTORS[number], revision)


async def ask(replica, revision, number, head):
    hits = await replica.search(Query(VECTORS[number], 9, revision, ("image",), head))
    return hits["image"].scores.tolist()


def test_what_was_acknowledged_is_found(replica, catalog):
    async def go():
        put(catalog, 1, "clip@1")
        return await ask(replica, "clip@1", 1, catalog.vectors.head())

    assert asyncio.run(go()) == [1.0, 0.0]


def test_a_revision_that_is_asked_for_is_loaded_before_the_answer(replica, catalog):
    put(catalog, 2, "clip@2")

    async def go():
        answers = await asyncio.gather(*(ask(replica, "clip@2", 2, catalog.vectors.head()) for _ in range(5)))
        await replica.release("clip@2")
        return answers, await replica.status()

    answers, status = asyncio.run(go())
    assert answers == [[1.0]] * 5
    assert set(status["revisions"]) == {"clip@1"}


def test_a_revision_is_prepared_in_the_background(replica, catalog):
    async def go():
        while not await replica.prepare("clip@2", DIM):
            await asyncio.sleep(0.01)
        return await replica.status()

    assert asyncio.run(go())["revisions"]["clip@2"]["image"]["vectors"] == 0


def test_one_that_cannot_be_loaded_is_not_ready_and_tried_again(replica, monkeypatch):
    opened = []

    def fail(*given):
        opened.append(given)
        raise OSError("no catalog")

    monkeypatch.setattr(replica.holder, "open", fail)

    async def go():
        assert not await replica.prepare("clip@2", DIM)
        with pytest.raises(OSError, match="no catalog"):
            await ask(replica, "clip@2", 1, 0)

    asyncio.run(go())
    assert len(opened) == 2


def test_the_background_goes_on_after_a_failure(replica, monkeypatch):
    async def go():
        monkeypatch.setattr(replica.holder, "chore", lambda idle: 1 / 0)
        await asyncio.sleep(0.1)
        return replica.background.is_alive()

    assert asyncio.run(go())
