"""Jobs: claimed once, renewed, lost, given up; whatever dies, no asset stays "processing" for ever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from catalog_samples import Clock, picture, start_worker

from serve_app.catalog import Catalog, Job, LeaseLostError, Stage
from serve_app.errors import Problem


def claimed(catalog: Catalog, worker: str = "w", **options: object) -> Job:
    job = catalog.jobs.claim(worker, 30, **options)
    assert job is not None
    return job


def test_a_job_runs_from_queued_to_succeeded(catalog: Catalog, clock: Clock) -> None:
    queued, created = catalog.jobs.add("transcode", "a", {"preset": "hd", "odd": "\x00é"})
    assert (created, queued.state, queued.attempts, queued.progress) == (True, "queued", 0, 0.0)
    assert queued.payload == {"preset": "hd", "odd": "\x00é"}
    job = claimed(catalog)
    assert (job.id, job.state, job.worker, job.attempts) == (queued.id, "running", "w", 1)
    clock.move(20)
    job = catalog.jobs.renew(job, 30, progress=0.25)
    assert (job.progress, job.lease_until) == (0.25, catalog.jobs.get(job.id).lease_until)
    assert job.detail is None
    detail = {"stage": "annotate", "frames": 250, "expected": None, "odd": "\x00é"}
    assert catalog.jobs.renew(job, 30, detail=detail).detail == detail
    assert catalog.jobs.renew(job, 30).progress == 0.25
    done = catalog.jobs.finish(job)
    assert (done.state, done.progress, done.finished_at, done.error) == ("succeeded", 1.0, clock.now, None)
    assert done.detail == detail
    assert catalog.jobs.get(job.id) == done
    assert catalog.jobs.claim("w", 30) is None


def test_the_oldest_job_of_the_asked_kinds_comes_first(catalog: Catalog) -> None:
    ids = [catalog.jobs.add(kind)[0].id for kind in ("process", "transcode", "process")]
    assert claimed(catalog, kinds=["transcode"]).id == ids[1]
    assert [claimed(catalog).id for _ in range(2)] == [ids[0], ids[2]]
    assert catalog.jobs.claim("w", 30, kinds=["transcode"]) is None


def test_concurrent_workers_never_get_the_same_job(url: str) -> None:
    catalogs = [Catalog.open(url) for _ in range(4)]
    queued = {catalogs[0].jobs.add("process")[0].id for _ in range(40)}
    start = threading.Barrier(4)

    def work(number: int) -> list[str]:
        start.wait()
        taken = []
        while (job := catalogs[number].jobs.claim(f"w{number}", 60)) is not None:
            taken.append(job.id)
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [job_id for ids in pool.map(work, range(4)) for job_id in ids]
    assert len(taken) == 40
    assert set(taken) == queued
    for catalog in catalogs:
        catalog.close()


def test_a_lease_that_ran_out_lets_another_worker_take_over(catalog: Catalog, clock: Clock) -> None:
    catalog.jobs.add("process")
    first = claimed(catalog, "one")
    clock.move(29)
    assert catalog.jobs.claim("two", 30) is None
    clock.move(2)
    second = claimed(catalog, "two")
    assert (second.id, second.attempts) == (first.id, 2)
    for late in (catalog.jobs.finish, catalog.jobs.release, lambda job: catalog.jobs.renew(job, 30)):
        with pytest.raises(LeaseLostError):
            late(first)
    assert catalog.jobs.finish(second).state == "succeeded"
    with pytest.raises(LeaseLostError):
        catalog.jobs.finish(second)


def test_a_worker_of_the_same_name_does_not_inherit_an_old_claim(catalog: Catalog, clock: Clock) -> None:
    catalog.jobs.add("process")
    before_restart = claimed(catalog)
    clock.move(31)
    after_restart = claimed(catalog)
    with pytest.raises(LeaseLostError):
        catalog.jobs.finish(before_restart)
    assert catalog.jobs.finish(after_restart).state == "succeeded"


def test_a_job_that_kills_its_workers_fails_with_a_reason(catalog: Catalog, clock: Clock) -> None:
    catalog.assets.add(picture())
    catalog.assets.set_stage("a", "preview", "ready")
    for _ in range(2):
        job = claimed(catalog, max_attempts=2)
        clock.move(31)
    catalog.jobs.add("process")
    assert claimed(catalog, max_attempts=2).id != job.id  # the next job starts all the same
    failed = catalog.jobs.get(job.id)
    assert (failed.state, failed.finished_at) == ("failed", clock.now)
    assert "2 attempts" in (failed.error or "")
    asset = catalog.assets.get("a")
    assert asset.state == "failed"
    assert {stage: value.state for stage, value in asset.stages.items()} == {
        "annotate": "failed",
        "index": "failed",
        "preview": "ready",
        "adapt": "skipped",
    }
    assert asset.stages["index"].error == failed.error


def test_a_failed_process_job_fails_only_what_was_not_done(catalog: Catalog) -> None:
    catalog.assets.add(picture())
    job = claimed(catalog)
    catalog.assets.set_stage("a", "annotate", "ready")
    catalog.assets.set_stage("a", "index", "running")
    failed = catalog.jobs.finish(job, "the end of \x00stderr")
    assert (failed.state, failed.error) == ("failed", "the end of \ufffdstderr")
    asset = catalog.assets.get("a")
    assert (asset.state, asset.stages["annotate"].state, asset.stages["index"].state) == ("failed", "ready", "failed")


def test_a_failed_job_of_another_kind_leaves_its_asset_alone(catalog: Catalog) -> None:
    catalog.assets.add(picture())
    catalog.jobs.finish(claimed(catalog))
    catalog.jobs.add("transcode", "a")
    catalog.jobs.finish(claimed(catalog), "no such codec")
    assert catalog.assets.get("a").state == "processing"


def test_a_released_job_is_taken_again_and_has_not_failed(catalog: Catalog) -> None:
    catalog.jobs.add("process")
    for _ in range(5):
        catalog.jobs.release(claimed(catalog, max_attempts=1))
    assert claimed(catalog, max_attempts=1).attempts == 1


def test_cancelling_stops_the_queued_and_the_running_but_not_the_done(catalog: Catalog, clock: Clock) -> None:
    queued = catalog.jobs.add("one")[0]
    assert catalog.jobs.cancel(queued.id).state == "cancelled"
    assert catalog.jobs.claim("w", 30) is None
    catalog.jobs.add("two")
    running = claimed(catalog)
    cancelled = catalog.jobs.cancel(running.id)
    assert (cancelled.state, cancelled.finished_at) == ("cancelled", clock.now)
    with pytest.raises(LeaseLostError):
        catalog.jobs.renew(running, 30)
    catalog.jobs.add("three")
    done = catalog.jobs.finish(claimed(catalog))
    assert catalog.jobs.cancel(done.id) == done
    for unknown in ("none", "\x00", ""):
        with pytest.raises(Problem, match="not_found"):
            catalog.jobs.cancel(unknown)


def test_the_state_of_a_job_is_one_look(catalog: Catalog) -> None:
    job = catalog.jobs.add("process")[0]
    assert catalog.jobs.state(job.id) == "queued"
    running = claimed(catalog)
    assert catalog.jobs.state(job.id) == "running"
    catalog.jobs.finish(running, "broken")
    assert catalog.jobs.state(job.id) == "failed"
    for unknown in ("none", "\x00", ""):
        with pytest.raises(Problem, match="not_found"):
            catalog.jobs.state(unknown)


def test_a_new_attempt_begins_without_the_progress_of_the_last(catalog: Catalog, clock: Clock) -> None:
    catalog.jobs.add("process")
    catalog.jobs.renew(claimed(catalog), 30, 0.9, {"frames": 900})
    clock.move(31)
    again = claimed(catalog)
    assert (again.attempts, again.progress, again.detail) == (2, 0.0, None)


@pytest.mark.parametrize("running", [False, True])
def test_a_cancelled_job_fails_what_its_asset_still_waits_for(catalog: Catalog, clock: Clock, running: bool) -> None:
    kind = "process_video" if running else "process"
    catalog.assets.add(picture(kind="video", description="A dog"), job_kind=kind)
    (queued,) = catalog.jobs.page().items
    job = claimed(catalog) if running else queued
    if running:
        catalog.assets.set_stage("a", "preview", "skipped")
        catalog.assets.set_stage("a", "annotate", "running")
    catalog.jobs.cancel(job.id)
    assert catalog.jobs.state(job.id) == "cancelled"
    asset = catalog.assets.get("a")
    assert asset.state == "failed"
    assert (asset.stages["annotate"], asset.stages["index"]) == (Stage("failed", "cancelled"),) * 2
    assert asset.stages["preview"].state == ("skipped" if running else "failed")
    assert catalog.jobs.cancel(job.id).finished_at == clock.now
    assert catalog.assets.delete("a") == ["f/bytes.jpg"]
    assert catalog.jobs.state(job.id) == "cancelled"


def test_cancelling_an_index_job_in_the_queue_takes_nothing_from_a_ready_asset(catalog: Catalog) -> None:
    catalog.assets.add(picture())
    job = claimed(catalog)
    for stage in ("annotate", "index"):
        catalog.assets.set_stage("a", stage, "ready")
    catalog.jobs.finish(job)
    for kind in ("index", "transcode"):
        catalog.jobs.cancel(catalog.jobs.add(kind, "a")[0].id)
    assert catalog.assets.get("a").state == "ready"


def test_a_worker_that_lost_its_job_sets_no_stage(catalog: Catalog, clock: Clock) -> None:
    catalog.assets.add(picture())
    job = claimed(catalog)
    catalog.jobs.set_stage(job, "annotate", "running")
    assert catalog.assets.get("a").stages["annotate"].state == "running"
    clock.move(31)
    second = claimed(catalog, "two")
    with pytest.raises(LeaseLostError):
        catalog.jobs.set_stage(job, "annotate", "ready")
    catalog.jobs.set_stage(second, "annotate", "ready")
    catalog.jobs.cancel(second.id)
    with pytest.raises(LeaseLostError):
        catalog.jobs.set_stage(second, "index", "running")
    asset = catalog.assets.get("a")
    assert (asset.state, asset.stages["annotate"].state, asset.stages["index"].state) == ("failed", "ready", "failed")
    catalog.jobs.add("process")
    with pytest.raises(ValueError, match="no asset"):
        catalog.jobs.set_stage(claimed(catalog), "index", "running")
    catalog.jobs.add("process", "gone")
    with pytest.raises(Problem, match="not_found"):
        catalog.jobs.set_stage(claimed(catalog), "index", "running")


def test_a_job_whose_worker_is_killed_is_done_by_another(url: str) -> None:
    catalog = Catalog.open(url)
    job = catalog.jobs.add("process")[0]
    worker = start_worker(url, "claim", "1.5")
    assert worker.stdout is not None
    assert worker.stdout.readline().strip() == job.id
    time.sleep(0.2)
    assert catalog.jobs.claim("here", 30, max_attempts=2) is None
    worker.kill()
    worker.communicate()
    deadline = time.monotonic() + 20
    while (again := catalog.jobs.claim("here", 30, max_attempts=2)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert again is not None
    assert (again.id, again.attempts) == (job.id, 2)
    assert catalog.jobs.finish(again).state == "succeeded"
    catalog.close()


def test_an_idempotency_key_queues_one_job(catalog: Catalog) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: catalog.jobs.add("process", idempotency_key="k"), range(4)))
    assert sorted(created for _, created in made) == [False, False, False, True]
    assert len({job.id for job, _ in made}) == 1


def test_pages_of_jobs_are_stable(catalog: Catalog) -> None:
    ids = [catalog.jobs.add("process", f"a{number % 2}")[0].id for number in range(5)]
    page = catalog.jobs.page(limit=2)
    catalog.jobs.add("late")
    rest = catalog.jobs.page(limit=9, cursor=page.next_cursor)
    assert [job.id for job in (*page.items, *rest.items)] == ids[::-1]
    assert rest.next_cursor is None
    assert [job.id for job in catalog.jobs.page(asset_id="a1").items] == [ids[3], ids[1]]
    claimed(catalog)
    assert [job.id for job in catalog.jobs.page(state="running").items] == [ids[0]]
    for bad in ({"state": "lost"}, {"limit": 0}, {"cursor": "?"}, {"cursor": "YXNzZXRzOjE"}):
        with pytest.raises(Problem, match="bad_request"):
            catalog.jobs.page(**bad)


def test_an_adaptation_is_queued_once_for_each_preset(catalog: Catalog) -> None:
    catalog.assets.add(picture())
    assert catalog.assets.get("a").stages["adapt"] == Stage("skipped")
    job, new = catalog.jobs.adapt("a", "web")
    assert (new, job.kind, job.asset_id, job.payload) == (True, "adapt", "a", {"preset": "web"})
    assert catalog.assets.get("a").stages["adapt"] == Stage("pending")
    assert catalog.jobs.adapt("a", "web") == (job, False)
    other, new = catalog.jobs.adapt("a", "360", "key")
    assert (new, other.id == job.id) == (True, False)
    assert catalog.jobs.adapt("a", "360", "key") == (other, False)
    catalog.assets.add(picture("b"))
    catalog.jobs.add("process", "b", idempotency_key="another")
    for given, code in (
        (("a", "web", "key"), "conflict"),
        (("b", "360", "key"), "conflict"),
        (("b", "web", "another"), "conflict"),
        (("b", "web", "\x00"), "bad_request"),
    ):
        with pytest.raises(Problem) as told:
            catalog.jobs.adapt(*given)
        assert told.value.code == code
    held = catalog.jobs.claim("w", 30, kinds=("adapt",))
    assert held is not None
    again, new = catalog.jobs.adapt("a", "web")
    assert (again.id, again.state, new) == (job.id, "running", False)
    catalog.jobs.set_stage(held, "adapt", "ready")
    catalog.jobs.finish(held)
    third, new = catalog.jobs.adapt("a", "web")
    assert (third.id == job.id, new) == (False, True)
    with pytest.raises(Problem) as told:
        catalog.jobs.adapt("nobody", "web")
    assert told.value.code == "not_found"


def test_an_adaptation_that_dies_fails_its_stage_and_no_other(catalog: Catalog, clock: Clock) -> None:
    catalog.assets.add(picture())
    job, _ = catalog.jobs.adapt("a", "web")
    assert catalog.jobs.cancel(job.id).state == "cancelled"
    assert catalog.assets.get("a").stages["adapt"] == Stage("failed", "cancelled")
    catalog.jobs.adapt("a", "web")
    for _ in range(2):
        assert catalog.jobs.claim("w", 30, kinds=("adapt",), max_attempts=2)
        clock.move(31)
    assert catalog.jobs.claim("w", 30, kinds=("adapt",), max_attempts=2) is None
    asset = catalog.assets.get("a")
    assert asset.stages["adapt"].state == "failed"
    assert "2 attempts" in (asset.stages["adapt"].error or "")
    assert (asset.state, asset.stages["annotate"]) == ("processing", Stage("pending"))
