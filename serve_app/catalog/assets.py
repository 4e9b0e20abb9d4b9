"""Assets: added once, processed in stages, deleted with all that hangs on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, select

from serve_app.catalog import contents, job_rows, renditions
from serve_app.catalog.additions import Addition, add_all, check
from serve_app.catalog.asset_rows import known_id, missing
from serve_app.catalog.checks import clean_error, validate_id, validate_limit, validate_text
from serve_app.catalog.cursors import decode_cursor, encode_cursor
from serve_app.catalog.engine import Clock, Database
from serve_app.catalog.filters import Filter
from serve_app.catalog.rows import KINDS, STAGES, Asset, NewAsset, Page, Stage, StageName, StageState
from serve_app.catalog.schema import assets, stages
from serve_app.catalog.stages import write_stages
from serve_app.catalog.vector_rows import IDS_A_QUERY, chunks
from serve_app.errors import Problem


class Assets:
    """The assets of one catalog. Every method may be called from any thread."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(
        self, new: NewAsset, *, idempotency_key: str | None = None, job_kind: str = "process"
    ) -> tuple[Asset, bool]:
        """Add an asset with its stages, contents and a queued job in one transaction.

        Gives the asset, and False where it was there before: the same id, owner and bytes, or the same idempotency
        key and request. Then ``new.file`` is not referred to, and the caller may delete it.
        Raises Problem("conflict") when the id has another owner or other bytes, or the key was used for another
        request; Problem("bad_request") for an id, owner or text that cannot be kept.
        """
        (outcome,) = self.add_many([Addition(new, idempotency_key, job_kind)])
        if isinstance(outcome, Problem):
            raise outcome
        return outcome

    def add_many(self, additions: Sequence[Addition]) -> list[tuple[Asset, bool] | Problem]:
        """Like ``add`` for each, in one transaction; an outcome each, in their order.

        One that ``add`` refuses is its own Problem and takes nothing from the others.
        """
        refused: dict[int, Problem] = {}
        for place, addition in enumerate(additions):
            try:
                check(addition)
            except Problem as problem:
                refused[place] = problem
        fit = [addition for place, addition in enumerate(additions) if place not in refused]

        def work(connection: Connection) -> list[tuple[Asset, bool] | Problem]:
            outcomes = add_all(connection, fit, self._clock())
            loaded = _load_many(connection, {one[0] for one in outcomes if not isinstance(one, Problem)})
            return [one if isinstance(one, Problem) else (loaded[one[0]], one[1]) for one in outcomes]

        added = iter(self._database.write(work, ordered=True) if fit else [])
        return [refused[place] if place in refused else next(added) for place in range(len(additions))]

    def get(self, asset_id: str) -> Asset:
        """The asset, or Problem("not_found")."""
        known_id(asset_id)
        with self._database.read() as connection:
            return _load(connection, asset_id)

    def get_many(self, asset_ids: Iterable[str]) -> dict[str, Asset]:
        """Those of the assets that are there, by id."""
        with self._database.read() as connection:
            return _load_many(connection, set(asset_ids))

    def page(
        self,
        *,
        owner: str | None = None,
        kind: str | None = None,
        sha256: str | None = None,
        filter: Filter | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Asset]:
        """Assets that fit all that is given, newest first; Problem("bad_request") for a bad limit, kind or cursor."""
        query = _page_query(owner, kind, sha256).limit(validate_limit(limit) + 1)
        if cursor is not None:
            query = query.where(assets.c.ordinal < decode_cursor("assets", cursor))
        with self._database.read() as connection:
            if filter is not None:
                query = query.where(filter.first_page(connection))
            rows = connection.execute(query).all()
            items = _with_stages(connection, rows[:limit])
        more = encode_cursor("assets", items[-1].ordinal) if len(rows) > limit else None
        return Page(tuple(items), more)

    def delete(self, asset_id: str) -> list[str]:
        """Delete the asset, its contents, renditions, tags and annotations, and cancel its jobs.

        Vectors that nobody shares become tombstones. Gives the files to remove now that nothing refers to them.
        Raises Problem("not_found").
        """
        known_id(asset_id)

        def work(connection: Connection) -> list[str]:
            # Jobs before assets: whoever holds a job's row and wants its asset's goes in the same order.
            job_rows.cancel_of_asset(connection, asset_id, self._clock())
            file = connection.execute(select(assets.c.file).where(assets.c.id == asset_id).with_for_update()).scalar()
            if file is None:
                raise missing(asset_id)
            files = {file, *contents.remove_of_asset(connection, asset_id)}
            files.update(renditions.remove_of_asset(connection, asset_id))
            connection.execute(delete(assets).where(assets.c.id == asset_id))
            return sorted(files)

        return self._database.write(work, ordered=True)

    def set_stage(self, asset_id: str, stage: StageName, state: StageState, error: str | None = None) -> Asset:
        """Record how far a stage has come, and derive the asset's state (:func:`~stages.derive_state`).

        Raises Problem("not_found") when the asset is gone.
        """
        known_id(asset_id)
        message = clean_error(error)

        def work(connection: Connection) -> Asset:
            write_stages(connection, asset_id, {stage: state}, message)
            return _load(connection, asset_id)

        return self._database.write(work)


def _load(connection: Connection, asset_id: str) -> Asset:
    row = connection.execute(select(assets).where(assets.c.id == asset_id)).first()
    if row is None:
        raise missing(asset_id)
    return _with_stages(connection, [row])[0]


def _load_many(connection: Connection, ids: Iterable[str]) -> dict[str, Asset]:
    found: dict[str, Asset] = {}
    for some in chunks(sorted(ids), IDS_A_QUERY):
        rows = connection.execute(select(assets).where(assets.c.id.in_(some))).all()
        found |= {asset.id: asset for asset in _with_stages(connection, rows)}
    return found


def _with_stages(connection: Connection, rows: Sequence[Row[Any]]) -> list[Asset]:
    found: dict[str, dict[StageName, Stage]] = defaultdict(dict)
    query = select(stages).where(stages.c.asset_id.in_([row.id for row in rows]))
    for row in connection.execute(query):
        found[row.asset_id][row.stage] = Stage(row.state, row.error)
    return [Asset(**row._mapping, stages={stage: found[row.id][stage] for stage in STAGES}) for row in rows]


def _page_query(owner: str | None, kind: str | None, sha256: str | None) -> Select[Any]:
    query = select(assets).order_by(assets.c.ordinal.desc())
    if kind is not None and kind not in KINDS:
        raise Problem("bad_request", f"kind is one of {', '.join(KINDS)}")
    if owner is not None:
        query = query.where(assets.c.owner == validate_id(owner, "owner"))
    if kind is not None:
        query = query.where(assets.c.kind == kind)
    if sha256 is not None:
        query = query.where(assets.c.sha256 == validate_text(sha256, "sha256"))
    return query
