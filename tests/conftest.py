"""Fixtures that every floor of tests shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["tests.postgres"]

ROOT = Path(__file__).resolve().parents[1]

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("untimed")
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, those of one file stay together, and so do all that share the real service."""
    for item in items:
        place = item.path.relative_to(ROOT)
        shared_service = place.parts[:2] == ("tests", "cluster")
        item.add_marker(pytest.mark.xdist_group("cluster" if shared_service else str(place)))
