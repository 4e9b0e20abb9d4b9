"""Finding moments of videos and views of 3D assets: each asset once, at its best, over a real catalog and shards."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError

from serve_app.catalog import Key, Moment, NewAsset, Tag
from serve_app.retrieval.hits import MODALITIES
from serve_app.wire import schemas
from tests.graphs.world import DIM, World, png, unit


@pytest.fixture(params=["video", "shape3d"])
def modality(request: pytest.FixtureRequest) -> Any:
    """Every test is told of moments of videos and of views of 3D assets."""
    return request.param


def film(world: World, modality: Any, name: str, cosines: Sequence[float], **more: str) -> None:
    """An asset of a part a cosine to the first axis; without ``data`` its file is its own."""
    stored(world, modality, name, [cosine(value) for value in cosines], **more)


def stored(
    world: World, modality: Any, name: str, vectors: Sequence[Any], owner: str = "anna", data: str | None = None
) -> None:  # fmt: skip
    digest = hashlib.sha256((data or f"{owner} {name}").encode()).hexdigest()
    world.catalog.assets.add(NewAsset(owner, modality, "a/b", digest, 9, f"aa/{name}/original", id=name))
    if modality == "video":
        moments = [Moment(2 * part, 2 * part + 2, 50 * part, 50 * part + 50) for part in range(len(vectors))]
        contents = world.catalog.contents.put_moments(name, moments)
    else:
        contents = world.catalog.contents.put_views(name, [f"{45 * part}" for part in range(len(vectors))])
    keys = [Key(owner, modality, content.sha256) for content in contents]
    pairs = list(zip(keys, map(unit, vectors), strict=True))
    assert None not in world.catalog.vectors.put_many(pairs, world.places.revision)


def cosine(value: float) -> list[float]:
    return [value, math.sqrt(1 - value * value)]


def search(world: World, **options: Any) -> schemas.SearchResult:
    world.choose("query", [1])
    return asyncio.run(world.retrieval.search_text(schemas.TextQuery(text="query", **options)))


def found(world: World, modality: str, **options: Any) -> list[tuple[str, float, int]]:
    """Ids, scores and best parts of the assets found."""
    answer = search(world, **options)
    if modality == "video":
        assert answer.video is not None
        ranking: schemas.Ranking = answer.video
        assert {moment.end_s - moment.start_s for moment in answer.video.moments} <= {2.0}
        parts = [int(moment.start_s) // 2 for moment in answer.video.moments]
    else:
        assert answer.shape3d is not None
        ranking, parts = answer.shape3d, answer.shape3d.views
    return list(zip(ranking.contents, [round(score, 5) for score in ranking.scores], parts, strict=True))


def test_an_asset_stands_once_at_its_best_part(two_shards: World, modality: Any) -> None:
    film(two_shards, modality, "a", [0.1, 0.9, 0.8, 0.7])
    film(two_shards, modality, "b", [0.85, 0.2])
    film(two_shards, modality, "c", [-0.3])
    assert found(two_shards, modality) == [("a", 0.9, 1), ("b", 0.85, 0), ("c", -0.3, 0)]
    two_shards.post("anna", "words", cosine(0.5))
    answer = search(two_shards, k=2)
    assert answer.text is not None
    assert answer.text.contents == ["anna/words"]
    assert answer.image is not None
    assert answer.image.contents == []
    neither = search(two_shards, modalities=["text", "image"])
    assert (neither.video, neither.shape3d) == (None, None)
    only = search(two_shards, modalities=[modality])
    assert (only.text, only.image, only.partial) == (None, None, False)
    assert [name for name, given in only if given is not None and name in MODALITIES] == [modality]


def test_videos_and_shapes_are_found_side_by_side(two_shards: World) -> None:
    film(two_shards, "video", "film", [0.1, 0.6])
    film(two_shards, "shape3d", "cow", [0.2, 0.7, 0.8])
    film(two_shards, "shape3d", "mug", [0.3])
    answer = search(two_shards, k=2)
    assert answer.video is not None
    assert answer.video.contents == ["film"]
    assert answer.video.scores == pytest.approx([0.6])
    assert answer.video.moments == [schemas.Moment(start_s=2, end_s=4)]
    assert answer.shape3d is not None
    assert (answer.shape3d.contents, answer.shape3d.views) == (["cow", "mug"], [2, 0])
    assert answer.shape3d.scores == pytest.approx([0.8, 0.3])


def test_a_picture_finds_parts(world: World) -> None:
    film(world, "video", "a", [0.1, 0.9])
    film(world, "shape3d", "b", [0.1, 0.2, 0.9])
    red = png(200, 0, 0)
    world.choose(red, [1])
    answer = asyncio.run(world.retrieval.search_image(red, schemas.TextQuery(text="")))
    assert answer.video is not None
    assert (answer.video.contents, answer.video.moments) == (["a"], [schemas.Moment(start_s=2, end_s=4)])
    assert answer.shape3d is not None
    assert (answer.shape3d.contents, answer.shape3d.views) == (["b"], [2])


@pytest.mark.parametrize(("k", "searches"), [(1, 1), (2, 4), (3, 4), (30, 2)])
def test_an_asset_of_many_near_parts_hides_no_other(two_shards: World, modality: Any, k: int, searches: int) -> None:
    """100 parts of one asset are nearer than any other: hits are asked for until the others come."""
    film(two_shards, modality, "long", list(np.linspace(0.99, 0.9, 100)))
    film(two_shards, modality, "b", [0.5, 0.6])
    film(two_shards, modality, "c", [0.4])
    before = len(two_shards.shards[0].calls)
    assert found(two_shards, modality, k=k) == [("long", 0.99, 0), ("b", 0.6, 1), ("c", 0.4, 0)][:k]
    assert len(two_shards.shards[0].calls) - before == searches, "each time four times as many"
    assert len(found(two_shards, modality, k=10_000)) == 3


@pytest.mark.parametrize("seed", range(4))
def test_the_answer_is_that_of_brute_force(two_shards: World, modality: Any, seed: int) -> None:
    dice = np.random.default_rng(seed)
    films: dict[str, tuple[str, Any]] = {}
    for number in range(12):
        vectors = dice.normal(size=(int(dice.choice([1, 2, 5, 30])), DIM))
        films[f"f{number}"] = (f"user{number % 3}", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        stored(two_shards, modality, f"f{number}", films[f"f{number}"][1], films[f"f{number}"][0])
    other = "video" if modality == "shape3d" else "shape3d"
    stored(two_shards, other, "other", np.eye(1, DIM), "user0")
    tagged = {f"f{number}" for number in dice.choice(12, 5, replace=False)}
    for name in tagged:
        two_shards.catalog.annotations.put(name, "object_detection", {}, [Tag("object", "dog", 0.9)])

    def expected(k: int, username: str | None, least: float, among: set[str]) -> list[tuple[str, float, int]]:
        rows = [
            (name, round(float(vectors[:, 0].max()), 5), int(vectors[:, 0].argmax()))
            for name, (owner, vectors) in films.items()
            if owner != username and name in among and vectors[:, 0].max() >= least
        ]
        return sorted(rows, key=lambda row: -row[1])[:k]

    for k in (1, 4, 40):
        assert found(two_shards, modality, k=k) == same(expected(k, None, -1, set(films)))
        assert found(two_shards, modality, k=k, username="user1") == same(expected(k, "user1", -1, set(films)))
        assert found(two_shards, modality, k=k, min_score=0.3) == same(expected(k, None, 0.3, set(films)))
        assert found(two_shards, modality, k=k, filter="object:dog") == same(expected(k, None, -1, tagged))
        both = expected(k, "user0", -0.1, tagged)
        assert found(two_shards, modality, k=k, filter="object:dog", username="user0", min_score=-0.1) == same(both)


def same(rows: list[tuple[str, float, int]]) -> Any:
    return [(name, pytest.approx(score, abs=2e-5), part) for name, score, part in rows]


def test_equal_files_of_a_user_answer_with_the_one_added_last(world: World, modality: Any) -> None:
    for name in ("old", "new"):
        digest = hashlib.sha256(b"same").hexdigest()
        world.catalog.assets.add(NewAsset("anna", modality, "a/b", digest, 9, f"aa/{name}/original", id=name))
    for name in ("new", "old"):  # the older one is annotated last
        film(world, modality, name, [0.2, 0.9], data="same")
    assert found(world, modality) == [("new", 0.9, 1)]
    film(world, modality, "ben's", [0.2, 0.9], owner="ben", data="same")
    assert sorted(name for name, _, _ in found(world, modality)) == ["ben's", "new"]
    assert [name for name, _, _ in found(world, modality, username="ben")] == ["new"]
    world.catalog.annotations.put("old", "object_detection", {}, [Tag("object", "dog", 0.9)])
    assert found(world, modality, filter="object:dog") == [("old", 0.9, 1)]
    assert found(world, modality, filter="kind:image") == []
    world.catalog.assets.delete("new")
    assert sorted(name for name, _, _ in found(world, modality)) == ["ben's", "old"]


def test_auto_drops_no_video_and_of_shapes_what_it_drops_of_pictures(world: World) -> None:
    for modality in ("video", "shape3d"):
        film(world, modality, f"far {modality}", [-0.9])
        film(world, modality, f"near {modality}", [0.1, 0.25])
        assert found(world, modality, min_score=0.3) == []
    assert found(world, "video", min_score="auto") == [("near video", 0.25, 1), ("far video", -0.9, 0)]
    assert found(world, "shape3d", min_score="auto") == [("near shape3d", 0.25, 1)]


def test_what_was_deleted_while_shards_searched_makes_room(world: World, modality: Any) -> None:
    film(world, modality, "gone", [0.9] * 5)
    film(world, modality, "kept", [0.5])
    searcher = world.shards[0].target

    class Deleting:
        async def search(self, queries: Any) -> Any:
            hits = await searcher.search(queries)
            if "gone" in [asset.id for asset in world.catalog.assets.page().items]:
                world.catalog.assets.delete("gone")
            return hits

    world.shards[0].target = Deleting()
    assert found(world, modality, k=1) == [("kept", 0.5, 0)]


def test_a_shard_that_fails_at_the_second_asking_makes_the_answer_partial(two_shards: World, modality: Any) -> None:
    film(two_shards, modality, "long", list(np.linspace(0.99, 0.9, 40)))
    film(two_shards, modality, "b", [0.5])
    searcher = two_shards.shards[0].target

    class Tired:
        asked = 0

        async def search(self, queries: Any) -> Any:
            self.asked += 1
            if self.asked > 1:
                raise ActorDiedError()
            return await searcher.search(queries)

    two_shards.shards[0].target = Tired()
    answer = search(two_shards, k=2)
    assert answer.partial
    ranking = getattr(answer, modality)
    assert "long" in ranking.contents
    two_shards.shards[0].target = searcher
    assert not search(two_shards, k=2).partial


def test_existing_nodes_are_told_of_texts_and_pictures_alone(world: World, modality: Any) -> None:
    film(world, modality, "a", [0.9])
    world.choose("query", [1])
    answer = asyncio.run(world.retrieval.retrieve("text", "ben", 5, b"query"))
    sentence = "No contents available other than ben ones"
    assert answer == {"text": sentence, "image": sentence}
    (query,) = world.shards[0].calls[-1][1]
    assert query.modalities == ("text", "image")
