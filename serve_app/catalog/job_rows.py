"""Jobs as rows of one transaction: queued, held, brought to an end with the stages of their assets."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, insert, or_, select, update

from serve_app.catalog.asset_rows import missing
from serve_app.catalog.checks import clean_error, validate_id
from serve_app.catalog.locks import lock_assets
from serve_app.catalog.rows import Claim, Job, StageName, StageState
from serve_app.catalog.schema import assets, jobs
from serve_app.catalog.stages import fail_unfinished, write_stages, write_stages_of_many
from serve_app.errors import Problem

STAGED = ("process", "index", "process_video", "index_video", "process_shape3d", "index_shape3d")
"""Kinds of jobs that move an asset's stages."""
INDEX_KINDS = {"video": "index_video", "video360": "index_video", "shape3d": "index_shape3d"}
"""Which job makes the vectors of an asset; of all other kinds ``index``."""
ADAPT = "adapt"
"""Makes the streams of an asset that its payload's ``preset`` names."""


class LeaseLostError(Exception):
    """The job is no longer this worker's: cancelled, or its lease ran out and another took it. Stop working on it."""


@dataclass(frozen=True)
class Ended:
    """A job that its worker is done with: why it failed, if it did, and the stages of its asset that have ended."""

    job: Job
    error: str | None = None
    stages: Mapping[StageName, StageState] = field(default_factory=dict)


def enqueue(
    connection: Connection,
    kind: str,
    asset_id: str | None,
    payload: Mapping[str, Any],
    now: datetime,
    idempotency_key: str | None = None,
) -> str:
    """Insert a queued job and give its id."""
    job_id = uuid.uuid4().hex
    row = {"id": job_id, "kind": kind, "asset_id": asset_id, "payload": dict(payload), "created_at": now}
    fresh = {"state": "queued", "attempts": 0, "progress": 0.0, "idempotency_key": idempotency_key}
    connection.execute(insert(jobs).values(row | fresh))
    return job_id


def owe(connection: Connection, asset_id: str, now: datetime) -> None:
    """Queue the job that makes the vectors of an asset, unless one waits; its stage ``index`` is open until then."""
    kind = connection.execute(select(assets.c.kind).where(assets.c.id == asset_id)).scalar()
    if kind is None:
        return
    wanted = INDEX_KINDS.get(kind, "index")
    # One that runs may have looked already.
    if first(connection, and_(jobs.c.asset_id == asset_id, jobs.c.kind == wanted, jobs.c.state == "queued")) is None:
        enqueue(connection, wanted, asset_id, {}, now)
    write_stages(connection, asset_id, {"index": "pending"})


def enqueue_many(connection: Connection, wanted: Sequence[tuple[str, str | None]], now: datetime) -> None:
    """Insert queued jobs, a kind and an asset each."""
    fresh = {"payload": {}, "created_at": now, "state": "queued", "attempts": 0, "progress": 0.0}
    rows = [fresh | {"id": uuid.uuid4().hex, "kind": kind, "asset_id": asset_id} for kind, asset_id in wanted]
    connection.execute(insert(jobs), rows)


def adapt(
    connection: Connection, asset_id: str, preset: str, now: datetime, idempotency_key: str | None
) -> tuple[str, bool]:
    """Queue the adaptation of an asset, unless the same waits or runs; the job's id, and whether it is new."""
    if not lock_assets(connection, [asset_id]):
        raise missing(asset_id)
    of_asset = and_(jobs.c.asset_id == asset_id, jobs.c.kind == ADAPT, jobs.c.state.in_(["queued", "running"]))
    for row in connection.execute(select(jobs.c.id, jobs.c.payload).where(of_asset)):
        if row.payload == {"preset": preset}:
            return str(row.id), False
    write_stages(connection, asset_id, {"adapt": "pending"})
    return enqueue(connection, ADAPT, asset_id, {"preset": preset}, now, idempotency_key), True


def end_many(connection: Connection, ended: Sequence[Ended], now: datetime) -> list[Job | LeaseLostError]:
    """End what is still held, and its stages; of all others their own LeaseLostError.

    As many statements for many that succeeded as for one. All jobs are locked first, then all assets, in one order.
    """
    claims = held_claims(connection, [one.job for one in ended], lock=True)
    kept = [one for one in ended if one.job.claim in claims]
    lock_assets(connection, [one.job.asset_id for one in kept if one.job.asset_id is not None])
    outcomes = _succeed(connection, [one for one in kept if one.error is None], now)
    outcomes |= {one.job.claim: _fail(connection, one, now) for one in kept if one.error is not None}
    return [outcomes.get(one.job.claim) or lost(one.job) for one in ended]


def held_claims(connection: Connection, some: Sequence[Job], *, lock: bool = False) -> set[Claim]:
    """Those of the claims that still hold their jobs, which stay so to the end of the transaction by ``lock``."""
    query = select(jobs.c.id, jobs.c.attempts).where(or_(*map(is_held, some))).order_by(jobs.c.number)
    rows = connection.execute(query.with_for_update() if lock else query)
    return {(row.id, row.attempts) for row in rows}


def _succeed(connection: Connection, ended: Sequence[Ended], now: datetime) -> dict[Claim, Job]:
    if not ended:
        return {}
    values = {"state": "succeeded", "progress": 1.0, "lease_until": None, "finished_at": now}
    done = update(jobs).where(jobs.c.id.in_([one.job.id for one in ended])).values(values).returning(jobs)
    outcomes = {each.claim: each for each in map(job_of, connection.execute(done))}
    stages: dict[str, dict[StageName, StageState]] = defaultdict(dict)
    for one in ended:
        if one.job.asset_id is not None:
            stages[one.job.asset_id] |= one.stages
    write_stages_of_many(connection, stages)
    return outcomes


def _fail(connection: Connection, ended: Ended, now: datetime) -> Job:
    job, message = ended.job, clean_error(ended.error)
    values = {"state": "failed", "error": message, "lease_until": None, "finished_at": now}
    failed = update_held(connection, job, values)
    if ended.stages and job.asset_id is not None:
        write_stages(connection, job.asset_id, ended.stages)
    fail_stages(connection, failed, str(message))
    return failed


def cancel_of_asset(connection: Connection, asset_id: str, now: datetime) -> None:
    """Cancel the jobs of an asset that is about to go, so its stages are let be."""
    cancel(connection, jobs.c.asset_id == asset_id, now)


def cancel(connection: Connection, which: ColumnElement[bool], now: datetime) -> list[Job]:
    values = {"state": "cancelled", "finished_at": now, "lease_until": None}
    running = jobs.c.state.in_(["queued", "running"])
    cancelled = update(jobs).where(which, running).values(values).returning(jobs)
    return list(map(job_of, connection.execute(cancelled)))


def of_kinds(kinds: Sequence[str] | None) -> list[ColumnElement[bool]]:
    return [] if kinds is None else [jobs.c.kind.in_(kinds)]


def expired(now: datetime) -> ColumnElement[bool]:
    return and_(jobs.c.state == "running", jobs.c.lease_until < now)


def fail_exhausted(connection: Connection, now: datetime, kinds: Sequence[str] | None, max_attempts: int) -> None:
    spent = select(jobs.c.number).where(expired(now), jobs.c.attempts >= max_attempts, *of_kinds(kinds))
    numbers = connection.execute(spent.with_for_update(skip_locked=True)).scalars().all()
    reason = f"given up after {max_attempts} attempts: each time the worker stopped answering"
    values = {"state": "failed", "error": reason, "lease_until": None, "finished_at": now}
    for number in numbers:
        row = connection.execute(update(jobs).where(jobs.c.number == number).values(values).returning(jobs)).one()
        fail_stages(connection, job_of(row), reason)


def fail_stages(connection: Connection, job: Job, reason: str) -> None:
    if job.asset_id is None:
        return
    if job.kind in STAGED:
        fail_unfinished(connection, job.asset_id, reason)
    if job.kind == ADAPT:
        write_stages(connection, job.asset_id, {"adapt": "failed"}, reason)


def update_held(connection: Connection, job: Job, values: Mapping[str, Any]) -> Job:
    row = connection.execute(update(jobs).where(is_held(job)).values(values).returning(jobs)).first()
    if row is None:
        raise lost(job)
    return job_of(row)


def is_held(job: Job) -> ColumnElement[bool]:
    claim = and_(jobs.c.worker == job.worker, jobs.c.attempts == job.attempts)
    return and_(jobs.c.id == job.id, jobs.c.state == "running", claim)


def lost(job: Job) -> LeaseLostError:
    return LeaseLostError(f"job {job.id} is no longer held by {job.worker}")


def first(connection: Connection, which: ColumnElement[bool]) -> Job | None:
    row = connection.execute(select(jobs).where(which)).first()
    return None if row is None else job_of(row)


def load(connection: Connection, job_id: str) -> Job:
    found = first(connection, jobs.c.id == job_id)
    if found is None:
        raise missing_job(job_id)
    return found


def job_of(row: Row[Any]) -> Job:
    values = {name: value for name, value in row._mapping.items() if name != "idempotency_key"}
    return Job(**values | {"progress": float(row.progress)})  # SQLite gives 0 for 0.0


def known_id(job_id: str) -> None:
    try:
        validate_id(job_id)
    except Problem as problem:
        raise missing_job(job_id) from problem


def missing_job(job_id: str) -> Problem:
    return Problem("not_found", f"there is no job {job_id[:128]!r}")
