"""Recommendations with reasons, in both modes, from posts and from picks, over a real catalog and shards."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError

from serve_app.errors import Problem
from serve_app.wire import recommendation_schemas as schemas
from tests.graphs.test_recommendation import around, fill, others, recommend
from tests.graphs.world import DIM, World

MODES = ("report", "all-clusters")
AXES = {"cats": 0, "cars": 1, "ships": 2, "hats": 3}


def ask(
    world: World, user: str = "anna", k: int = 10, d: float = 0.2, seed: int = 0, mode: Any = "all-clusters"
) -> schemas.Recommendations:
    return asyncio.run(world.recommendation.recommendations(user, k, d, seed, mode))


def texts(answer: schemas.Recommendations) -> schemas.Recommended:
    return answer.text.text


def topics(found: schemas.Recommended) -> Counter[str]:
    return Counter(name.partition("/")[2].rstrip("0123456789") for name in found.contents)


def four_interests(world: World) -> None:
    """anna posts of four topics, 12 to 6 of each, and five odd ones; ben has twenty of each and others."""
    for number, (topic, axis) in enumerate(AXES.items()):
        fill(world, "anna", topic, around(axis, 12 - 2 * number, axis))
        fill(world, "ben", topic, around(axis, 20, axis + 100))
    fill(world, "anna", "odd", list(np.eye(DIM)[8:13]))
    fill(world, "ben", "far", around(14, 20, 5))


def test_every_interest_has_its_part(world: World) -> None:
    four_interests(world)
    report, ours = (texts(ask(world, mode=mode)) for mode in MODES)
    assert len(report.contents) == len(ours.contents) == 10
    assert {topic for topic in topics(report) if topic in AXES} == {"cats", "cars"}
    assert {topic for topic in topics(ours) if topic in AXES} == set(AXES)
    assert ours.scores == sorted(ours.scores, reverse=True)
    lines = ask(world).clusters.text
    assert [line.size for line in lines] == [12, 10, 8, 6]
    assert [line.share for line in lines] == [pytest.approx(size / 41) for size in (12, 10, 8, 6)]
    assert [line.medoid.rstrip("0123456789") for line in lines] == [f"anna/{topic}" for topic in AXES]


@pytest.mark.parametrize("mode", MODES)
def test_reasons_are_true(two_shards: World, mode: str) -> None:
    four_interests(two_shards)
    answer = ask(two_shards, mode=mode)
    found = texts(answer)
    assert len(found.contents) == len(found.scores) == len(found.explanations) == 10
    vectors = two_shards.catalog.vectors
    held = vectors.of_assets(
        [*found.contents, *(why.seed for why in found.explanations)], {"text": two_shards.places.revision}
    )
    for name, score, why in zip(found.contents, found.scores, found.explanations, strict=True):
        item, seed = vectors.gather([held[name, "text"][0], held[why.seed, "text"][0]])
        assert score == why.similarity == pytest.approx(float(item @ seed), abs=1e-5)
        assert why.seed.startswith("anna/")
        if why.role == "medoid":
            assert why.cluster is not None
            line = answer.clusters.text[why.cluster]
            assert (why.seed, why.share) == (line.medoid, line.share)
        else:
            assert (why.role, why.cluster, why.share) == ("outlier", None, None)
            assert why.seed.startswith("anna/odd")


def test_small_lists_take_turns_over_seeds(world: World) -> None:
    four_interests(world)
    first = [topics(texts(ask(world, k=1, d=0.0, seed=seed))) for seed in range(12)]
    assert first[0]["cats"] == 1, "the largest first"
    assert {topic for counts in first for topic in counts} == set(AXES)
    assert ask(world, k=2, seed=5).text == ask(world, k=2, seed=5).text


def test_repeats_are_one(world: World) -> None:
    fill(world, "anna", "cats", around(0, 12, 1))
    for owner in ("ben", "cleo", "dora", "emil"):
        world.post(owner, "famous", np.eye(DIM)[0])  # the same by four people are four contents
    fill(world, "ben", "cats", around(0, 20, 3))
    plain, ours = (texts(ask(world, mode=mode)) for mode in MODES)
    assert sum("famous" in name for name in plain.contents) == 4
    assert sum("famous" in name for name in ours.contents) == 1
    assert len(ours.contents) == 10
    everything = texts(ask(world, k=100))
    assert len(everything.contents) == 24, "they come back where there is nothing else"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("posts", "k", "d"),
    [(0, 5, 0.2), (1, 5, 0.2), (2, 1, 0.0), (2, 10_000, 1.0), (10, 1, 1.0), (10, 28, 0.5), (40, 10_000, 0.0)],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["text", "image"])
def test_exactly_as_many_as_there_are(world: World, kind: str, posts: int, k: int, d: float, mode: str) -> None:
    others(world)
    fill(world, "anna", "own", list(np.random.default_rng(posts).normal(size=(posts, DIM))), kind)
    answer = ask(world, k=k, d=d, mode=mode)
    for seed_kind in ("text", "image"):
        for result, available in (("text", 25), ("image", 3)):
            found = getattr(getattr(answer, seed_kind), result)
            wanted = min(k, available) if posts and seed_kind == kind else 0
            assert len(found.contents) == len(set(found.contents)) == wanted
            assert not any(name.startswith("anna/") for name in found.contents)
    assert answer.cold_start == (posts == 0)
    assert (answer.mode, answer.partial) == (mode, False)


@pytest.mark.parametrize("mode", MODES)
def test_equal_posts_and_a_lonely_user_are_no_trouble(world: World, mode: str) -> None:
    fill(world, "anna", "same", [[1.0, 2.0]] * 12)
    answer = ask(world, mode=mode)
    assert texts(answer) == answer.image.text == schemas.Recommended(contents=[], scores=[], explanations=[])
    assert not answer.cold_start
    others(world)
    assert len(texts(ask(world, mode=mode)).contents) == 10


@pytest.mark.parametrize("user", ["nobody yet", "Žižek/李 % ?#", "a/b/interests"])
def test_any_user_is_answered(world: World, user: str) -> None:
    others(world)
    assert ask(world, user).cold_start
    fill(world, user, "t", [[1.0]])
    assert len(texts(ask(world, user)).contents) == 10
    assert texts(ask(world, user)).explanations[0].seed == f"{user}/t0"


@pytest.mark.parametrize("user", ["", "a\x00b", "x" * 600, "\ud800"])
def test_what_is_no_name_is_refused(world: World, user: str) -> None:
    for question in (
        lambda: world.recommendation.recommend(user, 5),
        lambda: world.recommendation.recommendations(user, 5, 0.2, 0, "report"),
        lambda: world.recommendation.interests(user),
        lambda: world.recommendation.put_interests(user, schemas.Interests(ids=[])),
    ):
        with pytest.raises(Problem) as refused:
            asyncio.run(question())
        assert refused.value.code == "bad_request"


@pytest.mark.parametrize("mode", MODES)
def test_picks_begin_where_there_are_no_posts(world: World, mode: str) -> None:
    fill(world, "ben", "cats", around(0, 20, 3))
    fill(world, "ben", "cars", around(1, 20, 4))
    fill(world, "ben", "far", around(5, 20, 5))
    assert texts(ask(world, mode=mode)).contents == []
    graph = world.recommendation
    picked = asyncio.run(graph.put_interests("anna", schemas.Interests(ids=["ben/cats1", "ben/cars2", "ben/cats1"])))
    assert picked.ids == ["ben/cats1", "ben/cars2"] == asyncio.run(graph.interests("anna")).ids
    answer = ask(world, k=57, mode=mode)
    assert answer.cold_start
    assert len(texts(answer).contents) == 57
    assert ask(world, k=100, mode=mode).text.text.contents.count("ben/cats1") == 0, "the user knows it"
    best = texts(answer).explanations[:20]
    assert {(why.role, why.seed) for why in best} == {("interest", "ben/cats1"), ("interest", "ben/cars2")}
    assert texts(answer).contents == texts(ask(world, k=57, mode=mode)).contents
    legacy = recommend(world, "anna", 57)
    assert len(legacy["text"]["text"]["contents"]) == 57
    asyncio.run(graph.put_interests("anna", schemas.Interests(ids=[])))
    assert texts(ask(world, mode=mode)).contents == []


def test_picks_of_nobody_are_refused_and_those_before_stay(world: World) -> None:
    fill(world, "ben", "t", [[1.0]])
    graph = world.recommendation
    asyncio.run(graph.put_interests("anna", schemas.Interests(ids=["ben/t0"])))
    with pytest.raises(Problem) as refused:
        asyncio.run(graph.put_interests("anna", schemas.Interests(ids=["ben/t0", "ben/none"])))
    assert refused.value.code == "not_found"
    assert asyncio.run(graph.interests("anna")).ids == ["ben/t0"]
    world.catalog.assets.delete("ben/t0")
    assert asyncio.run(graph.interests("anna")).ids == []


def test_a_starter_set_leads_to_recommendations(world: World) -> None:
    four_interests(world)
    graph = world.recommendation
    items = asyncio.run(graph.starter(6)).items
    assert len({item.id for item in items}) == 6
    asyncio.run(graph.put_interests("new", schemas.Interests(ids=[items[0].id])))
    (best,) = texts(ask(world, "new", k=1)).contents
    assert best != items[0].id
    assert asyncio.run(graph.starter(1)).items == items[:1]


def test_a_dead_shard_makes_it_partial_and_two_a_problem(two_shards: World) -> None:
    four_interests(two_shards)
    whole = ask(two_shards)
    two_shards.shards[0].fault = ActorDiedError()
    partial = ask(two_shards)
    assert (whole.partial, partial.partial) == (False, True)
    assert 0 < len(texts(partial).contents) <= 10
    two_shards.shards[1].fault = ActorDiedError()
    with pytest.raises(Problem):
        ask(two_shards)


def test_new_posts_are_followed(world: World) -> None:
    others(world)
    fill(world, "ben", "cats", around(0, 20, 3))
    fill(world, "anna", "first", around(5, 1, 1))
    assert texts(ask(world, k=1)).explanations[0].seed == "anna/first0"
    fill(world, "anna", "cats", around(0, 12, 1))
    found = texts(ask(world, k=3))
    assert {why.seed.rstrip("0123456789") for why in found.explanations[:2]} == {"anna/cats"}
    for number in range(12):
        world.catalog.assets.delete(f"anna/cats{number}")
    assert texts(ask(world, k=1)).explanations[0].seed == "anna/first0"


def test_draws_without_clusters_follow_the_seed(world: World) -> None:
    others(world)
    fill(world, "anna", "t", list(np.random.default_rng(1).normal(size=(3, DIM))))
    drawn = {tuple(texts(ask(world, k=3, seed=seed)).contents) for seed in range(20)}
    assert len(drawn) > 10
