"""Adding and finding over a real catalog and real shards."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import math
import pickle
import pkgutil
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError

import graphs
from graphs import embedding
from graphs.recipe import Recipe
from serve_app.catalog import Served, Tag
from serve_app.errors import Problem
from serve_app.wire import schemas
from tests.graphs.world import DIM, REVISION, World, png

NOBODY = "No contents available other than {} ones"


def add(world: World, id: str, user: str, data: str | bytes, type: str = "text") -> None:
    asyncio.run(world.retrieval.add_content(id, type, user, data.encode() if isinstance(data, str) else data))


def retrieve(world: World, user: str, text: str, k: int = 10) -> dict[str, Any]:
    return asyncio.run(world.retrieval.retrieve("text", user, k, text.encode()))


def search(world: World, text: str, **options: Any) -> schemas.SearchResult:
    return asyncio.run(world.retrieval.search_text(schemas.TextQuery(text=text, **options)))


def found(world: World, text: str, modality: str = "text", **options: Any) -> list[str]:
    ranking = getattr(search(world, text, **options), modality)
    return list(ranking.contents)


def cosine(value: float) -> list[float]:
    """A vector at this cosine to the first axis."""
    return [value, math.sqrt(1 - value * value)]


def refused(code: str, act: Any, *args: Any, **options: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        act(*args, **options)
    assert caught.value.code == code
    return caught.value


@pytest.mark.parametrize("kind", ["world", "two_shards"])
def test_what_was_added_is_found_at_once(request: pytest.FixtureRequest, kind: str) -> None:
    world: World = request.getfixturevalue(kind)
    for number in range(12):
        add(world, f"t{number}", "anna", f"text {number}")
        assert retrieve(world, "ben", f"text {number}", 1)["text"] == {
            "contents": [f"t{number}"], "scores": [pytest.approx(1, abs=1e-6)],
        }  # fmt: skip
    assert len(set(found(world, "text 3", k=100))) == 12
    assert sorted(len(shard.target.open(REVISION, DIM).indexes["text"]) for shard in world.shards)[0] >= (
        12 if kind == "world" else 1
    )


def test_the_modalities_are_apart(world: World) -> None:
    red, green = png(200, 0, 0), png(0, 200, 0)
    world.choose("red", [1, 0])
    world.choose(red, [1, 1])
    world.choose(green, [-1, 1])
    add(world, "p1", "anna", green, "image")
    add(world, "p2", "anna", red, "image")
    add(world, "t1", "anna", "red")
    answer = retrieve(world, "ben", "red")
    assert answer["text"]["contents"] == ["t1"]
    assert answer["image"]["contents"] == ["p2", "p1"]
    assert answer["image"]["scores"] == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)], abs=1e-6)
    by_picture = asyncio.run(world.retrieval.search_image(red, schemas.TextQuery(text="", modalities=["text"])))
    assert by_picture.image is None
    assert by_picture.text is not None
    assert by_picture.text.contents == ["t1"]


def test_a_user_does_not_find_what_is_their_own(world: World) -> None:
    add(world, "a", "anna", "one")
    assert retrieve(world, "anna", "one") == {"text": NOBODY.format("anna"), "image": NOBODY.format("anna")}
    add(world, "b", "ben", "two")
    assert retrieve(world, "anna", "one")["text"]["contents"] == ["b"]
    assert found(world, "one", username="anna") == ["b"]
    assert sorted(found(world, "one")) == ["a", "b"]


@pytest.mark.parametrize(("k", "expected"), [(1, 1), (4, 4), (9, 9), (10, 9), (10_000, 9)])
def test_exactly_as_many_as_there_are_best_first(two_shards: World, k: int, expected: int) -> None:
    values = [0.9, -0.5, 0.3, 0.1, -0.9, 0.7, 0.5, -0.1, -0.3]
    two_shards.choose("query", [1])
    for number, value in enumerate(values):
        two_shards.post("anna", str(number), cosine(value))
    answer = search(two_shards, "query", k=k)
    assert answer.text is not None
    best = sorted(values, reverse=True)[:expected]
    assert answer.text.scores == pytest.approx(best, abs=1e-6)
    assert answer.text.contents == [f"anna/{values.index(value)}" for value in best]
    assert not answer.partial


def test_the_latest_id_of_a_content_is_given(world: World) -> None:
    for id in ("a1", "a2", "a1"):
        add(world, id, "anna", "same words")
        assert found(world, "same words") == [id]
    assert world.catalog.vectors.count(world.places.revision, "text") == 1
    add(world, "b1", "ben", "same words")
    assert sorted(found(world, "same words")) == ["a1", "b1"]


def test_a_filter_looks_at_every_asset_that_shares_a_content(world: World) -> None:
    for id in ("old", "new"):
        add(world, id, "anna", "same words")
    add(world, "other", "anna", "other words")
    world.catalog.annotations.put("old", "object_detection", {}, [Tag("object", "dog", 0.9)])
    assert found(world, "same words")[0] == "new"
    assert found(world, "same words", filter="object:dog") == ["old"]
    assert found(world, "same words", filter="-object:dog") == ["new", "other"]
    assert found(world, "same words", filter="object:dog>0.95") == []
    assert found(world, "same words", filter="owner:ben") == []
    refused("bad_request", search, world, "same words", filter="object:")


def test_a_filter_and_k_count_what_fits_only(two_shards: World) -> None:
    two_shards.choose("query", [1])
    for number in range(30):
        two_shards.post("anna", str(number), cosine(1 - number / 20))
        if number % 3 == 2:
            two_shards.catalog.annotations.put(f"anna/{number}", "object_detection", {}, [Tag("object", "dog", 0.9)])
    assert found(two_shards, "query", k=4, filter="object:dog") == ["anna/2", "anna/5", "anna/8", "anna/11"]


def test_a_least_score_drops_what_is_below(world: World) -> None:
    world.choose("query", [1])
    for value in (0.7, 0.59, 0.25, 0.2, -0.4):
        world.post("anna", f"t{value}", cosine(value))
        world.post("anna", f"p{value}", cosine(value), "image")
    everything = ["anna/t0.7", "anna/t0.59", "anna/t0.25", "anna/t0.2", "anna/t-0.4"]
    assert found(world, "query") == everything
    assert found(world, "query", min_score=0.22) == everything[:3]
    assert found(world, "query", min_score=0.9) == []
    assert found(world, "query", min_score=-1) == everything
    # The report's figures, section 3.6: text to text .60, text to image .24.
    assert found(world, "query", min_score="auto") == everything[:1]
    assert found(world, "query", "image", min_score="auto") == ["anna/p0.7", "anna/p0.59", "anna/p0.25"]


def test_auto_drops_nothing_for_a_model_without_figures(tmp_path: Path) -> None:
    world = World(tmp_path, thresholds={})
    world.choose("query", [1])
    world.post("anna", "far", cosine(-0.9))
    assert found(world, "query", min_score="auto") == ["anna/far"]
    world.close()


def test_a_cut_text_is_said_to_be_cut(world: World) -> None:
    world.encoder.target.limit = 5
    assert search(world, "longer than that").truncated
    assert not search(world, "short").truncated


def spread(world: World) -> dict[int, set[str]]:
    """Ten texts, and which shard holds which."""
    for number in range(10):
        world.post("anna", str(number), cosine(number / 10))
    search(world, "wake up")
    where: dict[int, set[str]] = {}
    for i, shard in enumerate(world.shards):
        index = shard.target.open(REVISION, DIM).indexes["text"]
        where[i] = set(world.catalog.vectors.latest_ids(index.vids[index.alive]).values())
    assert all(where.values()), "each shard holds some"
    return where


@pytest.mark.parametrize("dead", [0, 1])
def test_a_shard_that_fails_makes_the_answer_partial(two_shards: World, dead: int) -> None:
    where = spread(two_shards)
    two_shards.shards[dead].fault = ActorDiedError()
    answer = search(two_shards, "query")
    assert answer.partial
    assert answer.text is not None
    assert set(answer.text.contents) == where[1 - dead]
    assert answer.text.scores == sorted(answer.text.scores, reverse=True)
    two_shards.shards[dead].fault = None
    whole = search(two_shards, "query")
    assert not whole.partial
    assert whole.text is not None
    assert set(whole.text.contents) == where[0] | where[1]


def test_a_shard_that_is_slow_makes_the_answer_partial(two_shards: World) -> None:
    where = spread(two_shards)
    two_shards.retrieval = replace(two_shards.retrieval, deadline_s=0.2)

    class Stuck:
        async def search(self, queries: Any) -> Any:
            await asyncio.sleep(60)

    two_shards.shards[0].target = Stuck()
    answer = search(two_shards, "query")
    assert answer.partial
    assert answer.text is not None
    assert set(answer.text.contents) == where[1]


def test_without_any_shard_there_is_no_answer(two_shards: World) -> None:
    spread(two_shards)
    for shard in two_shards.shards:
        shard.fault = ActorDiedError()
    refused("overloaded", search, two_shards, "query")
    with pytest.raises(Problem):
        retrieve(two_shards, "ben", "query")


def test_shards_that_are_all_slow_are_an_error_and_no_empty_answer(two_shards: World) -> None:
    spread(two_shards)
    two_shards.retrieval = replace(two_shards.retrieval, deadline_s=0.05)

    class Stuck:
        async def search(self, queries: Any) -> Any:
            await asyncio.sleep(60)

    for shard in two_shards.shards:
        shard.target = Stuck()
    refused("deadline", search, two_shards, "query")


def test_a_shard_that_is_not_loaded_yet_counts_as_missing(two_shards: World) -> None:
    where = spread(two_shards)
    two_shards.shards[1].fault = Problem("overloaded", "the shard is being loaded")
    answer = search(two_shards, "query")
    assert answer.partial
    assert answer.text is not None
    assert set(answer.text.contents) == where[0]
    two_shards.shards[0].fault = Problem("overloaded", "the shard is being loaded")
    refused("overloaded", search, two_shards, "query")


def test_what_was_deleted_while_shards_searched_is_left_out(world: World) -> None:
    add(world, "kept", "anna", "one")
    add(world, "gone", "anna", "two")
    searcher = world.shards[0].target

    class Deleting:
        async def search(self, queries: Any) -> Any:
            hits = await searcher.search(queries)
            world.catalog.assets.delete("gone")
            return hits

    world.shards[0].target = Deleting()
    assert found(world, "one") == ["kept"]


def test_an_id_of_somebody_else_is_a_conflict_and_leaves_nothing(world: World) -> None:
    add(world, "x", "anna", "one")
    before = world.files()
    assert len(before) == 1
    refused("conflict", add, world, "x", "ben", "two")
    assert world.files() == before
    assert found(world, "two") == ["x"]
    assert world.catalog.vectors.count(world.places.revision, "text") == 1


def test_a_replaced_content_takes_its_file_and_vector_along(world: World) -> None:
    add(world, "x", "anna", "one")
    add(world, "x", "anna", "two")
    (file,) = world.files()
    assert file.read_bytes() == b"two"
    answer = search(world, "two")
    assert answer.text is not None
    assert answer.text.contents == ["x"]
    assert answer.text.scores == [pytest.approx(1, abs=1e-6)]
    add(world, "x", "anna", "two")
    assert [file.read_bytes() for file in world.files()] == [b"two"], "the same again keeps one file"


@pytest.mark.parametrize(
    ("id", "user", "type", "data", "code"),
    [
        ("a\0b", "anna", "text", b"one", "bad_request"),
        ("", "anna", "text", b"one", "bad_request"),
        ("x" * 600, "anna", "text", b"one", "bad_request"),
        ("x", "", "text", b"one", "bad_request"),
        ("x", "anna", "text", b"\xff\xfe", "bad_request"),
        ("x", "anna", "image", b"no picture", "unsupported_media"),
        ("x", "anna", "image", b"", "undecodable_media"),
    ],
)
def test_what_cannot_be_added_leaves_nothing(
    world: World, id: str, user: str, type: str, data: bytes, code: str
) -> None:
    refused(code, add, world, id, user, data, type)
    assert world.files() == []
    assert world.catalog.vectors.head() == 0


def test_a_vector_that_is_no_number_leaves_no_file(world: World) -> None:
    world.encoder.target.chosen["one"] = np.full(DIM, np.nan, np.float32)
    with pytest.raises(ValueError, match="finite"):
        add(world, "x", "anna", "one")
    assert world.files() == []


def test_any_id_and_any_writing(world: World) -> None:
    add(world, "a/b ?#%2F/\u00e9\U0001f600", "mario & luigi", "\ufeffciao \U0001f600")
    assert found(world, "ciao \U0001f600") == ["a/b ?#%2F/\u00e9\U0001f600"]


def test_a_picture_that_is_none_is_not_searched_for(world: World) -> None:
    with pytest.raises(Problem):
        asyncio.run(world.retrieval.search_image(b"hello", schemas.TextQuery(text="")))
    with pytest.raises(Problem):
        asyncio.run(world.retrieval.retrieve("image", "anna", 3, b"hello"))
    assert world.encoder.calls == []


def test_a_recipe_travels_without_what_was_opened(world: World) -> None:
    add(world, "x", "anna", "one")
    copy = pickle.loads(pickle.dumps(world.places))
    assert copy == world.places
    assert copy.catalog.assets.get("x").owner == "anna"
    assert copy.catalog is not world.places.catalog
    copy.catalog.close()


def test_what_keeps_something_travels_without_it() -> None:
    """Serve pickles a replica's arguments once it runs: a queue with its tasks in one of them kept it from starting."""
    keepers = set()
    for module in pkgutil.iter_modules(graphs.__path__, "graphs."):
        for name, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if any(isinstance(value, cached_property) for value in vars(found).values()):
                assert issubclass(found, Recipe), f"{module.name}.{name}"
                keepers.add(name)
    assert {"Places", "Embedding", "QuickWork", "Shards"} <= keepers


def test_the_vectors_of_the_last_queries_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "KEPT", 2)
    monkeypatch.setattr(embedding, "KEPT_CHARACTERS", 5)

    def encoded(*texts: str) -> list[str]:
        world.encoder.calls.clear()
        for text in texts:
            assert found(world, text) == ["t"]
        return [text for _, batch, *_ in world.encoder.calls for text in batch]

    add(world, "t", "anna", "added")
    assert encoded("added") == ["added"], "what was stored is no query"
    assert encoded("added", "dog", "added", "cat", "added") == ["dog", "cat"], "what was asked longest ago goes"
    assert encoded("cat", "dog") == ["dog"]
    assert encoded("longer", "longer") == ["longer", "longer"]
    other = Served("cross_modal_embedding", "other", "other@1", DIM)
    asyncio.run(world.retrieval.embedding.embed_query(other, "longer"))
    asyncio.run(world.retrieval.embedding.embed_query(other, "cat"))
    assert [call[1:] for call in world.encoder.calls[-1:]] == [(["cat"], "other")], "another model's is another"
