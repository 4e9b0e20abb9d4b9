"""The transcoder's routes that existing nodes call. Of these, this version has those that answer at once."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from serve_app.wire.ports import Direct
from serve_app.wire.routing import AtEnd, Behind, Shapes, Transcoding, multipart_docs, problem_docs
from serve_app.wire.streams import until_left
from serve_app.wire.uploads import read_upload

router = APIRouter(tags=["existing nodes"], responses=problem_docs(400, 403, 413, 415, 422, 503, 504))


def _answers(description: str, *media_types: str) -> dict[int | str, dict[str, Any]]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": description, "content": dict.fromkeys(media_types, binary)}}


@router.get("/HealthCheck/")
async def health_check() -> Response:
    """That the service is there; ``/health/ready`` says more."""
    return JSONResponse({"status": "ok"})


@router.post(
    "/ThumbnailFrom3D/",
    response_class=Response,
    responses=_answers("a picture of the model", "image/png"),
    openapi_extra=multipart_docs(),
)
async def thumbnail_from_3d(request: Request, shapes: Shapes, behind: Behind, at_end: AtEnd) -> Response:
    """A picture of a 3D model, in the answer itself."""
    upload, _ = await read_upload(request, behind.max_upload_bytes, at_end)
    return Response(await until_left(request, shapes.thumbnail(upload)), media_type="image/png")


@router.post(
    "/ThumbnailFromVideo/",
    response_class=Response,
    responses=_answers("a picture of the video", "image/jpeg", "image/png", "image/webp"),
    openapi_extra=multipart_docs(),
)
async def thumbnail_from_video(
    request: Request,
    transcoding: Transcoding,
    behind: Behind,
    at_end: AtEnd,
    format: Literal["jpeg", "png", "webp"] = "jpeg",
    size: int = Query(640, ge=16, le=4096, description="pixels of the longer side at most"),
) -> Response:
    """The key frame that shows most of a video, upright, in the answer itself."""
    return await _direct(request, transcoding, behind, at_end, "thumbnail", format, size)


@router.post(
    "/GIFSummaryFromVideo/",
    response_class=Response,
    responses=_answers("pieces of the video, moving", "image/gif", "image/webp"),
    openapi_extra=multipart_docs(),
)
async def summary_from_video(
    request: Request,
    transcoding: Transcoding,
    behind: Behind,
    at_end: AtEnd,
    format: Literal["gif", "webp"] = Query("gif", description="webp is a tenth of the size"),
    size: int = Query(320, ge=16, le=1024, description="pixels of the longer side at most"),
) -> Response:
    """Pieces from all over a video as a picture that moves, in the answer itself."""
    return await _direct(request, transcoding, behind, at_end, "summary", format, size)


@router.post(
    "/ExtractAudioFromVideo/",
    response_class=Response,
    responses=_answers("the sound", "audio/mpeg", "audio/mp4", "audio/ogg", "audio/wav"),
    openapi_extra=multipart_docs(),
)
async def audio_from_video(
    request: Request,
    transcoding: Transcoding,
    behind: Behind,
    at_end: AtEnd,
    format: Literal["mp3", "m4a", "opus", "wav"] = Query("mp3", description="m4a leaves AAC as it is"),
) -> Response:
    """The first track of sound of a video, in the answer itself; 422 where it has none."""
    return await _direct(request, transcoding, behind, at_end, "sound", format, 0)


async def _direct(
    request: Request, transcoding: Transcoding, behind: Behind, at_end: AtEnd, what: Direct, format: str, size: int
) -> Response:
    upload, _ = await read_upload(request, behind.max_upload_bytes, at_end)
    data, media_type = await until_left(request, transcoding.direct(upload, what, format, size))
    return Response(data, media_type=media_type)
