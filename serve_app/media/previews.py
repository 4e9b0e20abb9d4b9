"""Previews of a mesh: a thumbnail from a three-quarter view and a turntable, drawn finer than they are shown."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from serve_app.media.cameras import around, framed
from serve_app.media.meshes import Mesh
from serve_app.media.rendering import Renderer, Style, Views

if TYPE_CHECKING:
    from PIL import Image

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
FINER = 2
"""Rays along a pixel's side."""
FRAME_MS = 100
"""Milliseconds that a frame of a turntable is shown."""
_AT_ONCE = 8
_WEBP_QUALITY = 82


def thumbnail(
    renderer: Renderer,
    mesh: Mesh,
    size: int = 512,
    *,
    background: Colour | None = None,
    cull_back_faces: bool = False,
) -> NDArray[np.uint8]:
    """uint8 [size, size, 4], RGBA, alpha not multiplied in; without ``background`` the mesh stands on nothing."""
    style = Style(size * FINER, background or WHITE, cull_back_faces)
    views = renderer.render(mesh, [framed(mesh)], style)
    if background is None:
        return _cut_out(views, WHITE)
    colour = _shrunk(views.colour[0].astype(np.float32))
    return np.dstack([_bytes(colour), np.full((size, size), 255, np.uint8)])


def turntable(
    renderer: Renderer,
    mesh: Mesh,
    frames: int = 24,
    size: int = 320,
    *,
    background: Colour = WHITE,
    cull_back_faces: bool = False,
) -> NDArray[np.uint8]:
    """uint8 [frames, size, size, 3]: one full turn, from one distance and height."""
    style = Style(size * FINER, background, cull_back_faces)
    cameras = around(mesh, frames)
    pictures = np.empty((frames, size, size, 3), np.uint8)
    for first in range(0, frames, _AT_ONCE):
        views = renderer.render(mesh, cameras[first : first + _AT_ONCE], style)
        for number, colour in enumerate(views.colour, start=first):
            pictures[number] = _bytes(_shrunk(colour.astype(np.float32)))
    return pictures


def still(picture: NDArray[np.uint8], kind: Literal["png", "webp"]) -> bytes:
    """``picture`` (uint8 [H, W, 3 or 4]) as a file."""
    from PIL import Image

    out = BytesIO()
    if kind == "png":
        Image.fromarray(picture).save(out, "PNG", optimize=True)
    else:
        Image.fromarray(picture).save(out, "WEBP", quality=_WEBP_QUALITY, method=4)
    return out.getvalue()


def moving(pictures: NDArray[np.uint8], kind: Literal["gif", "webp"]) -> bytes:
    """``pictures`` (uint8 [N, H, W, 3]) as a file that plays in a loop without end."""
    from PIL import Image

    frames = [Image.fromarray(picture) for picture in pictures]
    out = BytesIO()
    if kind == "gif":
        frames = _of_one_palette(frames)
        first, rest = frames[0], frames[1:]
        first.save(out, "GIF", save_all=True, append_images=rest, duration=FRAME_MS, loop=0, optimize=False)
    else:
        first, rest = frames[0], frames[1:]
        first.save(
            out, "WEBP", save_all=True, append_images=rest, duration=FRAME_MS, loop=0, quality=_WEBP_QUALITY, method=2
        )
    return out.getvalue()


def _of_one_palette(frames: list[Image.Image]) -> list[Image.Image]:
    """The frames in the 256 colours that suit all of them best. Neither a palette a frame nor dithering, which both
    make still surfaces flicker."""
    from PIL import Image

    width, height = frames[0].size
    sheet = Image.new("RGB", (width, height * len(frames)))
    for number, frame in enumerate(frames):
        sheet.paste(frame, (0, number * height))
    palette = sheet.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def _cut_out(views: Views, background: Colour) -> NDArray[np.uint8]:
    """The first view as RGBA without its background."""
    alpha = views.alpha[0].astype(np.float32)[..., None] / 255
    colour = _shrunk(views.colour[0] - (1 - alpha) * np.array(background, np.float32))
    covered = _shrunk(alpha)
    return np.concatenate([_bytes(colour / np.maximum(covered, 1e-6)), _bytes(covered * 255)], axis=-1)


def _shrunk(picture: NDArray[np.floating]) -> NDArray[np.floating]:
    """The mean of each ``FINER`` x ``FINER`` pixels."""
    side, channels = len(picture) // FINER, picture.shape[2]
    return np.asarray(picture.reshape(side, FINER, side, FINER, channels).mean(axis=(1, 3)))


def _bytes(picture: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(picture + 0.5, 0, 255), np.uint8)
