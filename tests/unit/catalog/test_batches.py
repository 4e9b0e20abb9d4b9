"""Many at once: an outcome each, one item's fault is its own, and jobs that are claimed and ended together."""

from __future__ import annotations

import pytest
from catalog_samples import REVISION, Clock, log, picture, posted, sha, vector

from serve_app.catalog import Addition, Asset, Catalog, Ended, LeaseLostError
from serve_app.errors import Problem


def told(outcomes: list[tuple[Asset, bool] | Problem]) -> list[tuple[str, bool] | str]:
    return [one.code if isinstance(one, Problem) else (one[0].id, one[1]) for one in outcomes]


def test_each_of_many_assets_has_its_own_outcome(catalog: Catalog) -> None:
    catalog.assets.add(picture("there"))
    catalog.assets.add(picture("keyed", data="k"), idempotency_key="old")
    items = [
        Addition(picture("new", data="1", description="words")),
        Addition(picture("there")),  # the same again
        Addition(picture("there", "ben")),
        Addition(picture("there", data="other bytes")),
        Addition(picture("new", data="1")),  # twice in one batch
        Addition(picture("bad\n")),
        Addition(picture("x", description="half \ud800")),
        Addition(picture("keyed", data="k"), "old"),
        Addition(picture("else", data="k"), "old"),
        Addition(picture("fresh", data="2"), "key", "process_video"),
        Addition(picture("fresh", data="2"), "key"),
        Addition(picture("other", data="2"), "key"),
        Addition(picture("last", "ben", data="1", kind="text"), "key"),
    ]
    assert told(catalog.assets.add_many(items)) == [
        ("new", True), ("there", False), "conflict", "conflict", ("new", False), "bad_request", "bad_request",
        ("keyed", False), "conflict", ("fresh", True), ("fresh", False), "conflict", ("last", True),
    ]  # fmt: skip
    assert {asset.id for asset in catalog.assets.page().items} == {"there", "keyed", "new", "fresh", "last"}
    assert [content.modality for content in catalog.contents.of_asset("new")] == ["image", "text"]
    kinds = [catalog.jobs.page(asset_id=id).items[0].kind for id in ("new", "fresh", "last")]
    assert kinds == ["process", "process_video", "process"]
    assert catalog.assets.add(picture("fresh", data="2"), idempotency_key="key")[1] is False
    assert [id for id, _ in catalog.words.search("words", None, 9)] == ["new"]


def test_assets_without_an_id_get_one_each(catalog: Catalog) -> None:
    added = catalog.assets.add_many([Addition(picture(None, data="same"))] * 3)
    assert all(created for _, created in added)
    assert len({asset.id for asset, _ in added}) == 3
    assert [asset.ordinal for asset, _ in added] == [1, 2, 3]
    assert catalog.assets.add_many([]) == []


def test_new_assets_touch_the_vectors_they_share(catalog: Catalog) -> None:
    catalog.contents.add(posted("a"), vector(1), REVISION)
    catalog.assets.add_many([Addition(picture("b")), Addition(picture("c", "ben"))])
    (change,) = log(catalog, after=1)
    assert sorted(change.assets) == [catalog.assets.get(id).ordinal for id in ("a", "b")]


def test_many_jobs_are_claimed_oldest_first(catalog: Catalog, clock: Clock) -> None:
    ids = [catalog.jobs.add(kind)[0].id for kind in ("x", "y", "x", "x")]
    assert [job.id for job in catalog.jobs.claim_many("w", 60, 2, kinds=["x"])] == [ids[0], ids[2]]
    rest = catalog.jobs.claim_many("v", 10, 9)
    assert [(job.id, job.worker, job.attempts) for job in rest] == [(ids[1], "v", 1), (ids[3], "v", 1)]
    assert catalog.jobs.claim_many("u", 60, 9) == []
    clock.move(20)
    assert [job.attempts for job in catalog.jobs.claim_many("u", 60, 9)] == [2, 2]
    assert catalog.jobs.claim_many("u", 60, 0) == []


def test_jobs_end_together_with_their_stages(catalog: Catalog, clock: Clock) -> None:
    for id in ("good", "bad", "late"):
        catalog.assets.add(picture(id, data=id))
    good, bad, late = catalog.jobs.claim_many("w", 10, 3)
    clock.move(20)
    catalog.jobs.renew(good, 10)
    catalog.jobs.renew(bad, 10)
    (taken,) = catalog.jobs.claim_many("v", 10, 3)
    assert taken.id == late.id
    ready = {"annotate": "ready", "index": "ready"}
    ended = [Ended(late, None, ready), Ended(bad, "broken", {"annotate": "ready"}), Ended(good, None, ready)]
    lost, failed, done = catalog.jobs.finish_many(ended)
    assert isinstance(lost, LeaseLostError)
    assert not isinstance(failed, LeaseLostError)
    assert not isinstance(done, LeaseLostError)
    assert (failed.state, failed.error, done.state, done.progress) == ("failed", "broken", "succeeded", 1.0)
    assert [catalog.assets.get(id).state for id in ("good", "bad", "late")] == ["ready", "failed", "processing"]
    stages = catalog.assets.get("bad").stages
    assert [(stages[name].state, stages[name].error) for name in ("annotate", "index")] == [
        ("ready", None),
        ("failed", "broken"),
    ]
    assert catalog.jobs.get(late.id).worker == "v"
    assert catalog.jobs.finish_many([]) == []


@pytest.mark.parametrize("error", [None, "broken"])
@pytest.mark.parametrize("turned", [False, True])
def test_of_two_claims_of_one_job_only_the_one_that_holds_it_ends_it(
    catalog: Catalog, error: str | None, turned: bool
) -> None:
    catalog.assets.add(picture())
    (first,) = catalog.jobs.claim_many("w", -1.0, 1)
    (second,) = catalog.jobs.claim_many("w", 60.0, 1)
    assert first.id == second.id
    ended = [Ended(first, error, {"annotate": "ready"}), Ended(second, None, {"index": "ready"})]
    outcomes = catalog.jobs.finish_many(ended[::-1] if turned else ended)
    lost, done = outcomes[::-1] if turned else outcomes
    assert isinstance(lost, LeaseLostError)
    assert not isinstance(done, LeaseLostError)
    assert (done.state, done.attempts) == ("succeeded", 2)
    stages = catalog.assets.get("a").stages
    assert (stages["annotate"].state, stages["index"].state) == ("pending", "ready")


def test_a_job_whose_asset_went_ends_nothing(catalog: Catalog) -> None:
    catalog.assets.add(picture())
    (job,) = catalog.jobs.claim_many("w", 10, 1)
    catalog.assets.delete("a")
    (outcome,) = catalog.jobs.finish_many([Ended(job, None, {"index": "ready"})])
    assert isinstance(outcome, LeaseLostError)
    assert catalog.vectors.put("anna", "image", sha("bytes"), REVISION, vector(1)) is None
