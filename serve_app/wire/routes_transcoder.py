"""The transcoder's routes that existing nodes call. Of these, this version makes thumbnails of 3D models."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from serve_app.wire.routing import AtEnd, Behind, Shapes, multipart_docs, problem_docs
from serve_app.wire.streams import until_left
from serve_app.wire.uploads import read_upload

router = APIRouter(tags=["existing nodes"], responses=problem_docs(400, 403, 413, 415, 422, 503, 504))

_PNG = {"image/png": {"schema": {"type": "string", "format": "binary"}}}


@router.post(
    "/ThumbnailFrom3D/",
    response_class=Response,
    responses={200: {"description": "a picture of the model", "content": _PNG}},
    openapi_extra=multipart_docs(),
)
async def thumbnail_from_3d(request: Request, shapes: Shapes, behind: Behind, at_end: AtEnd) -> Response:
    """A picture of a 3D model, in the answer itself."""
    upload, _ = await read_upload(request, behind.max_upload_bytes, at_end)
    return Response(await until_left(request, shapes.thumbnail(upload)), media_type="image/png")
