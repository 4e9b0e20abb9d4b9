"""The deployment of the face detector, without a cluster: a replica is a plain object."""

from __future__ import annotations

import asyncio
import warnings
from pathlib import Path
from typing import Any

import pytest
import skimage

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own use of pydantic
    from deployments.face_detector import FaceDetector
    from deployments.replica import ModelRecipe

from serve_app.annotation.labels import Label
from serve_app.errors import Problem

PHOTOGRAPHS = Path(skimage.__file__).parent / "data"


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return FaceDetector.func_or_class(ModelRecipe("mtcnn", str(tmp_path_factory.mktemp("home")), 1))


def test_it_finds_what_it_detects(replica: Any) -> None:
    data = (PHOTOGRAPHS / "astronaut.png").read_bytes()

    async def both() -> Any:
        return await asyncio.gather(replica.find(data), replica.detect(data))

    (face,), labels = asyncio.run(both())
    assert labels == [Label("unknown", face.confidence, face.box)]
    assert len(face.landmarks) == 5
    x1, y1, x2, y2 = face.box
    assert all(x1 < x < x2 and y1 < y < y2 for x, y in face.landmarks)


def test_a_broken_picture_costs_only_itself(replica: Any) -> None:
    good, empty = ((PHOTOGRAPHS / name).read_bytes() for name in ("astronaut.png", "coffee.png"))

    async def all_of_them() -> Any:
        return await asyncio.gather(
            *(replica.find(data) for data in (good, b"nothing", empty, good)), return_exceptions=True
        )

    first, broken, none, last = asyncio.run(all_of_them())
    assert isinstance(broken, Problem)
    assert (len(first), none, len(last)) == (1, [], 1)


def test_missing_weights_are_said(tmp_path: Path) -> None:
    replica: Any = FaceDetector.func_or_class(ModelRecipe("ultralight-face", str(tmp_path), 1))
    with pytest.raises(Problem, match="ultralight-face"):
        asyncio.run(replica.find(b""))
    assert asyncio.run(replica.status())["state"] == "unavailable"
