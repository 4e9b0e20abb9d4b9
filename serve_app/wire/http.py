"""The HTTP door: a FastAPI application over the services behind it."""

from __future__ import annotations

from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from serve_app.wire import (
    problems,
    routes_annotate,
    routes_assets,
    routes_batch,
    routes_health,
    routes_index,
    routes_jobs,
    routes_legacy,
    routes_people,
    routes_recommendation,
    routes_search,
    routes_transcoder,
)
from serve_app.wire.ports import Services

_ABOUT = """Annotates pictures, videos and 3D models, finds them by text or by picture, and recommends from a user's
own posts.

Errors are RFC 9457 problem+json with a stable `code`; a media file, however broken, never gives a 5xx."""


def create_app(services: Services) -> ASGIApp:
    """The application of every HTTP route; its docs page needs no network."""
    app = FastAPIOffline(title="mediaverse-serve", version="0.1.0", description=_ABOUT, redoc_url=None)
    app.state.services = services
    problems.install(app)
    for routes in (
        routes_annotate, routes_batch, routes_assets, routes_jobs, routes_search, routes_people, routes_recommendation,
        routes_legacy, routes_transcoder, routes_index, routes_health,
    ):  # fmt: skip
        app.include_router(routes.router)
    return app
