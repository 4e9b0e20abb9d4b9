"""Everything at once, from many threads: no deadlock gets out, and what the tables say still fits together."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

from catalog_samples import REVISION, picture, posted, sha, vector
from sqlalchemy import text

from serve_app.catalog import Catalog, Key, LeaseLostError, Moment, Tag
from serve_app.errors import Problem

STRAY = """SELECT count(*) FROM vectors v WHERE data IS NOT NULL AND NOT EXISTS (SELECT 1
    FROM contents c WHERE c.owner = v.owner AND c.modality = v.modality AND c.sha256 = v.sha256)"""
DISAGREEING = """SELECT count(*) FROM assets a WHERE (state = 'ready') <> (2 = (SELECT count(*) FROM stages s
    WHERE s.asset_id = a.id AND s.stage IN ('annotate', 'index') AND s.state IN ('ready', 'skipped')))"""
STRANDED = """SELECT count(*) FROM assets a WHERE state = 'processing' AND NOT EXISTS
    (SELECT 1 FROM jobs j WHERE j.asset_id = a.id AND j.state IN ('queued', 'running'))"""
ORPHANED = """SELECT count(*) FROM jobs j WHERE state IN ('queued', 'running')
    AND NOT EXISTS (SELECT 1 FROM assets a WHERE a.id = j.asset_id)"""


def live_a_while(catalog: Catalog, seed: int) -> set[str]:  # noqa: C901
    """Do 60 random things to eight ids; gives the codes of the problems met."""
    dice = random.Random(seed)
    met: set[str] = set()
    for _ in range(60):
        asset_id, data = f"a{dice.randrange(8)}", f"d{dice.randrange(3)}"
        try:
            match dice.randrange(8):
                case 0:
                    catalog.assets.add(picture(asset_id, data=data, description="words"))
                case 1:
                    catalog.contents.add(posted(asset_id, data=data), vector(1), REVISION)
                case 2:
                    catalog.vectors.put("anna", "image", sha(data), REVISION, vector(1))
                case 3:
                    process(catalog, f"w{seed}", dice.choice([None, "broken"]))
                case 4:
                    catalog.assets.delete(asset_id)
                case 5:
                    catalog.annotations.put(asset_id, "object_detection", {}, [Tag("object", data)])
                case 6:
                    cut(catalog, asset_id, dice.randrange(3))
                case 7:
                    cancel(catalog, asset_id)
        except Problem as problem:
            met.add(problem.code)
    return met


def cancel(catalog: Catalog, asset_id: str) -> None:
    for job in catalog.jobs.page(asset_id=asset_id, limit=1).items:
        catalog.jobs.cancel(job.id)


def cut(catalog: Catalog, asset_id: str, pieces: int) -> None:
    moments = [Moment(part, part + 1, 9 * part, 9 * part + 9) for part in range(pieces)]
    contents = catalog.contents.put_moments(asset_id, moments)
    contents += catalog.contents.put_views(asset_id, [f"{part}" for part in range(2 * pieces)])
    keys = [Key(content.owner, content.modality, content.sha256) for content in contents]
    catalog.vectors.put_many([(key, vector(2)) for key in keys], REVISION)


def process(catalog: Catalog, worker: str, error: str | None) -> None:
    job = catalog.jobs.claim(worker, 60)
    if job is None or job.asset_id is None:
        return
    try:
        for stage in ("annotate", "index"):
            catalog.jobs.set_stage(job, stage, "ready")
            catalog.jobs.renew(job, 60, 0.5)
        catalog.jobs.finish(job, error)
    except LeaseLostError:
        assert catalog.jobs.get(job.id).state == "cancelled"


def test_random_lives_side_by_side_leave_a_consistent_catalog(url: str) -> None:
    catalog = Catalog.open(url)
    with ThreadPoolExecutor(4) as pool:
        met = set().union(*pool.map(lambda seed: live_a_while(catalog, seed), range(4)))
    assert met <= {"conflict", "not_found"}
    with catalog._database.read() as connection:
        counts = [connection.execute(text(query)).scalar() for query in (STRAY, DISAGREEING, ORPHANED, STRANDED)]
        seqs = connection.execute(text("SELECT max(seq) FROM vectors")).scalar()
    assert counts == [0, 0, 0, 0]
    assert 0 < seqs <= catalog.vectors.head()
    catalog.close()
