"""The HTTP door as a deployment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from ray import serve
from starlette.types import ASGIApp

from serve_app.wire.http import create_app
from serve_app.wire.ports import Services

OPENS_WITHIN_S = 600.0

log = logging.getLogger("mediaverse")


@serve.deployment
@serve.ingress()
class Ingress:
    """Translates HTTP to calls of the graphs behind it."""

    async def __init__(self, services: Services, shards: Sequence[Any] = (), leaving: Sequence[Any] = ()) -> None:
        """``leaving`` are shards that the doors before this one ask: where there are any, this one opens, and those
        close, once all of ``shards`` have answered."""
        self.services = services
        if leaving:
            await until_there(shards, OPENS_WITHIN_S)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Serve's hook: the application, made once the replica has its handles."""
        return create_app(self.services)


async def until_there(shards: Sequence[Any], within_s: float) -> None:
    """Until each of the handles ``shards`` has answered, but not for ever: a door that is open says what is missing."""
    try:
        async with asyncio.timeout(within_s):
            await asyncio.gather(*(shard.status.remote() for shard in shards))
    except Exception:
        log.exception("not every shard has answered, the door opens without")
