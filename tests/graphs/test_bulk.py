"""Many assets at once, from one request to the index, and the rules by which contents share vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ray.exceptions import RayTaskError

from graphs.holding import Grip
from graphs.processing import AT_ONCE
from serve_app.catalog import LeaseLostError
from serve_app.errors import Problem
from serve_app.wire import ports, schemas
from tests.graphs.world import Texts, World, png

Outcome = tuple[schemas.Asset, bool] | Problem


def new(id: str | None, data: bytes, owner: str = "anna", **more: Any) -> ports.NewAsset:
    return ports.NewAsset(ports.Upload.of(data), owner, id, **more)


def add(world: World, *news: ports.NewAsset) -> list[Outcome]:
    return asyncio.run(world.assets.add_many(news))


def work(world: World) -> int:
    return asyncio.run(world.processing.work_many("w"))


def found(world: World, text: str, modality: str = "text", **more: Any) -> list[str]:
    query = schemas.TextQuery(text=text, k=1000, **more)
    return list(getattr(asyncio.run(world.retrieval.search_text(query)), modality).contents)


def said(outcomes: Sequence[Outcome]) -> list[str]:
    return [each.code if isinstance(each, Problem) else f"{each[0].id} {each[1]}" for each in outcomes]


def counted(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls of a method of the catalog from now on."""
    part, _, method = name.partition(".")
    calls: list[Any] = []
    inner: Callable[..., Any] = getattr(getattr(world.catalog, part), method)

    def counting(*args: Any, **more: Any) -> Any:
        calls.append(args)
        return inner(*args, **more)

    monkeypatch.setattr(getattr(world.catalog, part), method, counting)
    return calls


def test_each_item_fares_for_itself_and_again_gives_the_same(world: World) -> None:
    add(world, new("taken", b"ben's", "ben"))
    news = (
        new("t", b"some words"),
        new("p", png(1, 2, 3), description="red", media_type="image/png"),
        new("taken", b"anna's"),
        new("broken", png()[:40]),
        new("liar", png(), media_type="video/mp4"),
        new("blank", b"  ", media_type="text/plain"),
        new("t", b"some words"),
        new(None, b"GIF89a is how it begins", media_type="text/plain", idempotency_key="k"),
    )
    first = add(world, *news)
    made = first[-1]
    assert not isinstance(made, Problem)
    assert made[0].kind == "text", "what is said to be a text is one"
    expected = ["t {}", "p {}", "conflict", "undecodable_media", "unsupported_media", "unprocessable", "t False"]
    assert said(first[:-1]) == [each.format(True) for each in expected]
    files = world.files()
    assert len(files) == 4
    assert said(add(world, *news)[:-1]) == [each.format(False) for each in expected]
    assert said(add(world, news[-1])) == [f"{made[0].id} False"]
    assert world.files() == files, "nothing is kept twice"
    assert [call[0] for call in world.runner.calls] == ["nudge"] * 2
    assert work(world) == 4
    assert sorted(found(world, "some words")) == sorted(["t", "p", "taken", made[0].id])


def test_a_catalog_that_refuses_all_leaves_no_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(additions: Any) -> Any:
        raise Problem("bad_request", "no")

    monkeypatch.setattr(world.catalog.assets, "add_many", refuses)
    with pytest.raises(Problem):
        add(world, new("a", b"words"), new("b", png()))
    assert world.files() == []


def test_hundreds_of_jobs_are_written_in_few_transactions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3 * AT_ONCE
    add(world, *(new(f"t{number}", f"text number {number}".encode()) for number in range(count)))
    claims = counted(world, "jobs.claim_many", monkeypatch)
    ends = counted(world, "jobs.finish_many", monkeypatch)
    vectors = counted(world, "vectors.put_many", monkeypatch)
    assert work(world) == count
    assert len(found(world, "anything")) == count
    # One at a time there would be as many of each as jobs.
    assert max(len(claims), len(ends), len(vectors)) <= count / 4
    assert {asset.state for asset in world.catalog.assets.page(limit=count).items} == {"ready"}


def test_one_that_crashes_costs_the_others_nothing(world: World) -> None:
    inner = world.encoder.target

    class Crashing(Texts):
        async def encode_text(self, text: str, *more: Any) -> Any:
            if text == "bad":
                raise RayTaskError("encode_text", "Traceback ...", ZeroDivisionError()).as_instanceof_cause()
            if text == "refused":
                problem = Problem("unprocessable", "it cannot be read")
                raise RayTaskError("encode_text", "Traceback ...", problem).as_instanceof_cause()
            return await inner.encode_text(text, *more)

    world.encoder.target = Crashing()
    add(world, *(new(text, text.encode()) for text in ("one", "bad", "refused", "two")))
    assert work(world) == 4
    world.encoder.target = inner
    states = {asset.id: asset.state for asset in world.catalog.assets.page().items}
    assert states == {"one": "ready", "two": "ready", "refused": "failed", "bad": "processing"}
    assert "cannot be read" in (world.catalog.assets.get("refused").stages["index"].error or "")
    assert sorted(found(world, "x")) == ["one", "two"]


def test_jobs_worked_on_together_are_held_and_one_that_is_cancelled_stops(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphs.holding.LOOK_S", 0.01)
    monkeypatch.setattr("graphs.holding.LEASE_S", 4.0)  # of which a quarter goes by until it is renewed
    inner, begun, go = world.encoder.target, asyncio.Event(), asyncio.Event()

    class Slow(Texts):
        async def encode_text(self, text: str, *more: Any) -> Any:
            begun.set()
            await go.wait()
            return await inner.encode_text(text, *more)

    world.encoder.target = Slow()
    add(world, new("a", b"some words"), new("b", b"more words"))
    renewals = counted(world, "jobs.renew_many", monkeypatch)

    async def scenario() -> None:
        working = asyncio.create_task(world.processing.work_many("w"))
        await begun.wait()
        (job,) = world.catalog.jobs.page(asset_id="a").items
        await world.jobs.cancel(job.id)
        while not any(len(jobs) == 1 for jobs, _ in renewals):
            await asyncio.sleep(0.01)
        go.set()
        assert await working == 2

    asyncio.run(asyncio.wait_for(scenario(), 60))
    world.encoder.target = inner
    assert world.catalog.assets.get("a").stages["index"].error == "cancelled"
    assert world.catalog.vectors.count(world.places.revision, "text") == 1
    assert found(world, "x") == ["b"]


def test_a_job_that_was_claimed_again_is_looked_after_when_its_first_run_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphs.holding.LOOK_S", 0.01)
    add(world, new("a", b"some words"))
    jobs = world.catalog.jobs

    async def scenario() -> None:
        (first,) = jobs.claim_many("w", -1.0, 1)
        (second,) = jobs.claim_many("w", 60.0, 1)
        assert (first.id, first.attempts, second.attempts) == (second.id, 1, 2)
        grip = Grip(jobs)
        runs = [asyncio.create_task(grip.during(job, asyncio.sleep(60))) for job in (first, second)]
        keeping = asyncio.create_task(grip.keep())
        with pytest.raises(LeaseLostError):
            await runs[0]
        assert not runs[1].done()
        await asyncio.to_thread(jobs.cancel, second.id)
        with pytest.raises(LeaseLostError):
            await runs[1]
        keeping.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_of_two_claims_that_end_together_each_gets_its_own_outcome(world: World) -> None:
    add(world, new("a", b"some words"))
    quick, jobs = world.processing.quick, world.catalog.jobs
    (first,) = jobs.claim_many("w", -1.0, 1)
    (second,) = jobs.claim_many("w", 60.0, 1)

    async def both() -> list[object]:
        ended = [await quick.find(first), await quick.find(second)]
        return list(await asyncio.gather(*map(quick.write, ended), return_exceptions=True))

    lost, done = asyncio.run(both())
    assert isinstance(lost, LeaseLostError)
    assert done is None
    assert jobs.get(first.id).state == "succeeded"


def test_duplicates_of_one_user_share_a_vector_and_answer_with_the_latest(world: World) -> None:
    add(world, new("first", b"the same words"), new("second", b"the same words"))
    work(world)
    add(world, new("third", b"the same words"))
    work(world)
    assert world.catalog.vectors.count(world.places.revision, "text") == 1
    assert found(world, "the same words") == ["third"]
    asyncio.run(world.assets.delete("third"))
    assert found(world, "the same words") == ["second"]
    asyncio.run(world.assets.delete("first"))
    assert found(world, "the same words") == ["second"], "deleting one keeps the other"
    asyncio.run(world.assets.delete("second"))
    assert found(world, "the same words") == []


def test_the_same_of_two_users_is_two_contents(world: World) -> None:
    picture = png(9, 9, 9)
    add(world, new("hers", picture, "anna"), new("his", picture, "ben"))
    work(world)
    assert sorted(found(world, "x", "image")) == ["hers", "his"]
    assert found(world, "x", "image", username="anna") == ["his"]
    asyncio.run(world.assets.delete("hers"))
    assert found(world, "x", "image") == ["his"]


def test_the_doctor_finds_what_is_missing_and_mends_it(world: World) -> None:
    add(world, new("a", b"some words"), new("b", b"more words"))
    work(world)
    assert asyncio.run(world.index.examine(files=True)).healthy
    counts = asyncio.run(world.processing.counts())
    tags = ("text", world.places.revision)
    assert {name: values[tags] for name, values in counts.items()} == {
        "mediaverse_contents": 2, "mediaverse_vectors": 2, "mediaverse_explained_failures": 0,
        "mediaverse_unexplained": 0,
    }  # fmt: skip
    with world.catalog._database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE vectors SET data = NULL WHERE vid = (SELECT min(vid) FROM vectors)")
    found_out = asyncio.run(world.index.repair())
    assert not found_out.healthy
    assert [finding.unexplained for finding in found_out.findings] == [1, 0, 0, 0]
    assert "neither a vector nor a reason" in found_out.faults[0]
    assert "mediaverse doctor --repair" in (found_out.remedy or "")
    while asyncio.run(world.processing.work_once("w")):
        pass
    assert asyncio.run(world.index.examine()).healthy
    assert world.catalog.vectors.missing(world.places.revision, 10) == []
