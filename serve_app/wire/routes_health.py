"""Health: is the process alive, and is every model warm."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse, RedirectResponse, Response

from serve_app.wire.routing import Behind, reply
from serve_app.wire.schemas import Readiness

router = APIRouter(tags=["operations"])


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live")
async def live() -> JSONResponse:
    """200 as long as the door answers."""
    return JSONResponse({"live": True})


@router.head("/health/ready", include_in_schema=False)
@router.get("/health/ready", response_model=Readiness, responses={503: {"model": Readiness}})
async def ready(behind: Behind) -> Response:
    """200 once every model of the profile has run; names each task's model, revision, state and remedy."""
    readiness = await behind.health.ready()
    return reply(readiness, 200 if readiness.ready else 503)


@router.get("/", include_in_schema=False)
async def home() -> RedirectResponse:
    return RedirectResponse("/docs")
