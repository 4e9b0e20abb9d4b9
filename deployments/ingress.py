"""The HTTP door as a deployment."""

from __future__ import annotations

from ray import serve
from starlette.types import ASGIApp

from serve_app.wire.http import create_app
from serve_app.wire.ports import Services


@serve.deployment
@serve.ingress()
class Ingress:
    """Translates HTTP to calls of the graphs behind it."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Serve's hook: the application, made once the replica has its handles."""
        return create_app(self.services)
