"""``/v1/annotate/...``: annotate without storing."""

from __future__ import annotations

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from serve_app.wire.routing import Behind, multipart_docs, problem_docs, reply
from serve_app.wire.schemas import Annotation
from serve_app.wire.uploads import read_upload

router = APIRouter(prefix="/v1/annotate", tags=["annotate"])


@router.post(
    "/image",
    response_model=Annotation,
    responses=problem_docs(400, 403, 413, 415, 422, 503),
    openapi_extra=multipart_docs(),
)
async def annotate_image(
    request: Request,
    behind: Behind,
    annotators: str | None = Query(
        None, description="objects, faces, embedding, ... separated by commas; all when left out"
    ),
) -> Response:
    """Annotate one picture. An annotator that cannot answer says so for itself and never fails the others."""
    chosen = behind.image.parse_annotators(annotators)
    upload, _ = await read_upload(request, behind.max_upload_bytes)
    return reply(await behind.image.annotate(upload.data, chosen))
