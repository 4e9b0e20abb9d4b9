"""``/v1/index``: what is searched, another model in its place, and whether it is whole."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from serve_app.errors import Problem
from serve_app.wire.index_schemas import Diagnosis, Index, Reindex, Rollback
from serve_app.wire.ports import IndexPort
from serve_app.wire.routing import Behind, problem_docs, reply
from serve_app.wire.schemas import Job

router = APIRouter(prefix="/v1/index", tags=["operations"])


async def port(behind: Behind) -> IndexPort:
    if behind.index is None:
        raise Problem("unavailable", "this service has no index")
    return behind.index


IndexOf = Annotated[IndexPort, Depends(port)]


@router.get("", response_model=Index)
async def get_index(index: IndexOf) -> Response:
    """What is served, wanted and was served before, how many vectors are there and missing, and every shard."""
    return reply(await index.status())


@router.post("/reindex", status_code=202, response_model=Job, responses=problem_docs(400, 404, 422, 503))
async def reindex(body: Reindex, index: IndexOf) -> Response:
    """Serve another model: a job embeds everything with it while the present one goes on serving, then switches."""
    return _accepted(await index.reindex(body.model))


@router.post("/rollback", status_code=202, response_model=Job, responses=problem_docs(400, 404, 409, 503))
async def rollback(index: IndexOf, body: Rollback | None = None) -> Response:
    """Serve what was served before the last switch; a job makes up for what it lacks, then switches."""
    task = body.task if body is not None else "cross_modal_embedding"
    return _accepted(await index.rollback(task))


@router.get("/doctor", response_model=Diagnosis)
async def examine(
    index: IndexOf,
    files: bool = Query(False, description="compare the rows with the stored files too; takes minutes a million"),
) -> Response:
    """Whether every content has its vectors, or an explanation."""
    return reply(await index.examine(files))


@router.post("/doctor", status_code=202, response_model=Diagnosis)
async def repair(index: IndexOf) -> Response:
    """Queue what mends the index; gives what was wrong."""
    return reply(await index.repair(), 202)


def _accepted(job: Job) -> Response:
    return reply(job, 202, {"Location": f"/v1/jobs/{quote(job.id)}"})
