"""Fixtures that every floor of tests shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["tests.postgres"]

ROOT = Path(__file__).resolve().parents[1]


def shared_place() -> Path:
    return Path(os.environ.get("MEDIAVERSE_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real media and small real networks; tests that need it are skipped where it is absent."""
    place = shared_place()
    if not (place / "media").is_dir():
        pytest.skip(f"no real media at {place} (set MEDIAVERSE_SHARED)")
    return place
