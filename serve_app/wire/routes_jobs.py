"""``/v1/jobs``: work in the background, watched and cancelled."""

from __future__ import annotations

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from serve_app.wire.routing import AtEnd, Behind, problem_docs, reply
from serve_app.wire.schemas import Job, JobPage, JobState
from serve_app.wire.streams import event_stream, events_docs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_ENDED = ("succeeded", "failed", "cancelled")
_STREAM = (
    'event: progress\ndata: {"id": "6f1c", "kind": "process", "asset_id": "a", "state": "running", "progress": 0.16, '
    '"detail": {"stage": "annotate", "frames": 1200, "expected": 7500}, "attempts": 1, '
    '"created_at": "2026-11-23T08:00:00Z"}\n\n'
    'event: end\ndata: {"id": "6f1c", "kind": "process", "asset_id": "a", "state": "succeeded", "progress": 1.0, '
    '"attempts": 1, "created_at": "2026-11-23T08:00:00Z", "finished_at": "2026-11-23T08:01:00Z"}\n\n'
)


@router.get("", response_model=JobPage, responses=problem_docs(400))
async def list_jobs(
    behind: Behind,
    state: JobState | None = None,
    asset_id: str | None = Query(None, description="of this asset only"),
    limit: int = Query(50, ge=1, le=500),
    cursor: str | None = Query(None, max_length=1024),
) -> Response:
    """Jobs, newest first, a page at a time."""
    return reply(await behind.jobs.page(state=state, asset_id=asset_id, limit=limit, cursor=cursor))


@router.get("/{id}", response_model=Job, responses=problem_docs(404))
async def get_job(id: str, behind: Behind) -> Response:
    """The job, how far it is, and why it failed where it did."""
    return reply(await behind.jobs.get(id))


@router.delete("/{id}", response_model=Job, responses=problem_docs(404))
async def cancel_job(id: str, behind: Behind) -> Response:
    """Cancel the job; what runs stops within a second. A job that has ended is answered as it is."""
    return reply(await behind.jobs.cancel(id))


@router.get(
    "/{id}/events",
    response_class=Response,
    responses=problem_docs(404) | {200: {"description": "server-sent events", "content": events_docs(_STREAM)}},
)
async def watch_job(id: str, request: Request, behind: Behind, at_end: AtEnd) -> Response:
    """The job now and at each change: events ``progress``, and ``end`` with the job as it ended."""
    return await event_stream(request, at_end, behind.jobs.events(id), _name)


def _name(job: Job) -> str:
    return "end" if job.state in _ENDED else "progress"
