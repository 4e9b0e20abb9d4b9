"""Where scenes begin: detectors that see one small picture of each frame, by name.

Thumbnails are made by averaging areas (swscale's AREA); sampling points instead makes every camera move a cut. They
are grey because a change of colour alone is no change of scene: RGB cuts a counter where its digits turn from one
colour to another (correlation -0.2), grey does not (0.9), and true cuts are as deep in both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serve_app.annotation.scenes_adaptive import AdaptiveDetector
from serve_app.annotation.scenes_correlation import CorrelationDetector

SIZE = 50


class SceneDetector(Protocol):
    """Thumbnails go in in the order they are shown; the indexes of the frames that begin a scene come out.

    Each comes once, in ascending order, at most ``latency`` frames after it; frame 0 never does.
    """

    latency: int

    def push(self, thumbnail: NDArray[np.uint8]) -> list[int]:
        """The next frame's greys uint8 [SIZE, SIZE]; says what begins a scene, as far as known now and not before."""
        ...

    def finish(self) -> list[int]:
        """No frame follows; says what had still been open."""
        ...


DETECTORS: dict[str, Callable[[], SceneDetector]] = {
    "correlation": CorrelationDetector,
    "adaptive": AdaptiveDetector,
}
DEFAULT = "adaptive"
"""It finds more boundaries with fewer false ones: see docs/benchmarks.md."""
