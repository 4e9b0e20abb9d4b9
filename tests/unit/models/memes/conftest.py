"""Pools small enough to train on in a moment."""

from __future__ import annotations

import numpy as np
import pytest

from serve_app.models.memes.pools import Pools


@pytest.fixture
def pools() -> Pools:
    """Sixty memes, dark pictures with a white bar above; their lower halves as parts, but for the last five; and forty
    pictures each with white spots and without."""
    rng = np.random.default_rng(0)
    memes = rng.integers(0, 120, (60, 20, 20, 3)).astype(np.uint8)
    parts = np.repeat(memes[:, 10:], 2, axis=1)
    memes[:, :5] = 255
    spotted = rng.integers(0, 120, (40, 20, 20, 3)).astype(np.uint8)
    spotted[:, 8:12, 8:12] = 255
    plain = rng.integers(0, 120, (40, 20, 20, 3)).astype(np.uint8)
    text = np.zeros((60, 4, 4), np.float32)
    text[:, 0] = 1
    return Pools((memes, parts, spotted, plain), np.arange(60) < 55, text)
