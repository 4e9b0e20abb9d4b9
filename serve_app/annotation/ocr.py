"""Printed text by PP-OCRv6 (PaddleOCR), with the networks inside the rapidocr package.

Two networks: one gives for each pixel how likely it lies in the core of a line of text (Liao et al. 2020, "Real-time
Scene Text Detection with Differentiable Binarization"), the other reads a line (connectionist temporal classification,
Graves et al. 2006). What lies between, and its thresholds, are PaddleOCR's. Lines of one picture, or of several, are
read together; each is padded to a width that depends on itself alone, so that it is read alike in any company.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from serve_app.annotation.labels import Label
from serve_app.media import images
from serve_app.models.manifest import Model
from serve_app.models.sessions import open_session, warm

WORKING_SIDE = 1600
"""Longest side that is looked at: a line of one hundredth of it is still read."""
SHORT_SIDE = 736
"""Smaller pictures are enlarged to this shorter side, as far as the longer one allows: the detector was trained so."""
ENLARGED = 2.0
"""At most this much: enlarging further shows no letter that was not there, and an icon need not cost a photograph."""
STEP = 32
"""The detector takes sides that are multiples of this."""
CORE, LINE = 0.3, 0.5
"""Least probability of a pixel in a line's core, and least mean of a whole line."""
GROWTH = 1.6
"""The core is a line shrunk by its area over its perimeter, times about this; so it grows by as much."""
MIN_CORE = 3
"""Least thickness of a core in the detector's pixels."""
MAX_LINES = 200
"""Lines of one picture that are read, the surest ones: a page of a book has 40."""
MIN_CONFIDENCE = 0.5
"""Mean probability of the characters of a line that counts as read."""
MIN_ALONE = 0.9
"""The same of a line with a single letter or digit: rims and corners are taken for O, X or 0, at most at .75."""

LINE_HEIGHT, BUCKET, MAX_WIDTH = 48, 160, 2400
"""A line is read at this height, padded to a multiple of the second, and squeezed where it is wider than the third."""
RUN_WIDTH = 4800
"""Summed widths of what is read in one run: the network answers 18,710 float32 for every 8 columns."""

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Prepared:
    """``tensor`` is float32 [3, h, w] as the detector wants it, ``pixels`` uint8 [H, W, 3] BGR to cut lines from."""

    tensor: Floats
    pixels: Pixels
    width: int
    height: int
    """Of the full upright picture."""


@dataclass(frozen=True)
class Line:
    """A line that was read: its ``corners`` float32 [4, 2] in shares of the picture, clockwise from upper left."""

    text: str
    confidence: float
    corners: Floats


class TextReader:
    """Prepare one picture, run several of any sizes, finish one answer."""

    def __init__(self, detector: InferenceSession, reader: InferenceSession) -> None:
        """Raises ValueError where ``reader`` does not carry as many characters as it tells apart."""
        self._detector, self._reader = detector, reader
        listed = reader.get_modelmeta().custom_metadata_map.get("character", "")
        self._characters = ["", *listed.split("\n"), " "]  # the first is the blank
        if len(self._characters) != reader.get_outputs()[0].shape[-1]:
            raise ValueError(f"the network tells {reader.get_outputs()[0].shape[-1]} characters apart and lists others")

    def prepare(self, data: bytes) -> Prepared:
        """Decode, size and normalise one picture; raises ``Problem`` for what cannot be decoded."""
        picture = images.decode(data, max_side=WORKING_SIDE)
        pixels = np.ascontiguousarray(picture.pixels[..., ::-1])
        height, width = pixels.shape[:2]
        scale = max(1.0, min(SHORT_SIDE / min(height, width), WORKING_SIDE / max(height, width), ENLARGED))
        sides = [max(STEP, round(side * scale / STEP) * STEP) for side in (width, height)]
        tensor = _normal(np.asarray(cv2.resize(pixels, sides), np.uint8))
        return Prepared(tensor, pixels, picture.width, picture.height)

    def run(self, batch: Sequence[Prepared]) -> list[list[Line]]:
        """The lines of each picture in reading order; unsure ones and those without letter or digit are left out."""
        found = [self._find(item) for item in batch]
        crops = [_cut(item.pixels, corners) for item, lines in zip(batch, found, strict=True) for corners in lines]
        read = iter(self._read(crops))
        answers = [[Line(*next(read), corners) for corners in lines] for lines in found]
        return [[line for line in lines if _counts(line)] for lines in answers]

    def finish(self, lines: Sequence[Line], prepared: Prepared) -> list[Label]:
        """Labels in reading order; a box is the upright one around the line, in pixels of the full picture."""
        full = np.array([prepared.width, prepared.height])
        labels = []
        for line in lines:
            corners = (line.corners.astype(np.float64) * full).clip(0, full)
            (x1, y1), (x2, y2) = corners.min(axis=0), corners.max(axis=0)
            labels.append(Label(line.text, min(1.0, line.confidence), (float(x1), float(y1), float(x2), float(y2))))
        return labels

    def warm(self) -> None:
        """Run both networks once."""
        warm(self._detector, {self._detector.get_inputs()[0].name: (1, 3, STEP, STEP)})
        warm(self._reader, {self._reader.get_inputs()[0].name: (1, 3, LINE_HEIGHT, 2 * BUCKET)})

    def _find(self, item: Prepared) -> list[Floats]:
        """The corners of a picture's lines, each float32 [4, 2] in shares of it, in reading order."""
        probability: Floats = self._detector.run(None, {self._detector.get_inputs()[0].name: item.tensor[None]})[0][
            0, 0
        ]
        shares = np.array(probability.shape[::-1], np.float32)
        return _in_reading_order([corners / shares for corners in _lines(probability)])

    def _read(self, crops: Sequence[Pixels]) -> list[tuple[str, float]]:
        """Text and confidence of each crop, those of one width together."""
        buckets = defaultdict[int, list[int]](list)
        for index, crop in enumerate(crops):
            width = min(MAX_WIDTH, ceil(LINE_HEIGHT * crop.shape[1] / crop.shape[0]))
            buckets[max(2, ceil(width / BUCKET)) * BUCKET].append(index)
        answers = [("", 0.0)] * len(crops)
        for width, members in buckets.items():
            at_once = max(1, RUN_WIDTH // width)
            for first in range(0, len(members), at_once):
                chosen = members[first : first + at_once]
                tensor = np.stack([_padded(crops[index], width) for index in chosen])
                rows: Floats = self._reader.run(None, {self._reader.get_inputs()[0].name: tensor})[0]
                for index, row in zip(chosen, rows, strict=True):
                    answers[index] = self._decode(row)
        return answers

    def _decode(self, row: Floats) -> tuple[str, float]:
        """The best path [T, characters]: repetitions and blanks dropped; the mean probability of what is left."""
        best, sure = row.argmax(axis=1), row.max(axis=1)
        kept = (best != 0) & (np.diff(best, prepend=-1) != 0)
        if not kept.any():
            return "", 0.0
        return "".join(self._characters[index] for index in best[kept]).strip(), float(sure[kept].mean())


def load_reader(model: Model, files: Mapping[str, Path], threads: int = 0) -> TextReader:
    """Open the networks of a manifest row whose ``files`` (``detection``, ``recognition``) are on this machine."""
    missing = [name for name in ("detection", "recognition") if name not in files]
    if missing:
        raise ValueError(f"{model.name} has no file {', '.join(missing)}")
    return TextReader(open_session(files["detection"], threads), open_session(files["recognition"], threads))


def _counts(line: Line) -> bool:
    letters = sum(map(str.isalnum, line.text))
    return letters > 0 and line.confidence >= (MIN_ALONE if letters == 1 else MIN_CONFIDENCE)


def _normal(pixels: Pixels) -> Floats:
    """uint8 [H, W, 3] as float32 [3, H, W] in -1..1."""
    tensor = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)
    tensor /= 127.5
    tensor -= 1
    return tensor


def _lines(probability: Floats) -> list[Floats]:
    """The corners [4, 2], in pixels of ``probability`` [h, w], of the lines whose cores it shows, surest first."""
    mask = cv2.dilate((probability > CORE).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for contour in contours:
        centre, (width, height), angle = cv2.minAreaRect(contour)
        if min(width, height) < MIN_CORE:
            continue
        mean = _mean_within(probability, _corners(centre, (width, height), angle))
        if mean >= LINE:
            grown = GROWTH * width * height / (width + height)  # on both sides together
            found.append((mean, _clockwise(_corners(centre, (width + grown, height + grown), angle))))
    return [corners for _, corners in sorted(found, key=lambda pair: -pair[0])[:MAX_LINES]]


def _corners(centre: Sequence[float], sides: Sequence[float], angle: float) -> Floats:
    return np.asarray(cv2.boxPoints((centre, sides, angle)), np.float32)


def _mean_within(probability: Floats, corners: Floats) -> float:
    height, width = probability.shape
    (x1, y1), (x2, y2) = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
    x1, y1, x2, y2 = (
        int(np.clip(at, 0, side - 1)) for at, side in zip((x1, y1, x2, y2), (width, height) * 2, strict=True)
    )
    mask = np.zeros((y2 - y1 + 1, x2 - x1 + 1), np.uint8)
    cv2.fillPoly(mask, [(corners - (x1, y1)).astype(np.int32)], [1])
    return float(cv2.mean(probability[y1 : y2 + 1, x1 : x2 + 1], mask)[0])


def _clockwise(corners: Floats) -> Floats:
    """Upper left, upper right, lower right, lower left."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    (a, b), (c, d) = sorted(by_x[:2], key=lambda p: p[1]), sorted(by_x[2:], key=lambda p: p[1])
    return np.stack([a, c, d, b])


def _in_reading_order(lines: Sequence[Floats]) -> list[Floats]:
    """From above; those whose middles lie within half a line's height of the one before, from the left."""
    rows: list[list[Floats]] = []
    for line in sorted(lines, key=lambda corners: float(corners[:, 1].mean())):
        before = rows[-1][0] if rows else None
        if before is not None and line[:, 1].mean() - before[:, 1].mean() < np.ptp(before[:, 1]) / 2:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda corners: float(corners[:, 0].min()))]


def _cut(pixels: Pixels, corners: Floats) -> Pixels:
    """The line within ``corners`` (shares of the picture), straightened; one that runs down is laid on its side."""
    height, width = pixels.shape[:2]
    points = (corners * (width, height)).clip(0, (width - 1, height - 1)).astype(np.float32)
    top, right, bottom, left = np.linalg.norm(points - np.roll(points, -1, axis=0), axis=1)
    across, down = max(1, int(max(top, bottom))), max(1, int(max(left, right)))
    target = np.array([[0, 0], [across, 0], [across, down], [0, down]], np.float32)
    cut = cv2.warpPerspective(
        pixels,
        cv2.getPerspectiveTransform(points, target),
        (across, down),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(np.rot90(cut) if down >= 1.5 * across else cut, np.uint8)


def _padded(crop: Pixels, width: int) -> Floats:
    """float32 [3, LINE_HEIGHT, width]: the crop at that height, grey behind it."""
    used = min(width, ceil(LINE_HEIGHT * crop.shape[1] / crop.shape[0]))
    tensor = np.zeros((3, LINE_HEIGHT, width), np.float32)
    tensor[:, :, :used] = _normal(np.asarray(cv2.resize(crop, (used, LINE_HEIGHT)), np.uint8))
    return tensor
