"""Faces cut out of a picture: as a network wants them, and as they are kept."""

from __future__ import annotations

import io
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve_app.annotation.labels import FoundFace
from serve_app.errors import Problem
from serve_app.media import images
from serve_app.models.manifest import Descriptor

WORKING_SIDE = 4096
"""Longest side of the pixels that faces are cut from: a face that was found in it is at least 60 pixels there."""
FAR = 1e6
"""Pixels from the corner of a picture beyond which a landmark is nonsense."""
KEPT_AROUND = 1.0
"""Share of the box's sides that is kept around it, half on each side: a crop turned by 45 degrees is still inside."""
KEPT_SIDE = 640
"""Longest side of a kept face; the box itself is at least half of that, more than any network's input."""
KEPT_QUALITY = 95

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class KeptFace:
    """A face with enough around it that any descriptor can be computed from this alone.

    ``picture`` is a JPEG; ``box`` (x1, y1, x2, y2) and ``landmarks`` (five (x, y), or none) are in its pixels. A box
    that hangs over the edge of the first picture hangs over the edge of this one.
    """

    picture: bytes
    box: Box
    landmarks: tuple[tuple[float, float], ...] = ()

    @property
    def face(self) -> FoundFace:
        """Where the face is in ``picture``, as a detector would say it."""
        return FoundFace(self.box, 1.0, self.landmarks)


class Opened:
    """A decoded picture whose faces are cut out; boxes and landmarks are in pixels of the full upright picture."""

    def __init__(self, data: bytes) -> None:
        """Raises ``Problem`` for what cannot be decoded."""
        picture = images.decode(data, max_side=WORKING_SIDE)
        self._image = Image.fromarray(picture.pixels)
        self._scale = self._image.width / picture.width, self._image.height / picture.height

    def cut(self, face: FoundFace, spec: Descriptor) -> Pixels:
        """The face as the network wants it: RGB uint8 [side, side, 3]; ``Problem`` where it cannot be cut so."""
        if spec.align == "five_points":
            return self._by_landmarks(face, spec)
        box = self._box(face, spec.margin or 0)
        if spec.align == "square":
            box = _square(box)
        size = (spec.side, spec.side)
        return np.asarray(self._image.resize(size, Image.Resampling.BILINEAR, box=box))

    def keep(self, face: FoundFace) -> KeptFace:
        """The face with what is around it."""
        left, top, right, bottom = self._box(face, KEPT_AROUND)
        area = floor(left), floor(top), ceil(right), ceil(bottom)
        crop = self._image.crop(area)
        crop.thumbnail((KEPT_SIDE, KEPT_SIDE), Image.Resampling.BICUBIC, reducing_gap=None)
        scale = crop.width / (area[2] - area[0]), crop.height / (area[3] - area[1])
        corners = (self._at(point) for point in (face.box[:2], face.box[2:]))
        (left, top), (right, bottom) = (_moved(point, area, scale) for point in corners)
        landmarks = tuple(_moved(point, area, scale) for point in self._landmarks(face))
        buffer = io.BytesIO()
        crop.save(buffer, "JPEG", quality=KEPT_QUALITY, subsampling=0)
        return KeptFace(buffer.getvalue(), (left, top, right, bottom), landmarks)

    def _box(self, face: FoundFace, more: float = 0) -> Box:
        """Its box in the pixels at hand with a share ``more`` of its sides, half of it on each side, as far as the
        picture goes; ``Problem`` where none of it is in the picture."""
        if not np.isfinite(face.box).all():
            raise Problem("unprocessable", "the box of the face is not finite")
        (x1, y1), (x2, y2) = (self._at(point) for point in (face.box[:2], face.box[2:]))
        wide, high = more * (x2 - x1) / 2, more * (y2 - y1) / 2
        left, top = max(0.0, x1 - wide), max(0.0, y1 - high)
        right, bottom = min(float(self._image.width), x2 + wide), min(float(self._image.height), y2 + high)
        if min(x2 - x1, y2 - y1, right - left, bottom - top) <= 0:
            raise Problem("unprocessable", "the box of the face has no part in the picture")
        return left, top, right, bottom

    def _landmarks(self, face: FoundFace) -> list[tuple[float, float]]:
        return [self._at(point) for point in face.landmarks]

    def _at(self, point: tuple[float, ...]) -> tuple[float, float]:
        return point[0] * self._scale[0], point[1] * self._scale[1]

    def _by_landmarks(self, face: FoundFace, spec: Descriptor) -> Pixels:
        """What a similarity takes from the landmarks to the template; black where the picture does not go."""
        turn, shift = _similarity(self._landmarks(face), spec.template or ())
        corners = np.array([0, spec.side, spec.side * 1j, spec.side * (1 + 1j)]) * turn + shift
        left, top = max(0, floor(corners.real.min()) - 2), max(0, floor(corners.imag.min()) - 2)
        right = min(self._image.width, ceil(corners.real.max()) + 2)
        bottom = min(self._image.height, ceil(corners.imag.max()) + 2)
        if right <= left or bottom <= top:
            return np.zeros((spec.side, spec.side, 3), np.uint8)
        # Bilinear sampling reads four pixels: what is shrunk by more than two is averaged first.
        factor = max(1, min(floor(abs(turn)), right - left, bottom - top))
        part = self._image.crop((left, top, right, bottom)).reduce(factor)
        turn, shift = turn / factor, (shift - complex(left, top)) / factor
        across = (turn.real, -turn.imag, shift.real, turn.imag, turn.real, shift.imag)
        size = (spec.side, spec.side)
        return np.asarray(part.transform(size, Image.Transform.AFFINE, across, Image.Resampling.BILINEAR))


def _moved(point: tuple[float, float], origin: tuple[int, ...], scale: tuple[float, float]) -> tuple[float, float]:
    return (point[0] - origin[0]) * scale[0], (point[1] - origin[1]) * scale[1]


def _square(box: Box) -> Box:
    """The middle square of a box, as wide as its shorter side."""
    x1, y1, x2, y2 = box
    half = min(x2 - x1, y2 - y1) / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - half, y - half, x + half, y + half


def _similarity(
    points: list[tuple[float, float]], template: tuple[tuple[float, float], ...]
) -> tuple[complex, complex]:
    """The similarity from the template's plane to the picture's that least squares finds (Umeyama 1991), without a
    reflection: z -> turn * z + shift on points x + iy.

    It is fitted from the picture to the template, whose pixels are those that matter, and then inverted.
    """
    if len(points) != len(template):
        detail = f"this descriptor aligns a face by {len(template)} landmarks, and the detector gave {len(points)}"
        raise Problem("unavailable", detail, "serve a face detector that gives landmarks, such as mtcnn")
    if not (np.abs(points) < FAR).all():  # which NaN is not either
        raise Problem("unprocessable", "the landmarks of the face are nowhere near a picture")
    seen, wanted = (np.array([complex(x, y) for x, y in some]) for some in (points, template))
    about, target = seen - seen.mean(), wanted - wanted.mean()
    spread = float(np.vdot(about, about).real)
    onto = complex(np.vdot(about, target)) / spread if 0 < spread < np.inf else 0j
    if abs(onto) == 0:
        raise Problem("unprocessable", "the landmarks of the face do not tell how it lies")
    turn = 1 / onto
    return turn, complex(seen.mean()) - turn * complex(wanted.mean())
