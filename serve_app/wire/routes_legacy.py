"""The retrieval routes that existing nodes call, with the answers that they expect."""

from __future__ import annotations

import time
from typing import Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse

from serve_app.errors import Problem
from serve_app.wire.ports import WHOLE_BYTES
from serve_app.wire.routes_search import MAX_K
from serve_app.wire.routing import Behind, problem_docs
from serve_app.wire.uploads import read_body

router = APIRouter(
    prefix="/mv_retrieval/v0.1", tags=["existing nodes"], responses=problem_docs(400, 409, 413, 415, 422, 503)
)

_RAW = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}}

Type = Literal["text", "image"]


@router.post("/add_content", openapi_extra=_RAW)
async def add_content(request: Request, behind: Behind, id: str, type: Type, user: str) -> JSONResponse:
    """Add a text or a picture (the raw body) to a user's contents; it is found from then on."""
    started = time.perf_counter()
    body = await read_body(request, min(behind.max_upload_bytes, WHOLE_BYTES))
    await behind.retrieval.add_content(id, type, user, body)
    message = f"Content {id} successfully added to the indexer by user {user}"
    return JSONResponse({"msg": message, "time": time.perf_counter() - started})


@router.post("/retrieve_contents", openapi_extra=_RAW)
async def retrieve_contents(
    request: Request, behind: Behind, user: str, type: Type, k: int = Query(ge=-(2**63), le=2**63)
) -> JSONResponse:
    """The nearest contents of other users to a text or a picture (the raw body), a modality each."""
    _check(k)
    body = await read_body(request, min(behind.max_upload_bytes, WHOLE_BYTES))
    return JSONResponse(await behind.retrieval.retrieve(type, user, k, body))


@router.post("/recommend_contents")
async def recommend_contents(behind: Behind, user: str, k: int = Query(ge=-(2**63), le=2**63)) -> JSONResponse:
    """Contents of other users near to this user's own posts: seed type over result type."""
    _check(k)
    return JSONResponse(await behind.recommendation.recommend(user, k))


def _check(k: int) -> None:
    if not 1 <= k <= MAX_K:
        raise Problem("bad_request", f"k must be from 1 to {MAX_K}")
