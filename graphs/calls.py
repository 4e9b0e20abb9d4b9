"""Calling a deployment: bounded in time, once more when its replica died, every failure a ``Problem``."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from serve_app.errors import Problem

log = logging.getLogger("mediaverse")

TIMEOUT_S = 60.0


async def call(method: Any, *args: Any, timeout_s: float = TIMEOUT_S) -> Any:
    """``await method.remote(*args)`` for an idempotent method of a handle.

    A replica that dies takes its request with it; the second try goes to another one. Raises ``Problem``: what the
    deployment raised, ``overloaded``, ``deadline`` or ``internal``.
    """
    try:
        async with asyncio.timeout(timeout_s):
            try:
                return await method.remote(*args)
            except RayActorError as error:
                log.warning("a replica died under a request, trying once more: %s", error)
                return await method.remote(*args)
    except TimeoutError:
        raise Problem("deadline", f"no answer within {timeout_s:g} s") from None
    except (BackPressureError, DeploymentUnavailableError) as error:
        raise Problem("overloaded", "too many requests are waiting") from error
    except RayTaskError as error:
        if isinstance(error.cause, Problem):
            raise error.cause from None
        raise
    except RayActorError as error:
        raise Problem("overloaded", "the replica died under this request; try again") from error
