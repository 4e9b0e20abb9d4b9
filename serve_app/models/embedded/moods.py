"""What happens to a whole picture: time of day, noise, blur, loss of colour, another balance of colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from serve_app.models.embedded.backgrounds import Pixels

MOODS = ("day", "night", "noisy", "blurred", "black-and-white", "sepia")


def set_mood(rng: np.random.Generator, pixels: Pixels, mood: str) -> Pixels:
    """The picture as by day, at night, noisy, blurred, black-and-white or sepia."""
    image: NDArray[np.floating[Any]] = pixels.astype(np.float32)
    if mood == "day":
        image = image * rng.uniform(1.15, 1.35) + np.array([28, 24, 10])
    elif mood == "night":
        image = image * rng.uniform(0.18, 0.35) * np.array([0.8, 0.9, 1.35]) + np.array([0, 0, 10])
    elif mood == "noisy":
        image = image + rng.normal(0, rng.uniform(22, 45), image.shape)
    elif mood == "blurred":
        radius = pixels.shape[0] * rng.uniform(0.011, 0.022)
        return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))
    else:
        grey = image @ np.array([0.299, 0.587, 0.114], np.float32)
        tint = np.array([1.07, 0.94, 0.72]) if mood == "sepia" else np.ones(3)
        image = grey[..., None] * tint
    return image.clip(0, 255).astype(np.uint8)


def recolour(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """Another balance, brightness and order of the colours, so that few photographs stand for many."""
    image: NDArray[np.floating[Any]] = pixels.astype(np.float32)[..., rng.permutation(3)]
    image = image * rng.uniform(0.6, 1.4, 3) * rng.uniform(0.6, 1.3) + rng.uniform(-20, 20)
    return image.clip(0, 255).astype(np.uint8)
