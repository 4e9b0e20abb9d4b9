"""Assets, contents and vectors for the tests, and worker processes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.catalog import Catalog, NewAsset, NewContent, NewFace, Person

REVISION = "clip@1"
FACE_MODEL = "faces@1"
ROOT = Path(__file__).resolve().parents[3]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def picture(asset_id: str | None = "a", owner: str = "anna", data: str = "bytes", **more: Any) -> NewAsset:
    values: dict[str, Any] = {"kind": "image", "media_type": "image/jpeg", "bytes": len(data), "file": f"f/{data}.jpg"}
    return NewAsset(owner=owner, id=asset_id, sha256=sha(data), **(values | more))


def posted(asset_id: str, owner: str = "anna", data: str = "bytes", modality: Any = "image") -> NewContent:
    return NewContent(asset_id, owner, modality, "image/jpeg", sha(data), len(data), f"f/{asset_id}-{data}")


def vector(seed: int, width: int = 8) -> NDArray[np.float32]:
    row = np.random.default_rng(seed).normal(size=width).astype(np.float32)
    return row / np.linalg.norm(row)


def face(seed: int) -> NewFace:
    points = tuple((float(x), 9.5) for x in range(5))
    return NewFace(b"jpeg", sha(f"picture {seed}"), (1.0, 2.0, 30.25, 40.0), points, 0.75, vector(seed))


def add_person(catalog: Catalog, name: str, *seeds: int) -> Person:
    return catalog.people.add(name, [face(seed) for seed in seeds], FACE_MODEL)[0]


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def start_worker(*arguments: str) -> subprocess.Popen[str]:
    """Another process with its own catalog: see ``catalog_worker.py``."""
    script = Path(__file__).with_name("catalog_worker.py")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True, env=environment
    )
