"""``/v1/search``: find by text or by picture."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from serve_app.errors import Problem
from serve_app.wire.routing import AtEnd, Behind, problem_docs, reply
from serve_app.wire.schemas import SearchResult, TextQuery
from serve_app.wire.uploads import media_type, read_json, read_upload

router = APIRouter(prefix="/v1", tags=["search"])

MAX_K = 10_000

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": TextQuery.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}}
                    | {name: {"type": "string"} for name in TextQuery.model_fields if name != "text"},
                    "required": ["file"],
                }
            },
        },
    }
}


@router.post(
    "/search", response_model=SearchResult, responses=problem_docs(400, 413, 415, 422, 503), openapi_extra=_BODY
)
async def search(request: Request, behind: Behind, at_end: AtEnd) -> Response:
    """The nearest texts, pictures, moments of videos and 3D models, each modality on its own, best first."""
    if media_type(request) == "application/json":
        query = _parse(dict(await read_json(request)))
        return reply(await behind.retrieval.search_text(query))
    upload, fields = await read_upload(request, behind.max_upload_bytes, at_end)
    values: dict[str, Any] = dict(fields)
    if "modalities" in values:
        values["modalities"] = [name.strip() for name in values["modalities"].split(",")]
    if "text" in values:
        raise Problem("bad_request", "send a text or a file, not both")
    return reply(await behind.retrieval.search_image(upload.data, _parse({"text": ""} | values)))


def _parse(values: dict[str, Any]) -> TextQuery:
    try:
        query = TextQuery.model_validate(values)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise Problem("bad_request", "; ".join(faults)[:2000]) from error
    if not 1 <= query.k <= MAX_K:
        raise Problem("bad_request", f"k must be from 1 to {MAX_K}")
    return query
