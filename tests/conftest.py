"""Fixtures that every floor of tests shares."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["tests.postgres"]

ROOT = Path(__file__).resolve().parents[1]

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def shared_place() -> Path:
    return Path(os.environ.get("MEDIAVERSE_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real media and small real networks; tests that need it are skipped where it is absent."""
    place = shared_place()
    if not (place / "media").is_dir():
        pytest.skip(f"no real media at {place} (set MEDIAVERSE_SHARED)")
    return place


class _Schedule(LoadScopeScheduling):
    """Where tests run side by side, those of one file stay together, and so do all that share the real service.

    Not by groups: xdist 3.8 names them in node ids, which pytest 9.2 no longer lets it change, and they fall apart in
    silence.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "tests/cluster" if file.startswith("tests/cluster/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Schedule:
    return _Schedule(config, log)
