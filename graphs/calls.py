"""Calling a deployment: bounded in time, once more when its replica died, every failure a ``Problem``."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from deployments.batcher import BatchSizes, Gatherer
from deployments.replica import BY_REFERENCE_ABOVE
from serve_app.errors import Problem
from serve_app.retrieval.hits import Query
from serve_app.wire.schemas import Annotation

log = logging.getLogger("mediaverse")

TIMEOUT_S = 60.0
GATHERED = BatchSizes(max_batch_size=32, max_queue=4096)
"""Items of one process that go to a deployment in one call, and that may wait for theirs."""
LANES = 2
"""Such calls at a time: the second so that one that is slow holds up as few as a replica would."""
PAUSES_S = (1.0, 4.0)
"""Before annotators that failed are asked again."""

Shape = TypeVar("Shape", bound=Annotation)


async def call(method: Any, *args: Any, timeout_s: float = TIMEOUT_S) -> Any:
    """``await method.remote(*args)`` for an idempotent method of a handle.

    A replica that dies takes its request with it; the second try goes to another one. Raises ``Problem``: what the
    deployment raised, ``overloaded``, ``deadline`` or ``internal``.
    """
    method = _lightly(method, args)
    with _problems(timeout_s):
        async with asyncio.timeout(timeout_s):
            try:
                return await method.remote(*args)
            except RayActorError as error:
                log.warning("a replica died under a request, trying once more: %s", error)
                return await method.remote(*args)


def together(method: Any, *more: Any, timeout_s: float = TIMEOUT_S) -> Gatherer[Any, Any]:
    """Gathers items for ``call(method, items, *more)``, whose answers are as ``settled`` gives them."""
    return Gatherer(lambda items: call(method, items, *more, timeout_s=timeout_s), GATHERED, LANES)


async def gathered(gatherer: Gatherer[Any, Any], item: Any, timeout_s: float = TIMEOUT_S) -> Any:
    """The answer for one item, within ``timeout_s`` of now; raises as :func:`call` does."""
    with _problems(timeout_s):
        async with asyncio.timeout(timeout_s):
            return await gatherer.submit(item)


async def stream(handle: Any, method: str, *args: Any, timeout_s: float = TIMEOUT_S) -> AsyncIterator[Any]:
    """The items of a generator method; ``timeout_s`` bounds the wait for each. Leaving it early cancels the call.

    Not tried again: what was given already cannot be taken back. Raises as :func:`call` does.
    """
    items = getattr(handle.options(stream=True), method).remote(*args)
    try:
        while True:
            with _problems(timeout_s):
                async with asyncio.timeout(timeout_s):
                    try:
                        item = await anext(items)
                    except StopAsyncIteration:
                        return
            yield item
    finally:
        items.cancel()


async def patiently(work: Callable[[], Awaitable[Any]], tries: int = 4) -> Any:
    """Run ``work``; when the models are overloaded or slow, wait and try again, a few times."""
    for attempt in range(tries):
        try:
            return await work()
        except Problem as problem:
            if problem.code not in ("overloaded", "deadline") or attempt == tries - 1:
                raise
            await asyncio.sleep(2.0**attempt)
    raise AssertionError("unreachable")


async def insistently(look: Callable[[set[str] | None], Awaitable[Shape]]) -> Shape:
    """What ``look(None)`` sees; the annotators whose results failed are asked again, a few times.

    A request has to take what there is; a job has the time to ask again.
    """
    annotation = await look(None)
    for pause in PAUSES_S:
        failed = {name for name, result in annotation.results.items() if result.status == "failed"}
        if not failed:
            break
        await asyncio.sleep(pause)
        again = await look(failed)
        annotation = annotation.model_copy(update={"results": annotation.results | again.results})
    return annotation


def _lightly(method: Any, args: Sequence[Any]) -> Any:
    """The method by Serve's channel between replicas, which takes half as long as a task of Ray's, where its arguments
    fit into one message of it."""
    if isinstance(method, DeploymentHandle) and sum(map(_weight, args)) <= BY_REFERENCE_ABOVE:
        return method.options(_by_reference=False)
    return method


def _weight(argument: Any) -> float:
    """Bytes of an argument; infinite where they are not known, or where it holds a reference."""
    if argument is None or isinstance(argument, bool | int | float):
        return 8
    if isinstance(argument, str | bytes):
        return len(argument)
    if isinstance(argument, np.ndarray | Query):
        return argument.nbytes
    return sum(map(_weight, argument)) if isinstance(argument, list) else math.inf


@contextmanager
def _problems(timeout_s: float) -> Iterator[None]:
    try:
        yield
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
