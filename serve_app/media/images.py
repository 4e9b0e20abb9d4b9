"""Pictures: what they are by their header, and their pixels, upright and in RGB.

Pillow decodes (and libheif for HEIF), but only with the one plugin that the content asks for. Whatever a decoder raises
on bad input becomes a ``Problem``; memory is bounded by the pixel caps below.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pi_heif
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from serve_app.errors import Problem
from serve_app.media.headers import has_bounded_header, jpeg_segments, png_chunks
from serve_app.media.sniff import sniff

MAX_PIXELS = 64_000_000
"""Decoded pixels: above every camera but a few of medium format; at most 0.7 GB while RGBA, RGB and array coexist."""
MAX_JPEG_PIXELS = 178_000_000
"""Declared pixels of a JPEG in one scan, which libjpeg decodes at 1/2, 1/4 or 1/8 and never holds in full. It is just
below the size that Pillow itself refuses to open. With several scans (progressive files) libjpeg keeps all coefficients
in memory, so these get ``MAX_PIXELS``."""
MAX_JPEG_SCANS = 100
"""Scans of a progressive JPEG. Encoders write about ten; each costs a pass over the picture, however few its bytes."""
MAX_TEXT_BYTES = 200
"""Of a decoder's own message, quoted in the answer."""

FORMATS: dict[str, str] = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
    "image/x-portable-anymap": "PPM",
    "image/avif": "AVIF",
    "image/heic": "HEIF",
    "image/heif": "HEIF",
}
"""Media type -> the only Pillow plugin that may open it."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112
_header_lock = threading.Lock()

pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)


@dataclass(frozen=True)
class ImageInfo:
    """Width and height are those of the upright picture, in pixels."""

    media_type: str
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """``pixels`` is uint8 [H, W, 3], RGB, upright, and maybe smaller than the full ``width`` x ``height``."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


@dataclass(frozen=True)
class _Opened:
    image: Image.Image
    info: ImageInfo
    orientation: int


def inspect(data: bytes) -> ImageInfo:
    """Type and upright size from the header alone.

    Raises ``Problem`` with ``unsupported_media``, ``too_large`` or ``undecodable_media``.
    """
    with _problems():
        return _open(data).info


def decode(data: bytes, max_side: int | None = None) -> Picture:
    """The pixels of a picture, or of the first frame of an animation, upright, transparency laid over white.

    With ``max_side`` the longer side of the pixels is at most that, and a JPEG is decoded at a fraction of its size
    where that suffices. A truncated file is refused rather than answered in part. Raises as :func:`inspect` does.
    """
    if max_side is not None and max_side < 1:
        raise ValueError("max_side must be positive")
    with _problems():
        opened = _open(data)
        image = opened.image
        _draft(image, max_side)
        image.load()
        _check_size(image.size, MAX_PIXELS)
        image = _shrink(_eight_bit(image), max_side)
        if opened.orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[opened.orientation])
        pixels = np.array(_over_white(image))
    return Picture(pixels, opened.info.width, opened.info.height)


def decode_with_alpha(data: bytes, max_side: int) -> NDArray[np.uint8]:
    """uint8 [H, W, 4], RGBA as it stands in the file, not turned by EXIF. Bounds and faults as of :func:`decode`."""
    with _problems():
        image = _open(data).image
        _draft(image, max_side)
        image.load()
        _check_size(image.size, MAX_PIXELS)
        return np.array(_shrink(_eight_bit(image).convert("RGBA"), max_side))


def _open(data: bytes) -> _Opened:
    if not data:
        raise Problem("undecodable_media", "the picture is empty: 0 bytes")
    media_type = sniff(data)
    if media_type not in FORMATS:
        raise Problem("unsupported_media", f"{media_type or 'unknown content'} is not a picture that is read here")
    if not has_bounded_header(media_type, data):
        raise Problem("undecodable_media", "the header of the picture has too many pieces or no size")
    with _quiet():
        image = Image.open(io.BytesIO(data), formats=(FORMATS[media_type],))
        orientation = _orientation(image, data)
    width, height = image.size
    one_scan = media_type == "image/jpeg" and _in_one_scan(data)
    _check_size(image.size, MAX_JPEG_PIXELS if one_scan else MAX_PIXELS)
    if media_type == "image/jpeg" and not one_scan and data.count(b"\xff\xda") > MAX_JPEG_SCANS:
        raise Problem("too_large", f"the JPEG has more than {MAX_JPEG_SCANS} scans")
    if orientation >= 5:
        width, height = height, width
    return _Opened(image, ImageInfo(media_type, width, height), orientation)


def _check_size(size: tuple[int, int], limit: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise Problem("undecodable_media", f"the picture declares {width} x {height} pixels")
    if width * height > limit:
        raise Problem("too_large", f"{width} x {height} pixels are more than the {limit:,} that are decoded")


def _in_one_scan(data: bytes) -> bool:
    """Whether a JPEG's first scan holds all its components (ITU-T T.81, B.2): a sequential, interleaved frame."""
    components = 0
    for marker, at in jpeg_segments(data):
        if marker in (0xC0, 0xC1):
            components = int.from_bytes(data[at + 7 : at + 8], "big")
        elif marker == 0xDA:
            return components > 0 and data[at + 2 : at + 3] == bytes([components])
    return False


def _orientation(image: Image.Image, data: bytes) -> int:
    """EXIF orientation 1..8; 1 where it is absent, unreadable or already applied by the decoder (TIFF, HEIF)."""
    if image.format in ("TIFF", "HEIF"):
        return 1
    if image.format == "PNG" and "exif" not in image.info:
        image.info["exif"] = _late_png_exif(data)
    try:
        # Not image.getexif(): for PNG that decodes the pixels first.
        value = Image.Image.getexif(image).get(_ORIENTATION_TAG, 1)
    except Exception:  # a broken EXIF block does not spoil the pixels
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _late_png_exif(data: bytes) -> bytes:
    """The eXIf chunk, which the PNG specification (third edition, 11.3.4.6) also allows behind the pixels."""
    return next((b"Exif\0\0" + payload for _, payload in png_chunks(data) if payload is not None), b"")


def _draft(image: Image.Image, max_side: int | None) -> None:
    """Let libjpeg decode at 1/2, 1/4 or 1/8: as far as ``max_side`` allows, or as the pixel cap demands."""
    width, height = image.size
    if image.format not in ("JPEG", "MPO"):
        return
    longest = max(width, height)
    enough = [scale for scale in (8, 4, 2) if max_side is not None and longest // scale >= max_side]
    small = [scale for scale in (1, 2, 4, 8) if width * height <= MAX_PIXELS * scale * scale]
    scale = max([1, *enough[:1], *small[:1]])
    if scale > 1 and min(width, height) >= scale:
        image.draft(None, (width // scale, height // scale))


def _eight_bit(image: Image.Image) -> Image.Image:
    """Any Pillow mode as RGB, or as RGBA where there is transparency. Deep grey is scaled, not clipped."""
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image)
    if image.mode == "RGBX":
        return image.convert("RGB")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F":
        # Portable float maps hold 0..1 by custom, TIFF whatever its maker had: the highest value becomes white.
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).clip(min=0)
        grey = np.rint(values * (255 / max(values.max(), 1.0))).astype(np.uint8)
    elif values.min() >= 0 and values.max() <= 0xFFFF:
        grey = np.rint(np.arange(0x10000) / 257).astype(np.uint8)[values]
    else:
        grey = (values.astype(np.uint32) >> 24).astype(np.uint8)
    picture = Image.fromarray(grey)
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return picture.convert("RGB")
    picture.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return picture.convert("RGBA")


def _shrink(image: Image.Image, max_side: int | None) -> Image.Image:
    longest = max(image.size)
    if max_side is None or longest <= max_side:
        return image
    width, height = (max(1, round(side * max_side / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns of odd headers (and of sizes that are refused here). The filters are global, hence the lock."""
    with _header_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _problems() -> Iterator[None]:
    """Decoders raise nearly anything on bad bytes (OSError, SyntaxError, struct.error), always by the file's fault."""
    try:
        yield
    except Problem:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise Problem("too_large", "the picture declares more pixels than are decoded") from error
    except UnidentifiedImageError as error:
        raise Problem("undecodable_media", "the header of the picture is broken") from error
    except Exception as error:
        raise Problem("undecodable_media", f"the picture is broken: {str(error)[:MAX_TEXT_BYTES]}") from error


def letterbox(picture: Image.Image, size: tuple[int, int], pad: int) -> tuple[Image.Image, tuple[int, int]]:
    """An RGB picture fitted into the upper left of ``size`` (width, height) on the grey ``pad``, and the width and
    height that it takes up there."""
    scale = min(size[0] / picture.width, size[1] / picture.height)
    used = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    canvas = Image.new("RGB", size, (pad,) * 3)
    canvas.paste(picture.resize(used, Image.Resampling.BILINEAR), (0, 0))
    return canvas, used
