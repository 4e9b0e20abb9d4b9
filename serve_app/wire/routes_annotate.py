"""``/v1/annotate/...``: annotate without storing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from serve_app.errors import Problem
from serve_app.wire.routing import AtEnd, Behind, Shapes, multipart_docs, problem_docs, reply
from serve_app.wire.schemas import Annotation, ShapeAnnotation, VideoAnnotation, VideoProgress
from serve_app.wire.streams import event_stream, events_docs, until_left, wants_events
from serve_app.wire.uploads import read_upload

router = APIRouter(prefix="/v1/annotate", tags=["annotate"])

_MAX_SEED = 2**63 - 1
_STREAM = (
    'event: progress\ndata: {"frames": 120, "expected": 250, "progress": 0.48, "scenes": 2}\n\n'
    'event: result\ndata: {"asset": {"media_type": "video/mp4", "sha256": "9f86...", "width": 640, "height": 360, '
    '"duration_s": 10.0}, "results": {"object_detection": {"status": "ok", "model": "fastestdet@1", "labels": '
    '[{"label": "dog", "confidence": 0.93, "timestamp_s": 3.2, "times": [{"confidence": 0.93, "timestamp_s": 3.2}]}]}},'
    ' "scenes": [{"start_s": 0.0, "end_s": 10.0, "start_frame": 0, "end_frame": 250}], "decoded": {"frames": 250, '
    '"expected": 250, "errors": 0, "complete": true}, "stage": {"load_s": 0.8, "annotate_s": 1.1, '
    '"after_last_frame_s": 0.2, "total_s": 1.3}}\n\n'
)


@router.post(
    "/image",
    response_model=Annotation,
    responses=problem_docs(400, 403, 413, 415, 422, 503),
    openapi_extra=multipart_docs(),
)
async def annotate_image(
    request: Request,
    behind: Behind,
    at_end: AtEnd,
    annotators: str | None = Query(
        None, description="objects, faces, embedding, ... separated by commas; all when left out"
    ),
    explain: bool = Query(False, description="with the attention map of meme_detection"),
) -> Response:
    """Annotate one picture. An annotator that cannot answer says so for itself and never fails the others."""
    chosen = behind.image.parse_annotators(annotators)
    upload, _ = await read_upload(request, behind.max_upload_bytes, at_end)
    return reply(await behind.image.annotate(upload.data, chosen, explain))


@router.post(
    "/3d",
    response_model=ShapeAnnotation,
    responses=problem_docs(400, 403, 413, 415, 422, 503, 504),
    openapi_extra=multipart_docs(),
)
async def annotate_3d(
    request: Request,
    shapes: Shapes,
    behind: Behind,
    at_end: AtEnd,
    annotators: str | None = Query(
        None, description="objects, captions, embedding, ... separated by commas; all when left out"
    ),
    up: Literal["y", "z"] | None = Query(None, description="which axis is up; the format's own when left out"),
    pictures: bool = Query(False, description="with every view as a PNG in base64"),
) -> Response:
    """Annotate one 3D model (glb, gltf, obj, ply, off, stl, or a zip of one with its textures): what is seen from
    all around it, and from inside a room. A label names the views that saw it."""
    chosen = shapes.parse_annotators(annotators)
    upload, _ = await read_upload(request, behind.max_upload_bytes, at_end)
    return reply(await until_left(request, shapes.annotate(upload, chosen, up, pictures)))


@router.post(
    "/video",
    response_model=VideoAnnotation,
    responses=problem_docs(400, 403, 413, 415, 422, 503, 504) | {200: {"content": events_docs(_STREAM)}},
    openapi_extra=multipart_docs(),
)
async def annotate_video(
    request: Request,
    behind: Behind,
    at_end: AtEnd,
    annotators: str | None = Query(
        None, description="scenes, actions, objects, faces, ... separated by commas; all when left out"
    ),
    seed: int = Query(0, ge=0, le=_MAX_SEED, description="chooses the frames that are looked at"),
) -> Response:
    """Annotate one video: its scenes, and what was seen at which times.

    With ``Accept: text/event-stream`` the answer is a stream of events ``progress``, and ``result`` (or ``error``) at
    last. Leaving early stops the work.
    """
    chosen = behind.video.parse_annotators(annotators)
    upload, _ = await read_upload(request, behind.max_upload_bytes, at_end)
    updates = behind.video.annotate(upload, chosen, seed)
    if wants_events(request):
        return await event_stream(request, at_end, updates, _name)
    return reply(await until_left(request, _last(updates)))


def _name(update: VideoProgress | VideoAnnotation) -> str:
    return "result" if isinstance(update, VideoAnnotation) else "progress"


async def _last(updates: AsyncGenerator[VideoProgress | VideoAnnotation, None]) -> VideoAnnotation:
    async with aclosing(updates):
        async for update in updates:
            if isinstance(update, VideoAnnotation):
                return update
    raise Problem("internal", "the annotation ended without an answer")
