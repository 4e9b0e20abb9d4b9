"""Whether the catalog is whole: every content has its vector or an explanation, and every file its row.

What is being written while the doctor looks may show as missing; what is wrong still shows when it looks again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from sqlalchemy import Connection, Select, and_, case, exists, func, or_, select

from serve_app.catalog.engine import Clock, Database
from serve_app.catalog.file_check import StoredFiles, compare
from serve_app.catalog.files import Files
from serve_app.catalog.job_rows import INDEX_KINDS, enqueue_many
from serve_app.catalog.rows import Modality
from serve_app.catalog.schema import assets, contents, jobs, stages, vectors
from serve_app.catalog.vector_rows import IDS_A_QUERY, chunks, empty, live, same_key

SHOWN = 100
"""Of what is wrong, so many ids are told."""
YOUNG_S = 3600.0
"""Age of a file from which on its row no longer comes."""
MODALITIES: tuple[Modality, ...] = get_args(Modality)
OWN = ("text", "image")
"""Kinds of assets that are a content of their own modality from the first."""


@dataclass(frozen=True)
class Line:
    """One modality and revision. ``keys`` = ``vectors`` + ``processing`` + ``explained_failures`` + ``unexplained``,
    all counted in distinct contents of an owner; ``orphans`` are vectors besides."""

    modality: Modality
    revision: str
    contents: int
    keys: int
    vectors: int
    processing: int
    """Without a vector, but an asset is still worked on or has a job."""
    explained_failures: int
    """Without a vector, and the assets say why."""
    unexplained: int
    unexplained_ids: tuple[str, ...]
    orphans: int
    """Live vectors to which no content refers."""


@dataclass(frozen=True)
class Repaired:
    """Jobs that were queued, and vectors that were emptied."""

    queued: int
    emptied: int


class Doctor:
    """Looks at a whole catalog, in queries that each read an index or a table once."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def report(self, revision: str, modalities: Collection[Modality] = MODALITIES) -> list[Line]:
        """A line for each of ``modalities``, of the vectors of ``revision``."""
        with self._database.snapshot() as connection:
            return [_line(connection, revision, modality) for modality in modalities]

    def without_contents(self) -> list[str]:
        """At most 100 assets that have no content, or not the one that they should have."""
        a, c = assets.c, contents.c
        own = exists().where(c.asset_id == a.id, c.modality == a.kind)
        described = exists().where(c.asset_id == a.id, c.modality == "text")
        indexed = exists().where(stages.c.asset_id == a.id, stages.c.stage == "index", stages.c.state == "ready")
        parts = exists().where(c.asset_id == a.id, c.modality.in_(("video", "shape3d")))
        wrong = or_(
            and_(a.kind.in_(OWN), ~own),
            and_(a.kind != "text", a.description.is_not(None), ~described),
            and_(a.kind.in_(INDEX_KINDS), indexed, ~parts),
        )
        with self._database.read() as connection:
            return list(connection.execute(select(a.id).where(wrong).order_by(a.ordinal).limit(SHOWN)).scalars())

    def files(self, files: Files, young_s: float = YOUNG_S) -> StoredFiles:
        """How the files that are stored and those that rows name fit together.

        A file without a row counts once it is older than ``young_s`` seconds: until then its row may come.
        """
        return compare(self._database, files, datetime.now(UTC) - timedelta(seconds=young_s))

    def repair(self, revision: str, modalities: Collection[Modality] = MODALITIES) -> Repaired:
        """Queue jobs that make the vectors whose absence nothing explains, and empty those that nobody refers to."""

        def work(connection: Connection) -> Repaired:
            unexplained: set[str] = set()
            for modality in modalities:
                lacking = _lacking(revision, modality).subquery()
                unexplained.update(connection.execute(select(lacking.c.id).where(lacking.c.why == _NOTHING)).scalars())
            wanted: list[tuple[str, str | None]] = []
            for some in chunks(sorted(unexplained), IDS_A_QUERY):
                rows = connection.execute(select(assets.c.id, assets.c.kind).where(assets.c.id.in_(some)))
                wanted += [(INDEX_KINDS.get(kind, "index"), id) for id, kind in rows]
            if wanted:
                enqueue_many(connection, wanted, self._clock())
            orphans = [vid for each in modalities for (vid,) in connection.execute(_orphans(revision, each))]
            empty(connection, orphans)
            return Repaired(len(wanted), len(orphans))

        return self._database.write(work, ordered=True)


_NOTHING, _FAILURE, _WORK = range(3)
"""Why a content has no vector, the best reason last."""


def _line(connection: Connection, revision: str, modality: Modality) -> Line:
    c = contents.c
    here = c.modality == modality
    counted = connection.execute(select(func.count()).select_from(contents).where(here)).scalar_one()
    distinct = select(c.owner, c.sha256).where(here).distinct().subquery()
    keys = connection.execute(select(func.count()).select_from(distinct)).scalar_one()
    lacking = _lacking(revision, modality).subquery()
    reasons = connection.execute(select(lacking.c.why, func.count()).group_by(lacking.c.why)).all()
    why = {int(reason): int(count) for reason, count in reasons}
    nothing = select(lacking.c.id).where(lacking.c.why == _NOTHING).order_by(lacking.c.id).limit(SHOWN)
    ids = tuple(connection.execute(nothing).scalars()) if why.get(_NOTHING) else ()
    orphans = connection.execute(select(func.count()).select_from(_orphans(revision, modality).subquery())).scalar_one()
    return Line(
        modality, revision, counted, keys, keys - sum(why.values()), why.get(_WORK, 0), why.get(_FAILURE, 0),
        why.get(_NOTHING, 0), ids, orphans,
    )  # fmt: skip


def _lacking(revision: str, modality: Modality) -> Select[tuple[str, int]]:
    """An asset of each content without a vector, and the best reason that any of its assets has."""
    c = contents.c
    waits = exists().where(jobs.c.asset_id == assets.c.id, jobs.c.state.in_(("queued", "running")))
    failed = exists().where(
        stages.c.asset_id == assets.c.id, stages.c.stage == "index", stages.c.state == "failed", stages.c.error != ""
    )
    why = case((or_(assets.c.state == "processing", waits), _WORK), (or_(assets.c.state == "failed", failed), _FAILURE))
    query = select(func.min(assets.c.id).label("id"), func.max(func.coalesce(why, _NOTHING)).label("why"))
    query = query.select_from(contents.join(assets, assets.c.id == c.asset_id))
    return query.where(c.modality == modality, ~exists().where(same_key(), live(revision))).group_by(c.owner, c.sha256)


def _orphans(revision: str, modality: Modality) -> Select[Any]:
    here = and_(live(revision), vectors.c.modality == modality)
    return select(vectors.c.vid).where(here, ~exists().where(same_key()).correlate(vectors))
