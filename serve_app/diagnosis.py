"""Is every content in the index? What is counted, said in words, and the job that mends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from serve_app.catalog import Catalog, Files, Job, Served
from serve_app.catalog.rows import Modality
from serve_app.wire.index_schemas import Diagnosis, FileFinding, Finding

EMBEDDED: Mapping[str, tuple[Modality, ...]] = {
    "cross_modal_embedding": ("text", "image", "video", "shape3d"),
    "text_embedding": ("text",),
}
"""The modalities of which the models of a task make vectors."""
REINDEX = "reindex"
"""The kind of the jobs that make the vectors of a model."""
OPEN = ("queued", "running")
REPAIR = "mediaverse doctor --repair"


def targets(catalog: Catalog) -> list[Served]:
    """The models of which every content needs a vector, by the catalog alone."""
    models = [found for task in EMBEDDED if (found := catalog.settings.get(task)) is not None]
    return [each for found in models for each in (found.served, found.wanted) if each is not None]


def queue(catalog: Catalog, target: Served) -> Job:
    """The job that makes the vectors of a model, and has it served where it is wanted: the open one, or a new one."""
    last = last_job(catalog, target)
    if last is not None and last.state in OPEN:
        return last
    return catalog.jobs.add(REINDEX, payload=asdict(target))[0]


def last_job(catalog: Catalog, target: Served) -> Job | None:
    """The latest job for a model; None where there was none of late."""
    jobs = catalog.jobs.page(kind=REINDEX).items
    return next((job for job in jobs if job.payload == asdict(target)), None)


def diagnose(catalog: Catalog, wanted: Sequence[Served], files: Files | None = None) -> Diagnosis:
    """What is there and what is not, of each model and modality, and of the ``files`` where they are given."""
    findings = [
        Finding.model_validate(asdict(line))
        for target in wanted
        for line in catalog.doctor.report(target.revision, EMBEDDED[target.task])
    ]
    faults = [fault for finding in findings for fault in _faults(finding)]
    if empty := catalog.doctor.without_contents():
        faults.append(f"assets without a content that search could find: {', '.join(empty)}")
    remedy = REPAIR if faults else None
    found = None if files is None else FileFinding.model_validate(asdict(catalog.doctor.files(files)))
    if found is not None and found.missing:
        faults.append(_missing(found))
    return Diagnosis(healthy=not faults, findings=findings, files=found, faults=faults, remedy=remedy)


def repair(catalog: Catalog, wanted: Sequence[Served]) -> None:
    """Queue jobs for what is missing, what failed before among it, and empty vectors that stand for nothing."""
    for target in wanted:
        catalog.doctor.repair(target.revision, EMBEDDED[target.task])
        if catalog.vectors.missing(target.revision, 1, 0, EMBEDDED[target.task]):
            queue(catalog, target)


def _missing(found: FileFinding) -> str:
    lack = "1 file is" if found.missing == 1 else f"{found.missing} files are"
    remedy = "put them back from a backup, or post or delete these assets"
    return f"{lack} named by rows and not stored; {remedy}: {', '.join(found.missing_assets)}"


def _faults(finding: Finding) -> list[str]:
    """Each thing that is wrong, as a sentence."""
    what = f"{finding.modality} by {finding.revision}"
    faults = []
    if finding.unexplained:
        lack = "content has" if finding.unexplained == 1 else "contents have"
        who = ", ".join(finding.unexplained_ids)
        faults.append(f"{what}: {finding.unexplained} {lack} neither a vector nor a reason why not: {who}")
    if finding.orphans:
        stand = "vector stands" if finding.orphans == 1 else "vectors stand"
        faults.append(f"{what}: {finding.orphans} {stand} for nothing that is stored")
    return faults
