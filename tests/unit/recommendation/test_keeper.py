"""Kept profiles, picks and starter sets over real catalogs: what is read, what is made anew, and nothing deleted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serve_app.catalog import Catalog, NewContent
from serve_app.errors import Problem
from serve_app.recommendation import keeper as module
from serve_app.recommendation.keeper import Keeper
from serve_app.recommendation.seeds import Asked, Planned, Scatter

REVISION = "clip@1"
DIM = 128


def post(catalog: Catalog, owner: str, name: str, rows: NDArray[Any], modality: Any = "text") -> None:
    """Contents ``owner/name0`` and so on, the first the oldest."""
    items = []
    for number, row in enumerate(rows):
        digest = hashlib.sha256(f"{owner} {name} {number}".encode()).hexdigest()
        new = NewContent(f"{owner}/{name}{number}", owner, modality, "text/plain", digest, 3, f"aa/{digest}")
        items.append((new, (row / np.linalg.norm(row)).astype(np.float32)))
    catalog.contents.add_many(items, REVISION)


def around(axis: int, count: int, seed: int = 0) -> NDArray[np.float64]:
    return np.eye(DIM)[axis] + np.random.default_rng([seed, axis]).normal(size=(count, DIM)) * 0.04


def unlike(count: int, seed: int = 9) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(count, DIM))


def plan(keeper: Keeper, k: int = 10, **options: Any) -> dict[Any, Planned]:
    return keeper.plan(Asked("anna", REVISION, k, **options))[0]


def roles(planned: Planned) -> list[str]:
    return [seed.role for seed in planned.seeds]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many posts each profile was made of, profile by profile."""
    sizes: list[int] = []
    real = module.make_profile

    def counted(vids: NDArray[np.int64], vectors: NDArray[np.float32], background: float) -> Any:
        sizes.append(len(vids))
        return real(vids, vectors, background)

    monkeypatch.setattr(module, "make_profile", counted)
    return sizes


def test_a_profile_is_kept_and_read_again(catalog: Catalog, made: list[int]) -> None:
    post(catalog, "anna", "cat", around(0, 60))
    post(catalog, "anna", "car", around(1, 40))
    first = plan(Keeper(catalog))["text"]
    assert roles(first) == ["medoid", "medoid"]
    assert [line.size for line in first.clusters] == [60, 40]
    assert [line.share for line in first.clusters] == [0.6, 0.4]
    assert first.clusters[0].medoid.startswith("anna/cat")
    assert first.clusters[1].medoid.startswith("anna/car")
    again = plan(Keeper(catalog))["text"]
    assert (again.plan, again.names, again.clusters) == (first.plan, first.names, first.clusters)
    assert np.array_equal(again.vectors, first.vectors)
    assert made == [100], "pictures, of which there are none, are not clustered"


def test_a_few_new_posts_wait_and_many_do_not(catalog: Catalog, made: list[int]) -> None:
    post(catalog, "anna", "cat", around(0, 200))
    keeper = Keeper(catalog)
    assert keeper.plan(Asked("anna", REVISION, 10))[1] == []
    post(catalog, "anna", "new", around(1, 3))
    planned, stale = keeper.plan(Asked("anna", REVISION, 10))
    assert stale == ["text"]
    assert planned["text"].posts == 200, "the kept profile answers meanwhile"
    keeper.renew("anna", "text", REVISION)
    planned, stale = keeper.plan(Asked("anna", REVISION, 10))
    assert (planned["text"].posts, stale) == (203, [])
    post(catalog, "anna", "ship", around(2, 25))
    assert [line.size for line in plan(keeper)["text"].clusters] == [200, 25]
    assert made == [200, 203, 228]


def test_a_small_profile_follows_every_post(catalog: Catalog) -> None:
    keeper = Keeper(catalog)
    for number in range(1, 8):
        post(catalog, "anna", f"cat-{number}-", around(0, 1, seed=number))
        planned = plan(keeper)["text"]
        assert planned.posts == number
        assert isinstance(planned.plan, Scatter) == (number < 5)


def test_only_the_latest_posts_are_read(catalog: Catalog, made: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    post(catalog, "anna", "old", around(0, 1000))
    post(catalog, "anna", "cat", around(1, 1000))
    asked: list[int] = []
    real = catalog.vectors.of_owner
    monkeypatch.setattr(
        catalog.vectors,
        "of_owner",
        lambda *args: (asked.append(args[-1]), real(*args))[1],  # type: ignore[func-returns-value]
    )
    planned = plan(Keeper(catalog))["text"]
    assert {name.rstrip("0123456789") for name in planned.names.values()} == {"anna/cat"}
    assert made == [1000]
    asked.clear()
    plan(Keeper(catalog))
    assert asked == [33, 33], "a kept profile needs the newest posts alone"


def test_what_was_deleted_is_no_seed(catalog: Catalog) -> None:
    post(catalog, "anna", "cat", around(0, 12))
    post(catalog, "anna", "car", around(1, 8))
    post(catalog, "anna", "odd", unlike(3))
    keeper, gone = Keeper(catalog), set[str]()
    # Medoid after medoid, outlier after outlier, until nothing is left: the last ones have no cluster any more.
    for _ in range(40):
        planned = plan(keeper)["text"]
        assert not gone & set(planned.names.values())
        assert not gone & {line.medoid for line in planned.clusters}
        assert np.isfinite(planned.vectors).all()
        if isinstance(planned.plan, list):
            assert sum(seed.quota for seed in planned.plan) == 10
        if not planned.seeds:
            break
        name = planned.names[planned.seeds[-1 if len(gone) % 3 == 2 else 0].vid]
        catalog.assets.delete(name)
        gone.add(name)
    assert len(gone) == 23
    assert plan(keeper)["text"].posts == 0


def test_a_whole_interest_deleted_is_noticed_at_once(catalog: Catalog) -> None:
    post(catalog, "anna", "cat", around(0, 30))
    post(catalog, "anna", "car", around(1, 20))
    keeper = Keeper(catalog)
    assert len(plan(keeper)["text"].clusters) == 2
    for number in range(30):
        catalog.assets.delete(f"anna/cat{number}")
    assert [line.size for line in plan(keeper)["text"].clusters] == [20]
    assert plan(keeper)["text"].posts == 20


def test_what_a_post_stands_for_goes_with_its_last_copy(catalog: Catalog) -> None:
    post(catalog, "anna", "cat", around(0, 12))
    (medoid, *_) = plan(Keeper(catalog))["text"].names.values()
    digest = hashlib.sha256(f"anna cat {medoid.removeprefix('anna/cat')}".encode()).hexdigest()
    copy = NewContent("anna/copy", "anna", "text", "text/plain", digest, 3, "aa/copy")
    catalog.contents.add(copy, np.eye(DIM, dtype=np.float32)[5], REVISION)
    catalog.assets.delete(medoid)
    assert "anna/copy" in plan(Keeper(catalog))["text"].names.values()


@pytest.mark.parametrize(
    "rows", [np.ones((10, DIM)), np.repeat(np.eye(DIM)[:2], 6, axis=0), unlike(10), unlike(1), unlike(2)]
)
@pytest.mark.parametrize("mode", ["report", "all-clusters"])
def test_every_kind_of_user_has_a_plan(catalog: Catalog, rows: NDArray[Any], mode: Any) -> None:
    post(catalog, "anna", "p", rows, "image")
    planned = plan(Keeper(catalog), mode=mode)
    assert planned["image"].seeds
    assert planned["image"].posts == len(rows)
    assert planned["text"].posts == 0
    assert planned["text"].plan == Scatter((), 10)


def test_profiles_of_another_form_or_revision_are_not_used(catalog: Catalog, made: list[int]) -> None:
    post(catalog, "anna", "cat", around(0, 20))
    catalog.profiles.put("anna", "text", REVISION, {"clusters": 3}, catalog.vectors.head())
    assert plan(Keeper(catalog))["text"].posts == 20
    assert Keeper(catalog).plan(Asked("anna", "clip@2", 5))[0]["text"].posts == 0


def test_picks_are_seeds_until_posts_say_more(catalog: Catalog) -> None:
    post(catalog, "ben", "t", unlike(3))
    post(catalog, "ben", "p", unlike(2, seed=4), "image")
    keeper = Keeper(catalog)
    catalog.interests.put("anna", ["ben/t1", "ben/p0"])
    cold = plan(keeper)
    assert {name: roles(each) for name, each in cold.items()} == {"text": ["interest"], "image": ["interest"]}
    assert list(cold["text"].names.values()) == ["ben/t1"]
    assert cold["text"].picks == tuple(cold["text"].names)
    assert (cold["text"].posts, cold["image"].posts) == (0, 0)
    post(catalog, "anna", "few", around(0, 3))
    assert roles(plan(keeper)["text"]) == ["post"] * 3 + ["interest"]
    post(catalog, "anna", "cat", around(0, 10))
    assert roles(plan(keeper)["text"]) == ["medoid"]
    assert len(plan(keeper)["text"].picks) == 1, "still no result: the user knows it"
    catalog.assets.delete("ben/t1")
    assert plan(keeper)["text"].picks == ()
    assert roles(plan(keeper)["image"]) == ["interest"]


def test_own_posts_may_be_picked_and_count_once(catalog: Catalog) -> None:
    post(catalog, "anna", "t", unlike(2))
    catalog.interests.put("anna", ["anna/t0"])
    assert sorted(plan(Keeper(catalog))["text"].names.values()) == ["anna/t0", "anna/t1"]


def interests_of(items: Sequence[tuple[str, str]]) -> set[str]:
    return {name.rstrip("0123456789") for name, _ in items}


def test_a_starter_set_stands_for_the_catalog(catalog: Catalog) -> None:
    for axis in range(8):
        post(catalog, "ben", f"topic-{chr(97 + axis)}", around(axis, 60 if axis < 4 else 12))
    post(catalog, "cleo", "p", np.eye(DIM)[20:23], "image")
    keeper = Keeper(catalog)
    items, old = keeper.starter(REVISION, 14)
    assert not old
    assert [kind for _, kind in items[:6]] == ["text", "image"] * 3, "by turns as long as there are both"
    texts = [item for item in items if item[1] == "text"]
    assert len(interests_of(texts)) >= 7
    assert len(set(items)) == len(items) == 14
    assert Keeper(catalog).starter(REVISION, 14)[0] == items, "kept"
    assert keeper.starter(REVISION, 3)[0] == items[:3]


def test_a_starter_set_never_shows_what_is_gone(catalog: Catalog) -> None:
    post(catalog, "ben", "t", unlike(30))
    keeper = Keeper(catalog)
    names = [name for name, _ in keeper.starter(REVISION, 10)[0]]
    for name in names[:9]:
        catalog.assets.delete(name)
    left = [name for name, _ in keeper.starter(REVISION, 10)[0]]
    assert not set(left) & set(names[:9])
    assert len(left) == 10
    with pytest.raises(Problem):
        catalog.interests.put("anna", names[:1])


def test_a_starter_set_grows_with_a_small_catalog_and_is_renewed_with_a_large_one(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper(catalog)
    assert keeper.starter(REVISION, 10) == ([], False)
    post(catalog, "ben", "t", unlike(3))
    assert len(keeper.starter(REVISION, 10)[0]) == 3
    post(catalog, "ben", "u", unlike(60, seed=2))
    assert len(keeper.starter(REVISION, 10)[0]) == 10
    post(catalog, "ben", "v", unlike(60, seed=3))
    assert not keeper.starter(REVISION, 10)[1], "not again within minutes"
    monkeypatch.setattr(module, "REST_S", -1.0)
    assert keeper.starter(REVISION, 10)[1]
    keeper.renew_starters(REVISION)
    assert not keeper.starter(REVISION, 10)[1]


def test_a_large_catalog_is_sampled_evenly(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLED", 100)
    monkeypatch.setattr(module, "RUN", 5)
    for axis in range(10):
        post(catalog, "ben", f"topic-{chr(97 + axis)}", around(axis, 60))
    read: list[int] = []
    real = catalog.vectors.changes
    monkeypatch.setattr(
        catalog.vectors,
        "changes",
        lambda *args: (read.append(args[-1]), real(*args))[1],  # type: ignore[func-returns-value]
    )
    items, _ = Keeper(catalog).starter(REVISION, 50)
    assert sum(read) <= 110
    assert interests_of(items) == {f"ben/topic-{letter}" for letter in "abcdefghij"}


def test_the_background_is_that_of_contents_of_different_owners(catalog: Catalog) -> None:
    rows = np.concatenate([around(axis, 10) for axis in range(8)])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    post(catalog, "ben", "few", unlike(20), "image")
    post(catalog, "ben", "t", rows[:50])
    assert Keeper(catalog).background(REVISION) == {"text": 0.0, "image": 0.0}, "of one owner nothing is known"
    post(catalog, "cleo", "t", rows[50:70])
    post(catalog, "dora", "t", rows[70:])
    owners = [0] * 50 + [1] * 20 + [2] * 10
    exact = np.mean([rows[i] @ rows[j] for i in range(80) for j in range(80) if owners[i] != owners[j]])
    assert Keeper(catalog).background(REVISION) == {"text": pytest.approx(exact, abs=1e-6), "image": 0.0}


def test_posts_that_are_no_nearer_than_those_of_all_are_no_interest(catalog: Catalog) -> None:
    """All contents of CLIP have something in common; that alone makes no cluster."""
    common = np.eye(DIM)[0]
    post(catalog, "ben", "t", common + unlike(40, seed=1) / DIM**0.5)
    post(catalog, "cleo", "t", common + unlike(40, seed=2) / DIM**0.5)
    post(catalog, "anna", "t", common + unlike(30, seed=3) / DIM**0.5)
    assert roles(plan(Keeper(catalog))["text"]) == ["post"] * 30
    post(catalog, "anna", "cat", common + around(5, 20))
    assert [line.size for line in plan(Keeper(catalog))["text"].clusters] == [20]
