"""Fixtures for the detectors, and the way to the modules that the tests of this folder share."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serve_app.annotation.objects import ObjectDetector
from serve_app.models.manifest import Detector

sys.path.insert(0, str(Path(__file__).parent))

from colour_network import SPEC, colour_network, session_of


@pytest.fixture
def colour_detector() -> Callable[..., ObjectDetector]:
    def make(batch: int | str = "N", **changes: Any) -> ObjectDetector:
        spec = Detector(**{**SPEC, **changes})
        return ObjectDetector(spec, SPEC["labels"], session_of(colour_network(batch)))

    return make


@pytest.fixture
def png() -> Callable[[NDArray[np.uint8]], bytes]:
    def encode(pixels: NDArray[np.uint8], **options: Any) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", **options)
        return buffer.getvalue()

    return encode
