"""Jobs as rows: claimed under a lease, renewed, finished; a worker that dies loses its lease and another goes on.

Lease times come from the catalog's clock, so hosts that share a Postgres must agree on the time to well within a
lease.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, and_, exists, or_, select, update

from serve_app.catalog import job_rows
from serve_app.catalog.asset_rows import known_id, missing
from serve_app.catalog.checks import clean_error, validate_id, validate_limit
from serve_app.catalog.cursors import decode_cursor, encode_cursor
from serve_app.catalog.engine import Clock, Database
from serve_app.catalog.job_rows import Ended, LeaseLostError, is_held, job_of
from serve_app.catalog.rows import JOB_STATES, Job, JobState, Page, StageName, StageState
from serve_app.catalog.schema import jobs
from serve_app.catalog.stages import write_stages
from serve_app.errors import Problem


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
                found = job_rows.first(connection, jobs.c.idempotency_key == idempotency_key)
                if found is not None:
                    return found, False
            job_id = job_rows.enqueue(connection, kind, asset_id, payload or {}, self._clock(), idempotency_key)
            return job_rows.load(connection, job_id), True

        return self._database.write(work, ordered=True)

    def owe(self, asset_id: str) -> None:
        """Queue the job that makes the vectors that an asset lacks; nothing where there is no such asset."""
        self._database.write(lambda connection: job_rows.owe(connection, asset_id, self._clock()), ordered=True)

    def adapt(self, asset_id: str, preset: str, idempotency_key: str | None = None) -> tuple[Job, bool]:
        """Queue the job that makes the streams ``preset`` of an asset; the one that waits or runs, and False, where
        there is one, or where ``idempotency_key`` was used for the same before.

        Raises Problem: ``not_found``, ``conflict`` for a key that was used for something else.
        """
        known_id(asset_id)
        if idempotency_key is not None:
            validate_id(idempotency_key, "idempotency key")

        def work(connection: Connection) -> tuple[Job, bool]:
            if idempotency_key is not None:
                found = job_rows.first(connection, jobs.c.idempotency_key == idempotency_key)
                if found is not None:
                    if (found.kind, found.asset_id, found.payload) != (job_rows.ADAPT, asset_id, {"preset": preset}):
                        raise Problem("conflict", "the idempotency key was used for something else")
                    return found, False
            job_id, new = job_rows.adapt(connection, asset_id, preset, self._clock(), idempotency_key)
            return job_rows.load(connection, job_id), new

        return self._database.write(work, ordered=True)

    def get(self, job_id: str) -> Job:
        """The job, or Problem("not_found")."""
        job_rows.known_id(job_id)
        with self._database.read() as connection:
            return job_rows.load(connection, job_id)

    def held(self, job: Job) -> bool:
        """Whether ``job`` is still in the hands of the worker that claimed it: one cheap read."""
        mine = and_(is_held(job), jobs.c.lease_until >= self._clock())
        with self._database.read() as connection:
            return bool(connection.execute(select(exists().where(mine))).scalar_one())

    def held_of(self, some: Sequence[Job]) -> list[Job]:
        """Those that are still held by the claim that gave them: one read."""
        if not some:
            return []
        with self._database.read() as connection:
            claims = job_rows.held_claims(connection, some)
        return [job for job in some if job.claim in claims]

    def renew_many(self, some: Sequence[Job], lease_s: float) -> None:
        """Hold for another ``lease_s`` seconds those that are still held, in one transaction."""
        lease = self._clock() + timedelta(seconds=lease_s)
        renewed = update(jobs).where(or_(*map(is_held, some))).values(lease_until=lease)
        if some:
            self._database.write(lambda connection: connection.execute(renewed))

    def state(self, job_id: str) -> JobState:
        """The state alone, for who looks often whether a job was cancelled; Problem("not_found")."""
        job_rows.known_id(job_id)
        with self._database.read() as connection:
            state: JobState | None = connection.execute(select(jobs.c.state).where(jobs.c.id == job_id)).scalar()
        if state is None:
            raise job_rows.missing_job(job_id)
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
        return Page(tuple(job_of(row) for row in rows[:limit]), more)

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
            job_rows.fail_exhausted(connection, now, kinds, max_attempts)
            ready = or_(jobs.c.state == "queued", job_rows.expired(now))
            query = select(jobs.c.number).where(ready, *job_rows.of_kinds(kinds)).order_by(jobs.c.number).limit(limit)
            numbers = connection.execute(query.with_for_update(skip_locked=True)).scalars().all()
            lease = now + timedelta(seconds=lease_s)
            taken = {"state": "running", "worker": worker, "lease_until": lease, "attempts": jobs.c.attempts + 1}
            taken |= {"progress": 0.0, "detail": None}  # an attempt begins from the start
            claimed = update(jobs).where(jobs.c.number.in_(numbers)).values(taken).returning(jobs)
            return sorted(map(job_of, connection.execute(claimed)), key=lambda job: job.number)

        if limit < 1 or not self._anything_to_do(kinds):
            return []
        return self._database.write(work)

    def _anything_to_do(self, kinds: Sequence[str] | None) -> bool:
        # An idle runner polls; a look without the write lock keeps it out of everybody's way.
        ready = or_(jobs.c.state == "queued", job_rows.expired(self._clock()))
        with self._database.read() as connection:
            return bool(connection.execute(select(exists().where(ready, *job_rows.of_kinds(kinds)))).scalar_one())

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
        return self._database.write(lambda connection: job_rows.update_held(connection, job, values))

    def finish(self, job: Job, error: str | None = None) -> Job:
        """End the job: succeeded, or failed with ``error``; LeaseLostError when it is no longer this worker's.

        When a job fails, the stages it left unfinished fail with it.
        """
        (outcome,) = self.finish_many([Ended(job, error)])
        if isinstance(outcome, LeaseLostError):
            raise outcome
        return outcome

    def finish_many(self, ended: Sequence[Ended]) -> list[Job | LeaseLostError]:
        """Like ``finish`` for each, with the stages they have brought to an end, in one transaction.

        For a job that is no longer its worker's its own LeaseLostError, which takes nothing from the others.
        """
        if not ended:
            return []
        return self._database.write(lambda connection: job_rows.end_many(connection, ended, self._clock()))

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
            if connection.execute(select(jobs.c.number).where(is_held(job)).with_for_update()).first() is None:
                raise job_rows.lost(job)
            if not write_stages(connection, asset_id, {stage: state}, message):
                raise missing(asset_id)

        self._database.write(work)

    def release(self, job: Job) -> Job:
        """Give a claimed job back to the queue, as a worker does that is told to stop; this claim is not counted."""
        values = {"state": "queued", "worker": None, "lease_until": None, "attempts": job.attempts - 1}
        return self._database.write(lambda connection: job_rows.update_held(connection, job, values))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not ended; one that has stays as it is. Its worker learns it by ``state`` or ``renew``.

        The stages that it left unfinished fail as "cancelled". Raises Problem("not_found").
        """
        job_rows.known_id(job_id)

        def work(connection: Connection) -> Job:
            for cancelled in job_rows.cancel(connection, jobs.c.id == job_id, self._clock()):
                job_rows.fail_stages(connection, cancelled, "cancelled")
            return job_rows.load(connection, job_id)

        return self._database.write(work)
