"""What the routers share: reaching the services, answering in JSON, describing bodies for OpenAPI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import BaseModel
from starlette.responses import Response

from serve_app.errors import Problem
from serve_app.wire.ports import Services, ShapePort, TranscodePort
from serve_app.wire.schemas import ProblemDetail


async def services(request: Request) -> Services:
    """The services that the application was created with; async, since FastAPI runs others in a thread."""
    found: Services = request.app.state.services
    return found


Behind = Annotated[Services, Depends(services)]


async def shapes(behind: Behind) -> ShapePort:
    """Who draws 3D models; ``unavailable`` where nobody does."""
    if behind.shape3d is None:
        raise Problem("unavailable", "this service draws no 3D models")
    return behind.shape3d


Shapes = Annotated[ShapePort, Depends(shapes)]


async def transcoding(behind: Behind) -> TranscodePort:
    """Who encodes videos; ``unavailable`` where nobody does."""
    if behind.transcoding is None:
        raise Problem("unavailable", "this service encodes no videos")
    return behind.transcoding


Transcoding = Annotated[TranscodePort, Depends(transcoding)]


async def closing() -> AsyncIterator[AsyncExitStack]:
    """Closes what a route opened once its answer is sent, or its client has left."""
    async with AsyncExitStack() as stack:
        yield stack


AtEnd = Annotated[AsyncExitStack, Depends(closing)]


def reply(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """``body`` as JSON without null fields; serialised once, where FastAPI would validate it a second time."""
    return Response(body.model_dump_json(exclude_none=True), status, headers, media_type="application/json")


def problem_docs(*codes: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI descriptions of the problem+json answers of a route."""
    return {
        code: {"model": ProblemDetail, "content": {"application/problem+json": {}}, "description": "problem+json"}
        for code in codes
    }


def multipart_docs(required: tuple[str, ...] = ("file",), **fields: str) -> dict[str, Any]:
    """OpenAPI description of a multipart body with a ``file`` and text ``fields`` (name to description)."""
    properties: dict[str, Any] = {"file": {"type": "string", "format": "binary"}}
    properties |= {name: {"type": "string", "description": text} for name, text in fields.items()}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
