"""Pictures as the squares that vision transformers take, as open_clip's inference transform cuts them out."""

from __future__ import annotations

from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve_app.media import images

_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def square(
    data: bytes, size: int, resize: Literal["shortest", "squash"], interpolation: Literal["bicubic", "bilinear"]
) -> NDArray[np.uint8]:
    """A picture as RGB [size, size, 3]: its shortest side brought to ``size`` and the middle cut out, or all squashed.

    Raises ``Problem`` for what cannot be decoded.
    """
    info = images.inspect(data)
    # Twice the target on the short side keeps the resize faithful and lets JPEG decode at a fraction of its size.
    ratio = max(info.width, info.height) / max(1, min(info.width, info.height))
    picture = images.decode(data, max_side=ceil(2 * size * ratio))
    image = Image.fromarray(picture.pixels)
    if resize == "squash":
        return np.asarray(image.resize((size, size), _RESAMPLING[interpolation]))
    across, down = image.width / picture.width, image.height / picture.height
    left, top, right, bottom = _centre(picture.width, picture.height, size)
    box = (left * across, top * down, min(right * across, image.width), min(bottom * down, image.height))
    return np.asarray(image.resize((size, size), _RESAMPLING[interpolation], box=box))


def _centre(width: int, height: int, size: int) -> tuple[float, float, float, float]:
    """The part of a picture that becomes the centre crop, as (left, top, right, bottom) in its pixels.

    Resizing this box equals resizing all and cropping, without the huge intermediate that a 65500 x 1 picture would
    ask for. Both roundings are torchvision's (``Resize`` truncates the longer side, ``CenterCrop`` rounds the margin):
    a crop half a pixel beside it differs by a third of the grey scale at sharp edges.
    """
    short = min(width, height)
    columns, rows = size * width // short, size * height // short
    left, top = round((columns - size) / 2), round((rows - size) / 2)
    across, down = width / columns, height / rows
    return left * across, top * down, (left + size) * across, (top + size) * down
