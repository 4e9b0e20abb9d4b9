"""Finding moments of videos: each video once, at its best moment, over a real catalog and real shards."""

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
from serve_app.wire import schemas
from tests.graphs.world import DIM, World, png, unit


def film(world: World, name: str, cosines: Sequence[float], owner: str = "anna", data: str | None = None) -> None:
    """A video of one moment of 2 s a cosine to the first axis; without ``data`` its file is its own."""
    stored(world, name, [cosine(value) for value in cosines], owner, data)


def stored(world: World, name: str, vectors: Sequence[Any], owner: str, data: str | None = None) -> None:
    digest = hashlib.sha256((data or f"{owner} {name}").encode()).hexdigest()
    world.catalog.assets.add(NewAsset(owner, "video", "video/mp4", digest, 9, f"aa/{name}/original", id=name))
    moments = [Moment(2 * part, 2 * part + 2, 50 * part, 50 * part + 50) for part in range(len(vectors))]
    contents = world.catalog.contents.put_moments(name, moments)
    keys = [Key(owner, "video", content.sha256) for content in contents]
    pairs = list(zip(keys, map(unit, vectors), strict=True))
    assert None not in world.catalog.vectors.put_many(pairs, world.places.revision)


def cosine(value: float) -> list[float]:
    return [value, math.sqrt(1 - value * value)]


def search(world: World, **options: Any) -> schemas.SearchResult:
    world.choose("query", [1])
    return asyncio.run(world.retrieval.search_text(schemas.TextQuery(text="query", **options)))


def videos(world: World, **options: Any) -> list[tuple[str, float, float]]:
    """Ids, scores and starts of the videos found."""
    ranking = search(world, **options).video
    assert ranking is not None
    assert {moment.end_s - moment.start_s for moment in ranking.moments} <= {2.0}
    starts = [moment.start_s for moment in ranking.moments]
    return list(zip(ranking.contents, [round(score, 5) for score in ranking.scores], starts, strict=True))


def test_a_video_stands_once_at_its_best_moment(two_shards: World) -> None:
    film(two_shards, "a", [0.1, 0.9, 0.8, 0.7])
    film(two_shards, "b", [0.85, 0.2])
    film(two_shards, "c", [-0.3])
    assert videos(two_shards) == [("a", 0.9, 2.0), ("b", 0.85, 0.0), ("c", -0.3, 0.0)]
    two_shards.post("anna", "words", cosine(0.5))
    answer = search(two_shards, k=2)
    assert answer.text is not None
    assert answer.text.contents == ["anna/words"]
    assert answer.image is not None
    assert answer.image.contents == []
    assert search(two_shards, modalities=["text", "image"]).video is None
    only = search(two_shards, modalities=["video"])
    assert (only.text, only.image, only.partial) == (None, None, False)


def test_a_picture_finds_moments(world: World) -> None:
    film(world, "a", [0.1, 0.9])
    red = png(200, 0, 0)
    world.choose(red, [1])
    answer = asyncio.run(world.retrieval.search_image(red, schemas.TextQuery(text="")))
    assert answer.video is not None
    assert (answer.video.contents, answer.video.moments) == (["a"], [schemas.Moment(start_s=2, end_s=4)])


@pytest.mark.parametrize(("k", "searches"), [(1, 1), (2, 4), (3, 4), (30, 2)])
def test_a_video_of_many_near_moments_hides_no_other(two_shards: World, k: int, searches: int) -> None:
    """100 moments of one video are nearer than any other: hits are asked for until the others come."""
    film(two_shards, "long", list(np.linspace(0.99, 0.9, 100)))
    film(two_shards, "b", [0.5, 0.6])
    film(two_shards, "c", [0.4])
    before = len(two_shards.shards[0].calls)
    assert videos(two_shards, k=k) == [("long", 0.99, 0.0), ("b", 0.6, 2.0), ("c", 0.4, 0.0)][:k]
    assert len(two_shards.shards[0].calls) - before == searches, "each time four times as many"
    assert len(videos(two_shards, k=10_000)) == 3


@pytest.mark.parametrize("seed", range(4))
def test_the_answer_is_that_of_brute_force(two_shards: World, seed: int) -> None:
    dice = np.random.default_rng(seed)
    films: dict[str, tuple[str, Any]] = {}
    for number in range(12):
        vectors = dice.normal(size=(int(dice.choice([1, 2, 5, 30])), DIM))
        films[f"f{number}"] = (f"user{number % 3}", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        stored(two_shards, f"f{number}", films[f"f{number}"][1], films[f"f{number}"][0])
    tagged = {f"f{number}" for number in dice.choice(12, 5, replace=False)}
    for name in tagged:
        two_shards.catalog.annotations.put(name, "object_detection", {}, [Tag("object", "dog", 0.9)])

    def expected(k: int, username: str | None, least: float, among: set[str]) -> list[tuple[str, float, float]]:
        rows = [
            (name, round(float(vectors[:, 0].max()), 5), 2.0 * int(vectors[:, 0].argmax()))
            for name, (owner, vectors) in films.items()
            if owner != username and name in among and vectors[:, 0].max() >= least
        ]
        return sorted(rows, key=lambda row: -row[1])[:k]

    for k in (1, 4, 40):
        assert videos(two_shards, k=k) == same(expected(k, None, -1, set(films)))
        assert videos(two_shards, k=k, username="user1") == same(expected(k, "user1", -1, set(films)))
        assert videos(two_shards, k=k, min_score=0.3) == same(expected(k, None, 0.3, set(films)))
        assert videos(two_shards, k=k, filter="object:dog") == same(expected(k, None, -1, tagged))
        both = expected(k, "user0", -0.1, tagged)
        assert videos(two_shards, k=k, filter="object:dog", username="user0", min_score=-0.1) == same(both)


def same(rows: list[tuple[str, float, float]]) -> Any:
    return [(name, pytest.approx(score, abs=2e-5), start) for name, score, start in rows]


def test_equal_files_of_a_user_answer_with_the_one_added_last(world: World) -> None:
    for name in ("old", "new"):
        digest = hashlib.sha256(b"same").hexdigest()
        world.catalog.assets.add(NewAsset("anna", "video", "video/mp4", digest, 9, f"aa/{name}/original", id=name))
    for name in ("new", "old"):  # the older one is annotated last
        film(world, name, [0.2, 0.9], data="same")
    assert videos(world) == [("new", 0.9, 2.0)]
    film(world, "ben's", [0.2, 0.9], "ben", data="same")
    assert sorted(name for name, _, _ in videos(world)) == ["ben's", "new"]
    assert [name for name, _, _ in videos(world, username="ben")] == ["new"]
    world.catalog.annotations.put("old", "object_detection", {}, [Tag("object", "dog", 0.9)])
    assert videos(world, filter="object:dog") == [("old", 0.9, 2.0)]
    assert videos(world, filter="kind:image") == []
    world.catalog.assets.delete("new")
    assert sorted(name for name, _, _ in videos(world)) == ["ben's", "old"]


def test_auto_drops_no_video(world: World) -> None:
    film(world, "far", [-0.9])
    assert videos(world, min_score="auto") == [("far", -0.9, 0.0)]
    assert videos(world, min_score=-0.5) == []


def test_what_was_deleted_while_shards_searched_makes_room(world: World) -> None:
    film(world, "gone", [0.9] * 5)
    film(world, "kept", [0.5])
    searcher = world.shards[0].target

    class Deleting:
        async def search(self, query: Any) -> Any:
            hits = await searcher.search(query)
            if "gone" in [asset.id for asset in world.catalog.assets.page().items]:
                world.catalog.assets.delete("gone")
            return hits

    world.shards[0].target = Deleting()
    assert videos(world, k=1) == [("kept", 0.5, 0.0)]


def test_a_shard_that_fails_at_the_second_asking_makes_the_answer_partial(two_shards: World) -> None:
    film(two_shards, "long", list(np.linspace(0.99, 0.9, 40)))
    film(two_shards, "b", [0.5])
    searcher = two_shards.shards[0].target

    class Tired:
        asked = 0

        async def search(self, query: Any) -> Any:
            self.asked += 1
            if self.asked > 1:
                raise ActorDiedError()
            return await searcher.search(query)

    two_shards.shards[0].target = Tired()
    answer = search(two_shards, k=2)
    assert answer.partial
    assert answer.video is not None
    assert "long" in answer.video.contents
    two_shards.shards[0].target = searcher
    assert not search(two_shards, k=2).partial


def test_existing_nodes_are_told_of_texts_and_pictures_alone(world: World) -> None:
    film(world, "a", [0.9])
    world.choose("query", [1])
    answer = asyncio.run(world.retrieval.retrieve("text", "ben", 5, b"query"))
    sentence = "No contents available other than ben ones"
    assert answer == {"text": sentence, "image": sentence}
    assert world.shards[0].calls[-1][1].modalities == ("text", "image")
