"""Seeded clips whose scene boundaries are known: camera moves over photographs, joined and disturbed in known ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

Frame = NDArray[np.uint8]
Generator = np.random.Generator
Boundary = tuple[int, int]
"""First and last frame at which a boundary may be said to be; the same for a cut."""

WIDTH, HEIGHT = 192, 108
RATES = (12, 24, 25, 30, 50, 60)
JOINS = ("cut", "dissolve", "fade through black", "fade through white")
DISTURBANCES = (
    "calm", "pan", "zoom", "shake", "noise", "flash", "strobe", "whip pan", "passing object", "light", "held frames",
)  # fmt: skip
SKIMAGE = ("astronaut", "camera", "chelsea", "coffee", "rocket")
_FILES = ("*.jpg", "*.png")
_NAMES = ("coco", "kodim0", "cat", "parrot", "plumeria", "balloon", "dino", "elephant", "gecko")


@dataclass(frozen=True)
class Clip:
    """A file, the boundaries in it, what joins its scenes and what disturbs them."""

    path: Path
    frames: int
    boundaries: tuple[Boundary, ...]
    join: str
    disturbance: str


def photographs(shared: Path | None, half: int) -> list[Image.Image]:
    """Every second photograph of scikit-image's and the shared ones, so that halves 0 and 1 have none in common; all
    of scikit-image's where there are no others."""
    found = [Image.fromarray(getattr(data, name)()) for name in SKIMAGE]
    if shared:
        paths = sorted(path for pattern in _FILES for path in (shared / "media" / "images").glob(pattern))
        found += [Image.open(path) for path in paths if path.name.startswith(_NAMES)]
        found = found[half::2]
    pictures = [picture.convert("RGB") for picture in found]
    for picture in pictures:
        picture.thumbnail((900, 900))
    return pictures


def generate(folder: Path, pictures: Sequence[Image.Image], seed: int, repeats: int) -> list[Clip]:
    """Clips of every join under every disturbance, ``repeats`` of each, and as many of one scene; H.264 in MP4."""
    clips = []
    for repeat in range(repeats):
        for number, (join, disturbance) in enumerate((j, d) for j in (*JOINS, "none") for d in DISTURBANCES):
            random = np.random.default_rng((seed, repeat, number))
            fps = int(random.choice(RATES))
            frames, boundaries = _clip(random, pictures, join, disturbance, fps)
            path = folder / f"{join}-{disturbance}-{repeat}.mp4".replace(" ", "_")
            _encode(path, frames, fps, crf=int(random.choice((20, 26, 32, 38))))
            clips.append(Clip(path, len(frames), tuple(boundaries), join, disturbance))
    return clips


def _clip(
    random: Generator, pictures: Sequence[Image.Image], join: str, disturbance: str, fps: int
) -> tuple[list[Frame], list[Boundary]]:
    count = 1 if join == "none" else 4
    chosen = random.choice(len(pictures), count, replace=False)
    lengths = [int(fps * random.uniform(2.0, 3.5)) for _ in chosen]
    scenes = [
        list(_scene(random, pictures[index], length, disturbance, fps, pictures))
        for index, length in zip(chosen, lengths, strict=True)
    ]
    frames, boundaries = scenes[0], []
    for scene in scenes[1:]:
        frames, boundary = _joined(random, frames, scene, join, fps)
        boundaries.append(boundary)
    return frames, boundaries


def _scene(
    random: Generator, picture: Image.Image, length: int, disturbance: str, fps: int, pictures: Sequence[Image.Image]
) -> Iterator[Frame]:
    boxes = _path(random, picture, length, disturbance, fps)
    change = _CHANGES.get(disturbance, _nothing)(random, length, fps, pictures)
    held = int(random.integers(2, 5)) if disturbance == "held frames" else 1
    for frame in range(length):
        box = boxes[frame - frame % held]
        pixels = np.asarray(picture.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=tuple(box)), np.float32)
        yield change(frame, pixels).clip(0, 255).astype(np.uint8)


def _path(random: Generator, picture: Image.Image, length: int, disturbance: str, fps: int) -> NDArray[np.float64]:
    """Boxes [length, 4] (left, upper, right, lower) that the camera sees, inside the picture."""
    speeds = {"pan": (0.15, 0.6), "zoom": (0.02, 0.05), "held frames": (0.3, 0.6), "whip pan": (0.02, 0.05)}
    speed = random.uniform(*speeds.get(disturbance, (0.0, 0.04)))  # of the view's width, in a second
    seconds = np.arange(length) / fps
    aspect = HEIGHT / WIDTH
    widest = min(picture.width, picture.height / aspect)
    rate = random.uniform(0.15, 0.35) * random.choice((-1, 1)) if disturbance == "zoom" else 0.0
    zoom = np.exp(rate * seconds)
    width = widest * random.uniform(0.45, 0.6) * zoom / zoom.max()
    angle = random.uniform(0, 2 * np.pi)
    along = speed * seconds
    if disturbance == "whip pan":  # at rest, then far within a third of a second, then at rest
        along = along + random.uniform(0.5, 0.9) / (
            1 + np.exp(-(seconds - seconds[-1] * random.uniform(0.3, 0.7)) * 18)
        )
    move = along[:, None] * np.array([np.cos(angle), np.sin(angle) * 0.6])
    if disturbance == "shake":
        move = move + random.uniform(0.01, 0.03) * _wobble(random, length, fps)
    span = np.array([picture.width, picture.height])
    view = np.stack([width, width * aspect], 1)
    centre = span * random.uniform(0.3, 0.7, 2) + move * width.mean()
    corner = _bounce(centre - view / 2, span - view)
    return np.concatenate([corner, corner + view], 1).clip(0, np.tile(span, 2))


def _wobble(random: Generator, length: int, fps: int) -> NDArray[np.float64]:
    seconds = np.arange(length)[:, None, None] / fps
    waves = np.sin(2 * np.pi * (random.uniform(1, 7, (1, 2, 4)) * seconds + random.uniform(0, 1, (1, 2, 4))))
    wobble: NDArray[np.float64] = waves.mean(-1) * 2
    return wobble


def _bounce(position: NDArray[np.float64], room: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turns back at the picture's edges."""
    room = np.maximum(room, 1e-6)
    folded: NDArray[np.float64] = room - np.abs(np.mod(position, 2 * room) - room)
    return folded


Change = Callable[[int, NDArray[np.float32]], NDArray[np.float32]]
Pictures = Sequence[Image.Image]


def _nothing(_random: Generator, _length: int, _fps: int, _pictures: Pictures) -> Change:
    return lambda _frame, pixels: pixels


def _noise(random: Generator, _length: int, _fps: int, _pictures: Pictures) -> Change:
    deviation = random.uniform(8, 30)
    return lambda _frame, pixels: pixels + random.normal(0, deviation, pixels.shape).astype(np.float32)


def _flash(random: Generator, length: int, fps: int, _pictures: Pictures) -> Change:
    starts = random.uniform(0.25, 0.75, 2) * length
    strength, fading = random.uniform(0.5, 1.0), random.uniform(0.03, 0.12) * fps

    def change(frame: int, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        light = max(np.exp(-(frame - start) / fading) if frame >= start else 0.0 for start in starts) * strength
        return pixels + np.float32(light) * (255 - pixels) * np.float32(0.4) + np.float32(light * 200)

    return change


def _strobe(random: Generator, length: int, fps: int, _pictures: Pictures) -> Change:
    first, last = sorted(random.uniform(0.2, 0.8, 2) * length)
    period, dark = max(2, int(fps / random.uniform(4, 12))), random.random() < 0.5

    def change(frame: int, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        lit = first <= frame < last and frame % period < max(1, period // 3)
        return (pixels * 0.08 if dark else pixels * 0.3 + 190) if lit else pixels

    return change


def _object(random: Generator, length: int, fps: int, pictures: Pictures) -> Change:
    """Something as high as half to nine tenths of the view crosses it within a second or so."""
    height = int(HEIGHT * random.uniform(0.5, 0.9))
    picture = pictures[int(random.integers(len(pictures)))]
    thing = np.asarray(picture.resize((int(height * random.uniform(0.6, 1.2)), height)), np.float32)
    top, begin = int(random.integers(0, HEIGHT - height + 1)), length * random.uniform(0.2, 0.5)
    speed = (WIDTH + thing.shape[1]) / (fps * random.uniform(0.5, 1.5))

    def change(frame: int, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        left = int((frame - begin) * speed) - thing.shape[1]
        first, last = max(left, 0), min(left + thing.shape[1], WIDTH)
        if first < last:
            pixels = pixels.copy()
            pixels[top : top + height, first:last] = thing[:, first - left : last - left]
        return pixels

    return change


def _light(random: Generator, length: int, fps: int, _pictures: Pictures) -> Change:
    """The light goes up or down to a third and back, and someone switches a lamp on."""
    at, speed = random.uniform(0.3, 0.6) * length, random.uniform(0.3, 1.0)
    depth, lamp = random.uniform(0.3, 0.6), random.uniform(20, 60)

    def change(frame: int, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        gain = 1 - depth * (0.5 - 0.5 * np.cos(2 * np.pi * speed * frame / fps))
        return pixels * np.float32(gain) + np.float32(lamp if frame >= at else 0)

    return change


_CHANGES: dict[str, Callable[[Generator, int, int, Pictures], Change]] = {
    "noise": _noise, "flash": _flash, "strobe": _strobe, "passing object": _object, "light": _light,
}  # fmt: skip


def _joined(
    random: Generator, before: list[Frame], after: list[Frame], join: str, fps: int
) -> tuple[list[Frame], Boundary]:
    if join == "cut":
        return before + after, (len(before), len(before))
    length = int(fps * random.uniform(0.3, 1.2))
    if join == "dissolve":
        start = len(before) - length
        shares = [(number + 1) / (length + 1) for number in range(length)]
        blend = [_mixed(a, b, s) for a, b, s in zip(before[start:], after[:length], shares, strict=True)]
        return before[:start] + blend + after[length:], (start, start + length)
    solid = np.full_like(before[0], 0 if join == "fade through black" else 255)
    still = int(fps * random.uniform(0.0, 0.6))
    half = max(length // 2, 2)
    shares = [(number + 1) / half for number in range(half)]
    out = [_mixed(a, solid, s) for a, s in zip(before[-half:], shares, strict=True)]
    into = [_mixed(solid, b, s) for b, s in zip(after[:half], shares, strict=True)]
    start = len(before) - half
    return before[:start] + out + [solid] * still + into + after[half:], (start, start + 2 * half + still)


def _mixed(first: Frame, second: Frame, share: float) -> Frame:
    return np.rint(first * (1 - share) + second * share).astype(np.uint8)


def _encode(path: Path, frames: list[Frame], fps: int, crf: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
