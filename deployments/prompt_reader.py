"""Has the served encoder read the prompts of a row."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.errors import Problem

Floats = NDArray[np.float32]

log = logging.getLogger("mediaverse")

TEXTS_AT_ONCE = 8
"""Prompts that are with the encoder, which others use too: who searches meanwhile waits for no more than these."""


class PromptReader:
    """``encoder`` is the handle of the served encoder, or None where there is none."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder

    async def check(self, wanted: str) -> None:
        """Raises ``Problem`` ``unavailable`` where the encoder that is served is not ``wanted`` (name@revision)."""
        if self.encoder is None:
            raise Problem("unavailable", f"its prompts need the encoder {wanted}, and none was given to it")
        with _problems(wanted):
            served = await self.encoder.status.remote()
        found = f"{served['model']}@{served['revision']}"
        if found != wanted:
            detail = f"its prompts are for {wanted}, and {found} is served"
            raise Problem("unavailable", detail, f"serve {wanted}, or prompts of the served encoder")
        if served["state"] != "ready":
            raise Problem("unavailable", f"the encoder {wanted} is {served['state']}", served["remedy"])

    async def read(self, wanted: str, texts: Sequence[str]) -> Floats:
        """Unit vectors float32 [texts, D]; raises ``Problem``: what the encoder raised, or ``unavailable``."""
        free = asyncio.Semaphore(TEXTS_AT_ONCE)
        with _problems(wanted):
            return np.stack(await asyncio.gather(*(self._vector(text, free) for text in texts)))

    async def _vector(self, text: str, free: asyncio.Semaphore) -> Floats:
        async with free:
            return np.asarray((await self.encoder.encode_text.remote(text))["vector"], np.float32)


@contextmanager
def _problems(encoder: str) -> Iterator[None]:
    """What the encoder raised arrives as Ray's error with its cause inside."""
    try:
        yield
    except Exception as error:
        cause = getattr(error, "cause", error)
        if isinstance(cause, Problem):
            raise cause from None
        log.exception("the encoder did not read the prompts")
        raise Problem("unavailable", f"{encoder} did not read the prompts; try again") from None
