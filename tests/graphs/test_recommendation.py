"""Recommendation from real posts with the real profile code, over a real catalog."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from serve_app.catalog import Moment, NewAsset
from tests.graphs.world import DIM, World, unit

EMPTY: dict[str, list[Any]] = {"contents": [], "scores": []}


def recommend(world: World, user: str, k: int) -> dict[str, Any]:
    return asyncio.run(world.recommendation.recommend(user, k))


def around(axis: int, count: int, seed: int, spread: float = 0.05) -> list[Any]:
    centre = np.eye(DIM)[axis]
    return [centre + row for row in np.random.default_rng(seed).normal(size=(count, DIM)) * spread]


def fill(world: World, owner: str, name: str, vectors: list[Any], modality: str = "text") -> None:
    for number, vector in enumerate(vectors):
        world.post(owner, f"{name}{number}", vector, modality)


def others(world: World, texts: int = 25, pictures: int = 3) -> None:
    dice = np.random.default_rng(7)
    fill(world, "ben", "t", list(dice.normal(size=(texts, DIM))))
    fill(world, "cleo", "p", list(dice.normal(size=(pictures, DIM))), "image")


@pytest.mark.parametrize("k", [1, 10, 100])
@pytest.mark.parametrize("posts", [1, 4, 30])
def test_exactly_as_many_as_there_are_and_never_ones_own(two_shards: World, posts: int, k: int) -> None:
    others(two_shards)
    mine = list(np.random.default_rng(posts).normal(size=(posts, DIM)))
    fill(two_shards, "anna", "t", mine)
    answer = recommend(two_shards, "anna", k)
    assert set(answer) == {"text", "image"}
    for modality, available in (("text", 25), ("image", 3)):
        ranking = answer["text"][modality]
        assert len(ranking["contents"]) == len(set(ranking["contents"])) == min(k, available)
        assert not [name for name in ranking["contents"] if name.startswith("anna/")]
        assert ranking["scores"] == sorted(ranking["scores"], reverse=True)
    assert answer["image"] == {"text": EMPTY, "image": EMPTY}, "no pictures were posted, so none are a seed"
    assert recommend(two_shards, "anna", k) == answer, "the same catalog gives the same answer"


def test_scores_are_cosines_to_a_post(world: World) -> None:
    others(world)
    mine = list(np.random.default_rng(1).normal(size=(4, DIM)))
    fill(world, "anna", "t", mine)
    theirs = [unit(row) for row in np.random.default_rng(7).normal(size=(25, DIM))]
    for name, score in zip(*recommend(world, "anna", 25)["text"]["text"].values(), strict=True):
        best = max(float(unit(row) @ theirs[int(name.removeprefix("ben/t"))]) for row in mine)
        assert score == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("user", ["anna", "nobody yet"])
def test_a_user_without_posts_gets_empty_lists(world: World, user: str) -> None:
    others(world)
    assert recommend(world, user, 5) == {seed: {"text": EMPTY, "image": EMPTY} for seed in ("text", "image")}


def test_where_nobody_else_has_any_the_known_sentence_says_so(world: World) -> None:
    sentence = "No contents available other than anna ones"
    assert recommend(world, "anna", 5) == {
        seed: dict.fromkeys(("text", "image"), sentence) for seed in ("text", "image")
    }
    fill(world, "anna", "t", around(0, 3, 0))
    assert recommend(world, "anna", 5)["text"] == {"text": sentence, "image": sentence}
    world.post("ben", "p", [1, 2], "image")
    answer = recommend(world, "anna", 5)
    assert answer["text"]["text"] == sentence
    assert answer["text"]["image"]["contents"] == ["ben/p"]
    assert answer["image"] == {"text": sentence, "image": EMPTY}


def test_two_interests_share_what_is_recommended(world: World) -> None:
    # D3.2, section 4: of k = 10 each of the two largest clusters gives (1 - 0.2) / 2 of them, an outlier the rest.
    fill(world, "anna", "cats", around(0, 13, 1))
    fill(world, "anna", "cars", around(1, 12, 2))
    fill(world, "anna", "odd", list(np.eye(DIM)[8:13]))
    fill(world, "ben", "cats", around(0, 20, 3))
    fill(world, "ben", "cars", around(1, 20, 4))
    fill(world, "ben", "far", around(5, 20, 5))
    contents = recommend(world, "anna", 10)["text"]["text"]["contents"]
    assert len(contents) == len(set(contents)) == 10
    assert sum(name.startswith("ben/cats") for name in contents) >= 4
    assert sum(name.startswith("ben/cars") for name in contents) >= 4


def test_pictures_are_seeds_of_their_own(world: World) -> None:
    fill(world, "anna", "p", around(0, 2, 1), "image")
    fill(world, "anna", "t", around(1, 2, 2))
    world.post("ben", "near-picture", np.eye(DIM)[0])
    world.post("ben", "near-text", np.eye(DIM)[1])
    answer = recommend(world, "anna", 2)
    assert answer["image"]["text"]["contents"] == ["ben/near-picture", "ben/near-text"]
    assert answer["text"]["text"]["contents"] == ["ben/near-text", "ben/near-picture"]


def test_films_and_shapes_are_neither_seeds_nor_results(world: World) -> None:
    others(world)
    fill(world, "anna", "t", around(0, 3, 1))
    before = recommend(world, "anna", 5)
    for owner in ("anna", "ben"):
        for kind in ("video", "shape3d"):
            world.catalog.assets.add(NewAsset(owner, kind, "a/b", "0" * 64, 9, f"aa/{kind}", id=f"{owner}/{kind}"))
        (moment,) = world.catalog.contents.put_moments(f"{owner}/video", [Moment(0, 1, 0, 25)])
        (view,) = world.catalog.contents.put_views(f"{owner}/shape3d", ["0,0"])
        for part in (moment, view):
            seen = world.catalog.vectors.put(owner, part.modality, part.sha256, world.places.revision, unit([1.0]))
            assert seen is not None
    assert recommend(world, "anna", 5) == before


def test_the_same_post_many_times_is_no_trouble(world: World) -> None:
    others(world)
    fill(world, "anna", "t", [[1.0, 2.0]] * 12)
    assert len(recommend(world, "anna", 10)["text"]["text"]["contents"]) == 10
