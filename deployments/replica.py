"""What every replica that serves a model shares: find the weights, say how it stands, take its sizes."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import ray
from numpy.typing import NDArray

from deployments.batcher import Batcher, BatchSizes
from serve_app.errors import Problem
from serve_app.models.manifest import Model, load_manifest
from serve_app.models.pull import PullError, convert_shipped
from serve_app.models.store import Store

Payload = bytes | list[ray.ObjectRef]
Out = TypeVar("Out")
Data = TypeVar("Data", bytes, NDArray[Any])

log = logging.getLogger("mediaverse")

BY_REFERENCE_ABOVE = 1_000_000
"""Bytes from which a payload travels through the object store: by value it costs more (and fails above 4 MiB)."""


@dataclass(frozen=True)
class ModelRecipe:
    """Which model a replica serves: a name of ``configs/models.yaml``, where weights lie, threads a run may use."""

    model: str
    home: str
    threads: int = 0


def ship(data: Data) -> Data | list[ray.ObjectRef]:
    """Make bytes or an array ready for a handle call: themselves when small, else a nested reference, put once for
    all readers."""
    size = data.nbytes if isinstance(data, np.ndarray) else len(data)
    return data if size <= BY_REFERENCE_ABOVE else [ray.put(data)]


class ModelReplica:
    """Base of the model deployments: missing weights make the replica answer ``unavailable`` with the remedy."""

    def __init__(self, recipe: ModelRecipe) -> None:
        self.recipe = recipe
        self.model = load_manifest().models[recipe.model]
        self.problem: Problem | None = None
        self.files: dict[str, Path] = {}
        self.batchers: list[Batcher[Any, Any]] = []
        self.sizes = BatchSizes()
        self.workers = ThreadPoolExecutor(max(2, min(8, os.cpu_count() or 2)), thread_name_prefix="prepare")
        self.loading = threading.Lock()
        self._open()

    def _open(self) -> None:
        """Find the weights and load them; what is wrong with them becomes this replica's answer."""
        with self.loading:
            try:
                self.files = self.locate(self.model)
                self.load()
                self.problem = None
            except Problem as problem:
                self.problem = problem
            except Exception as error:
                log.exception("%s does not load", self.model.key)
                self.problem = Problem("unavailable", f"{self.model.key}: {error}", "mediaverse models verify")

    def locate(self, model: Model) -> dict[str, Path]:
        """Logical name -> file of a model's weights; ``unavailable`` with the remedy where they are missing."""
        store = Store(Path(self.recipe.home))
        try:
            convert_shipped(store, model)
        except PullError as error:
            raise Problem("unavailable", str(error), f"mediaverse models pull {model.name}") from error
        return store.locate(model)

    def load(self) -> None:
        """Open the sessions from ``self.files`` and run each once, so that ready means warm."""
        raise NotImplementedError

    def batcher(self, model: Callable[[list[Any]], Sequence[Any]]) -> Batcher[Any, Any]:
        self.batchers.append(Batcher(model, self.sizes))
        return self.batchers[-1]

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Serve's hook: new batch sizes for every batcher, while serving."""
        self.sizes = BatchSizes.of(user_config)
        for batcher in self.batchers:
            batcher.sizes = self.sizes

    async def in_thread(self, function: Callable[..., Out], *args: Any) -> Out:
        return await asyncio.get_running_loop().run_in_executor(self.workers, function, *args)

    async def receive(self, payload: Payload) -> bytes:
        return payload if isinstance(payload, bytes) else await payload[0]

    def require(self) -> None:
        if self.problem is not None:
            raise self.problem

    async def status(self) -> dict[str, str | None]:
        """How this task stands, for ``/health/ready``; weights that came meanwhile are taken up."""
        if self.problem and not self.loading.locked():
            await self.in_thread(self._open)
        return {
            "task": self.model.task,
            "model": self.model.name,
            "revision": self.model.revision,
            "state": "unavailable" if self.problem else "ready",
            "remedy": (self.problem.remedy or self.problem.detail) if self.problem else None,
        }
