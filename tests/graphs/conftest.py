"""The graphs import Ray, and no test here may start it: handles are plain objects over real parts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own use of pydantic
    import ray
    import ray.serve

import graphs.calls
from tests.graphs.world import World


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs.calls, "PAUSES_S", (0.0,))


@pytest.fixture(autouse=True)
def no_cluster() -> Iterator[None]:
    yield
    assert not ray.is_initialized(), "a test of the graphs started a cluster"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One shard, an empty catalog."""
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def two_shards(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, shards=2)
    yield made
    made.close()
