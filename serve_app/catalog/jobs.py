"""Jobs as rows: claimed under a lease, renewed, finished; a worker that dies loses its lease and another goes on.

Lease times come from the catalog's clock, so hosts that share a Postgres must agree on the time to well within a
lease.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, exists, insert, or_, select, update

from serve_app.catalog.asset_rows import lock_assets, missing
from serve_app.catalog.checks import clean_error, validate_id, validate_limit
from serve_app.catalog.cursors import decode_cursor, encode_cursor
from serve_app.catalog.engine import Clock, Database
from serve_app.catalog.rows import JOB_STATES, Job, JobState, Page, StageName, StageState
from serve_app.catalog.schema import assets, jobs
from serve_app.catalog.stages import fail_unfinished, write_stages, write_stages_of_many
from serve_app.errors import Problem

STAGED = ("process", "index", "process_video", "index_video", "process_shape3d", "index_shape3d")
"""Kinds of jobs that move an asset's stages."""
INDEX_KINDS = {"video": "index_video", "video360": "index_video", "shape3d": "index_shape3d"}
"""Which job makes the vectors of an asset; of all other kinds ``index``."""


class LeaseLostError(Exception):
    """The job is no longer this worker's: cancelled, or its lease ran out and another took it. Stop working on it."""


@dataclass(frozen=True)
class Ended:
    """A job that its worker is done with: why it failed, if it did, and the stages of its asset that have ended."""

    job: Job
    error: str | None = None
    stages: Mapping[StageName, StageState] = field(default_factory=dict)


class Jobs:
    """The jobs of one catalog. Every method may be called from any thread."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(
        self,
        kind: str,
        asset_id: str | None = None,
        payload: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> tuple[Job, bool]:
        """Queue a job; the same ``idempotency_key`` gives the job that is there, and False."""
        if idempotency_key is not None:
            validate_id(idempotency_key, "idempotency key")

        def work(connection: Connection) -> tuple[Job, bool]:
            if idempotency_key is not None:
                found = _first(connection, jobs.c.idempotency_key == idempotency_key)
                if found is not None:
                    return found, False
            job_id = enqueue(connection, kind, asset_id, payload or {}, self._clock(), idempotency_key)
            return _load(connection, job_id), True

        return self._database.write(work, ordered=True)

    def owe(self, asset_id: str) -> None:
        """Queue the job that makes the vectors that an asset lacks; nothing where there is no such asset."""
        self._database.write(lambda connection: owe(connection, asset_id, self._clock()), ordered=True)

    def get(self, job_id: str) -> Job:
        """The job, or Problem("not_found")."""
        _known_id(job_id)
        with self._database.read() as connection:
            return _load(connection, job_id)

    def held(self, job: Job) -> bool:
        """Whether ``job`` is still in the hands of the worker that claimed it: one cheap read."""
        mine = and_(_held(job), jobs.c.lease_until >= self._clock())
        with self._database.read() as connection:
            return bool(connection.execute(select(exists().where(mine))).scalar_one())

    def held_of(self, some: Sequence[Job]) -> list[Job]:
        """Those that are still held by the claim that gave them: one read."""
        if not some:
            return []
        query = select(jobs.c.id, jobs.c.attempts).where(or_(*map(_held, some)))
        with self._database.read() as connection:
            held = {(row.id, row.attempts) for row in connection.execute(query)}
        return [job for job in some if (job.id, job.attempts) in held]

    def renew_many(self, some: Sequence[Job], lease_s: float) -> None:
        """Hold for another ``lease_s`` seconds those that are still held, in one transaction."""
        lease = self._clock() + timedelta(seconds=lease_s)
        renewed = update(jobs).where(or_(*map(_held, some))).values(lease_until=lease)
        if some:
            self._database.write(lambda connection: connection.execute(renewed))

    def state(self, job_id: str) -> JobState:
        """The state alone, for who looks often whether a job was cancelled; Problem("not_found")."""
        _known_id(job_id)
        with self._database.read() as connection:
            state: JobState | None = connection.execute(select(jobs.c.state).where(jobs.c.id == job_id)).scalar()
        if state is None:
            raise _missing(job_id)
        return state

    def page(
        self,
        *,
        state: str | None = None,
        asset_id: str | None = None,
        kind: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Job]:
        """Jobs, newest first; Problem("bad_request") for a bad state, limit or cursor."""
        query = select(jobs).order_by(jobs.c.number.desc()).limit(validate_limit(limit) + 1)
        if state is not None:
            if state not in JOB_STATES:
                raise Problem("bad_request", f"state is one of {', '.join(JOB_STATES)}")
            query = query.where(jobs.c.state == state)
        if asset_id is not None:
            query = query.where(jobs.c.asset_id == validate_id(asset_id))
        if kind is not None:
            query = query.where(jobs.c.kind == kind)
        if cursor is not None:
            query = query.where(jobs.c.number < decode_cursor("jobs", cursor))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        more = encode_cursor("jobs", rows[limit - 1].number) if len(rows) > limit else None
        return Page(tuple(_job(row) for row in rows[:limit]), more)

    def claim(
        self, worker: str, lease_s: float, *, kinds: Sequence[str] | None = None, max_attempts: int = 3
    ) -> Job | None:
        """Take the oldest job that is queued or whose lease ran out, for ``lease_s`` seconds; None if there is none.

        No two workers ever get the same claim. A job whose ``max_attempts`` claims all ran out fails with a reason.
        """

        found = self.claim_many(worker, lease_s, 1, kinds=kinds, max_attempts=max_attempts)
        return found[0] if found else None

    def claim_many(
        self, worker: str, lease_s: float, limit: int, *, kinds: Sequence[str] | None = None, max_attempts: int = 3
    ) -> list[Job]:
        """Like ``claim``, at most ``limit`` jobs in one transaction, the oldest first."""

        def work(connection: Connection) -> list[Job]:
            now = self._clock()
            _fail_exhausted(connection, now, kinds, max_attempts)
            ready = or_(jobs.c.state == "queued", _expired(now))
            query = select(jobs.c.number).where(ready, *_of_kinds(kinds)).order_by(jobs.c.number).limit(limit)
            numbers = connection.execute(query.with_for_update(skip_locked=True)).scalars().all()
            lease = now + timedelta(seconds=lease_s)
            taken = {"state": "running", "worker": worker, "lease_until": lease, "attempts": jobs.c.attempts + 1}
            taken |= {"progress": 0.0, "detail": None}  # an attempt begins from the start
            claimed = update(jobs).where(jobs.c.number.in_(numbers)).values(taken).returning(jobs)
            return sorted(map(_job, connection.execute(claimed)), key=lambda job: job.number)

        if limit < 1 or not self._anything_to_do(kinds):
            return []
        return self._database.write(work)

    def _anything_to_do(self, kinds: Sequence[str] | None) -> bool:
        # An idle runner polls; a look without the write lock keeps it out of everybody's way.
        ready = or_(jobs.c.state == "queued", _expired(self._clock()))
        with self._database.read() as connection:
            return bool(connection.execute(select(exists().where(ready, *_of_kinds(kinds)))).scalar_one())

    def renew(
        self,
        job: Job,
        lease_s: float,
        progress: float | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> Job:
        """Hold the job for another ``lease_s`` seconds; LeaseLostError if it is lost.

        Progress in [0, 1] and its detail (plain JSON without NaN) are recorded; what is None stays as it was.
        """
        values: dict[str, Any] = {"lease_until": self._clock() + timedelta(seconds=lease_s)}
        if progress is not None:
            values["progress"] = min(max(progress, 0.0), 1.0)
        if detail is not None:
            values["detail"] = dict(detail)
        return self._database.write(lambda connection: _update_held(connection, job, values))

    def finish(self, job: Job, error: str | None = None) -> Job:
        """End the job: succeeded, or failed with ``error``; LeaseLostError when it is no longer this worker's.

        When a ``process`` or ``index`` job fails, the stages it left unfinished fail with it.
        """
        (outcome,) = self.finish_many([Ended(job, error)])
        if isinstance(outcome, LeaseLostError):
            raise outcome
        return outcome

    def finish_many(self, ended: Sequence[Ended]) -> list[Job | LeaseLostError]:
        """Like ``finish`` for each, with the stages they have brought to an end, in one transaction.

        For a job that is no longer its worker's its own LeaseLostError, which takes nothing from the others.
        """

        def work(connection: Connection) -> list[Job | LeaseLostError]:
            now = self._clock()
            outcomes = _succeed(connection, [one for one in ended if one.error is None], now)
            # In one order, whoever ends which jobs together: they are locked one after the other.
            for one in sorted(ended, key=lambda one: one.job.number):
                if one.error is not None:
                    outcomes[one.job.id] = _fail(connection, one, now)
            return [outcomes[one.job.id] for one in ended]

        return self._database.write(work) if ended else []

    def set_stage(self, job: Job, stage: StageName, state: StageState, error: str | None = None) -> None:
        """Record how far the job's worker has brought a stage of its asset; LeaseLostError when the job is lost.

        So a worker that learns late of a cancellation or of a lost lease cannot set a stage "running" that nobody ends.
        Raises Problem("not_found") when the asset is gone.
        """
        asset_id = job.asset_id
        if asset_id is None:
            raise ValueError(f"job {job.id} has no asset")
        message = clean_error(error)

        def work(connection: Connection) -> None:
            # Jobs before assets, as everywhere; the lock keeps a cancellation out until the stage is written.
            if connection.execute(select(jobs.c.number).where(_held(job)).with_for_update()).first() is None:
                raise _lost(job)
            if not write_stages(connection, asset_id, {stage: state}, message):
                raise missing(asset_id)

        self._database.write(work)

    def release(self, job: Job) -> Job:
        """Give a claimed job back to the queue, as a worker does that is told to stop; this claim is not counted."""
        values = {"state": "queued", "worker": None, "lease_until": None, "attempts": job.attempts - 1}
        return self._database.write(lambda connection: _update_held(connection, job, values))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not ended; one that has stays as it is. Its worker learns it by ``state`` or ``renew``.

        The stages that a ``process`` or ``index`` job left unfinished fail as "cancelled". Raises Problem("not_found").
        """
        _known_id(job_id)

        def work(connection: Connection) -> Job:
            for cancelled in _cancel(connection, jobs.c.id == job_id, self._clock()):
                _fail_stages(connection, cancelled, "cancelled")
            return _load(connection, job_id)

        return self._database.write(work)


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
    if _first(connection, and_(jobs.c.asset_id == asset_id, jobs.c.kind == wanted, jobs.c.state == "queued")) is None:
        enqueue(connection, wanted, asset_id, {}, now)
    write_stages(connection, asset_id, {"index": "pending"})


def enqueue_many(connection: Connection, wanted: Sequence[tuple[str, str | None]], now: datetime) -> None:
    """Insert queued jobs, a kind and an asset each."""
    fresh = {"payload": {}, "created_at": now, "state": "queued", "attempts": 0, "progress": 0.0}
    rows = [fresh | {"id": uuid.uuid4().hex, "kind": kind, "asset_id": asset_id} for kind, asset_id in wanted]
    connection.execute(insert(jobs), rows)


def _succeed(connection: Connection, ended: Sequence[Ended], now: datetime) -> dict[str, Job | LeaseLostError]:
    """By job; as many statements for many as for one."""
    outcomes: dict[str, Job | LeaseLostError] = {one.job.id: _lost(one.job) for one in ended}
    if not ended:
        return outcomes
    held = select(jobs.c.id).where(or_(*(_held(one.job) for one in ended))).order_by(jobs.c.number).with_for_update()
    ids = connection.execute(held).scalars().all()
    values = {"state": "succeeded", "progress": 1.0, "lease_until": None, "finished_at": now}
    done = update(jobs).where(jobs.c.id.in_(ids)).values(values).returning(jobs)
    outcomes |= {row.id: _job(row) for row in connection.execute(done)}
    stages: dict[str, dict[StageName, StageState]] = defaultdict(dict)
    for one in ended:
        if one.job.asset_id is not None and not isinstance(outcomes[one.job.id], LeaseLostError):
            stages[one.job.asset_id] |= one.stages
    there = lock_assets(connection, stages)
    write_stages_of_many(connection, {asset_id: each for asset_id, each in stages.items() if asset_id in there})
    return outcomes


def _fail(connection: Connection, ended: Ended, now: datetime) -> Job | LeaseLostError:
    job, message = ended.job, clean_error(ended.error)
    values = {"state": "failed", "error": message, "lease_until": None, "finished_at": now}
    try:
        failed = _update_held(connection, job, values)
    except LeaseLostError as lost:
        return lost
    if ended.stages and job.asset_id is not None:
        write_stages(connection, job.asset_id, ended.stages)
    _fail_stages(connection, failed, str(message))
    return failed


def cancel_of_asset(connection: Connection, asset_id: str, now: datetime) -> None:
    """Cancel the jobs of an asset that is about to go, so its stages are let be."""
    _cancel(connection, jobs.c.asset_id == asset_id, now)


def _cancel(connection: Connection, which: ColumnElement[bool], now: datetime) -> list[Job]:
    values = {"state": "cancelled", "finished_at": now, "lease_until": None}
    running = jobs.c.state.in_(["queued", "running"])
    return [_job(row) for row in connection.execute(update(jobs).where(which, running).values(values).returning(jobs))]


def _of_kinds(kinds: Sequence[str] | None) -> list[ColumnElement[bool]]:
    return [] if kinds is None else [jobs.c.kind.in_(kinds)]


def _expired(now: datetime) -> ColumnElement[bool]:
    return and_(jobs.c.state == "running", jobs.c.lease_until < now)


def _fail_exhausted(connection: Connection, now: datetime, kinds: Sequence[str] | None, max_attempts: int) -> None:
    spent = select(jobs.c.number).where(_expired(now), jobs.c.attempts >= max_attempts, *_of_kinds(kinds))
    numbers = connection.execute(spent.with_for_update(skip_locked=True)).scalars().all()
    reason = f"given up after {max_attempts} attempts: each time the worker stopped answering"
    values = {"state": "failed", "error": reason, "lease_until": None, "finished_at": now}
    for number in numbers:
        row = connection.execute(update(jobs).where(jobs.c.number == number).values(values).returning(jobs)).one()
        _fail_stages(connection, _job(row), reason)


def _fail_stages(connection: Connection, job: Job, reason: str) -> None:
    if job.kind in STAGED and job.asset_id is not None:
        fail_unfinished(connection, job.asset_id, reason)


def _update_held(connection: Connection, job: Job, values: Mapping[str, Any]) -> Job:
    row = connection.execute(update(jobs).where(_held(job)).values(values).returning(jobs)).first()
    if row is None:
        raise _lost(job)
    return _job(row)


def _held(job: Job) -> ColumnElement[bool]:
    claim = and_(jobs.c.worker == job.worker, jobs.c.attempts == job.attempts)
    return and_(jobs.c.id == job.id, jobs.c.state == "running", claim)


def _lost(job: Job) -> LeaseLostError:
    return LeaseLostError(f"job {job.id} is no longer held by {job.worker}")


def _first(connection: Connection, which: ColumnElement[bool]) -> Job | None:
    row = connection.execute(select(jobs).where(which)).first()
    return None if row is None else _job(row)


def _load(connection: Connection, job_id: str) -> Job:
    found = _first(connection, jobs.c.id == job_id)
    if found is None:
        raise _missing(job_id)
    return found


def _job(row: Row[Any]) -> Job:
    values = {name: value for name, value in row._mapping.items() if name != "idempotency_key"}
    return Job(**values | {"progress": float(row.progress)})  # SQLite gives 0 for 0.0


def _known_id(job_id: str) -> None:
    try:
        validate_id(job_id)
    except Problem as problem:
        raise _missing(job_id) from problem


def _missing(job_id: str) -> Problem:
    return Problem("not_found", f"there is no job {job_id[:128]!r}")
