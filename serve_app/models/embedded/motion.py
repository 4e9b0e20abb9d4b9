"""What the embedded action model knows: eighteen motions of the camera or of a subject, and shots that show one each.

A camera that pans left turns its view to the left, so that what it shows moves to the right in the picture; one that
tilts up lets it move down. An object that moves left does so in the picture. Roll and rotation go either way. Lengths
are in sides of the view, x to the right and y downwards, turns in radians clockwise as seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serve_app.models.embedded.motion_paths import (
    FRAMES,
    Floats,
    amount,
    bounce,
    flashes,
    jumps,
    progress,
    sign,
    tremor,
    wobble,
)

CAMERA_LABELS = ("static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out", "roll", "shake",
                 "flicker")  # fmt: skip
SUBJECT_LABELS = ("object moving left", "object moving right", "object moving up", "object moving down",
                  "object growing", "object shrinking", "object rotating", "object bouncing")  # fmt: skip
LABELS = CAMERA_LABELS + SUBJECT_LABELS
MIXED = 0.1  # share of the training clips that show two motions, so that a doubtful clip gets a doubtful answer
_PAIRS = (
    ("pan left", "tilt up"), ("pan left", "tilt down"), ("pan right", "tilt up"), ("pan right", "tilt down"),
    ("pan left", "zoom in"), ("pan right", "zoom out"), ("tilt up", "zoom out"), ("tilt down", "zoom in"),
    ("zoom in", "roll"), ("zoom out", "roll"), ("pan left", "roll"), ("pan right", "roll"),
    ("pan left", "object moving right"), ("pan right", "object moving left"), ("zoom in", "object moving left"),
    ("zoom out", "object moving right"), ("tilt up", "object growing"), ("tilt down", "object rotating"),
    ("object moving left", "object moving up"), ("object moving right", "object moving up"),
    ("object moving left", "object moving down"), ("object moving right", "object moving down"),
    ("object growing", "object moving left"), ("object shrinking", "object moving right"),
    ("object moving left", "object moving right"), ("object growing", "object rotating"),
)  # fmt: skip


@dataclass
class Layer:
    """A thing in front of the background over T frames: where its centre is in the view, its side and its turn.

    ``sprite`` numbers it among those of the world. ``held`` things stay where they are in the view, as a watermark
    does; the others move with what the camera shows, ``parallax`` times as far.
    """

    x: Floats
    y: Floats
    size: Floats
    turn: Floats
    sprite: int = 0
    parallax: float = 1.0
    held: bool = False


@dataclass
class Shot:
    """A clip to be rendered: the camera's centre in the world, its log magnification and turn, all [T]; the ``light``
    as a gain [T, 3]; a ``swell`` that bends the picture around a spot; and how true each label is, float32 [18]."""

    target: Floats
    x: Floats = field(default_factory=lambda: np.zeros(FRAMES))
    y: Floats = field(default_factory=lambda: np.zeros(FRAMES))
    zoom: Floats = field(default_factory=lambda: np.zeros(FRAMES))
    turn: Floats = field(default_factory=lambda: np.zeros(FRAMES))
    light: Floats = field(default_factory=lambda: np.ones((FRAMES, 3)))
    swell: Floats = field(default_factory=lambda: np.zeros((FRAMES, 2)))
    spot: tuple[float, float, float] = (0.0, 0.0, 0.1)
    layers: list[Layer] = field(default_factory=list)


def _pan(across: int, along: int) -> Callable[[np.random.Generator, Shot], None]:
    """The camera's centre goes ``across`` times x and ``along`` times y, aside by at most a quarter of its way."""

    def move(rng: np.random.Generator, shot: Shot) -> None:
        way = amount(rng, 0.06, 0.6)
        path, aside = (progress(rng) - 0.5) * way, (progress(rng) - 0.5) * way * rng.uniform(-0.22, 0.22)
        shot.x += path * across + aside * along
        shot.y += path * along + aside * across
        shot.zoom += (progress(rng) - 0.5) * rng.normal(0, 0.02)

    return move


def _zoom(direction: int) -> Callable[[np.random.Generator, Shot], None]:
    def move(rng: np.random.Generator, shot: Shot) -> None:
        zoom = (progress(rng) - 0.5) * np.log(amount(rng, 1.12, 2.2)) * direction
        focus = rng.uniform(-0.15, 0.15, 2)
        shot.zoom += zoom
        shot.x += focus[0] * (1 - np.exp(-zoom))
        shot.y += focus[1] * (1 - np.exp(-zoom))
        shot.turn += (progress(rng) - 0.5) * rng.normal(0, 0.02)

    return move


def _roll(rng: np.random.Generator, shot: Shot) -> None:
    shot.turn += (progress(rng) - 0.5) * np.radians(amount(rng, 12, 90)) * sign(rng)


def _shake(rng: np.random.Generator, shot: Shot) -> None:
    width, shares = amount(rng, 0.07, 0.24), rng.permutation([1.0, rng.uniform(0.2, 1)])
    shot.x += width * shares[0] * jumps(rng)
    shot.y += width * shares[1] * jumps(rng)
    shot.turn += np.radians(rng.uniform(0, 3)) * jumps(rng)


def _flicker(rng: np.random.Generator, shot: Shot) -> None:
    shot.light = shot.light * flashes(rng)


def _still(rng: np.random.Generator, shot: Shot) -> None:
    """Nothing but the hand that holds the camera, or not even that."""


def _subject(rng: np.random.Generator, shot: Shot) -> Layer:
    """A thing near the middle of the view that breathes and sways a little; it is added to the shot."""
    x, y = rng.uniform(-0.2, 0.2, 2)
    size = amount(rng, 0.18, 0.6)
    layer = Layer(
        x + 0.012 * wobble(rng) * rng.random(),
        y + 0.012 * wobble(rng) * rng.random(),
        size * np.exp(0.03 * wobble(rng) * rng.random()),
        rng.uniform(-np.pi, np.pi) + np.radians(4) * wobble(rng) * rng.random(),
    )
    shot.layers.append(layer)
    return layer


def _move(across: int, along: int) -> Callable[[np.random.Generator, Shot], None]:
    def move(rng: np.random.Generator, shot: Shot) -> None:
        layer, way = _subject(rng, shot), amount(rng, 0.16, 0.8)
        path, aside = (progress(rng) - 0.5) * way, (progress(rng) - 0.5) * way * rng.uniform(-0.22, 0.22)
        layer.x += path * across + aside * along
        layer.y += path * along + aside * across

    return move


def _grow(direction: int) -> Callable[[np.random.Generator, Shot], None]:
    def move(rng: np.random.Generator, shot: Shot) -> None:
        layer, factor = _subject(rng, shot), amount(rng, 1.35, 3.0)
        layer.size *= np.exp((progress(rng) - 0.5) * np.log(factor) * direction)
        layer.size *= min(1.0, 0.85 / layer.size.max()) * max(1.0, 0.12 / layer.size.min())

    return move


def _rotate(rng: np.random.Generator, shot: Shot) -> None:
    layer = _subject(rng, shot)
    layer.size *= max(1.0, 0.28 / layer.size.min())
    layer.turn += progress(rng) * np.radians(amount(rng, 45, 400)) * sign(rng)


def _bounce(rng: np.random.Generator, shot: Shot) -> None:
    layer = _subject(rng, shot)
    height = amount(rng, 0.15, 0.5)
    layer.y += height * (bounce(rng) + 0.5)
    layer.x += (progress(rng) - 0.5) * rng.uniform(-0.35, 0.35) * rng.integers(2)


MOTIONS: dict[str, Callable[[np.random.Generator, Shot], None]] = {
    "static": _still,
    "pan left": _pan(-1, 0),
    "pan right": _pan(1, 0),
    "tilt up": _pan(0, -1),
    "tilt down": _pan(0, 1),
    "zoom in": _zoom(1),
    "zoom out": _zoom(-1),
    "roll": _roll,
    "shake": _shake,
    "flicker": _flicker,
    "object moving left": _move(-1, 0),
    "object moving right": _move(1, 0),
    "object moving up": _move(0, -1),
    "object moving down": _move(0, 1),
    "object growing": _grow(1),
    "object shrinking": _grow(-1),
    "object rotating": _rotate,
    "object bouncing": _bounce,
}


def _hand(rng: np.random.Generator, shot: Shot) -> None:
    """A camera on a stand, or one that sways by up to two hundredths of the view and trembles a little."""
    if rng.random() < 0.35:
        return
    sway = rng.uniform(0.002, 0.02)
    shot.x += sway * wobble(rng) + tremor(rng, 0.002)
    shot.y += sway * wobble(rng) + tremor(rng, 0.002)
    shot.turn += np.radians(0.8) * wobble(rng) * rng.random()
    shot.zoom += 0.012 * wobble(rng) * rng.random()


def _things(rng: np.random.Generator, shot: Shot, camera: bool) -> None:
    """What else there may be, without a motion worth a name: things that stand in the world, a watermark, something
    small that passes, a face that talks, light that fades."""
    if camera and rng.random() < 0.45:
        thing = _subject(rng, shot)
        thing.parallax = float(rng.choice([1.0, rng.uniform(1.0, 1.5)]))
    if rng.random() < 0.12:
        x, y, size = rng.uniform(-0.42, 0.42), rng.uniform(0.3, 0.45) * sign(rng), rng.uniform(0.06, 0.2)
        still = np.ones(FRAMES)
        shot.layers.append(Layer(x * still, y * still, size * still, 0 * still, held=True))
    if rng.random() < 0.15:
        small = _subject(rng, shot)
        small.size = np.full(FRAMES, rng.uniform(0.04, 0.08))
        small.x = small.x + rng.uniform(-0.25, 0.25) + (progress(rng) - 0.5) * rng.uniform(-0.5, 0.5)
        small.y = small.y + rng.uniform(-0.25, 0.25) + (progress(rng) - 0.5) * rng.uniform(-0.5, 0.5)
    if rng.random() < 0.3:
        shot.spot = (rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3), rng.uniform(0.06, 0.16))
        shot.swell = rng.uniform(0.006, 0.025) * np.stack([wobble(rng), wobble(rng)], axis=1)
    if rng.random() < 0.15:
        low, high = rng.uniform(0.15, 1.0), rng.uniform(0.9, 1.3)
        fade = low + (high - low) * progress(rng)
        shot.light = shot.light * (fade if rng.random() < 0.5 else fade[::-1])[:, None]


def shoot(rng: np.random.Generator, *labels: str) -> Shot:
    """A shot of the motions named; two of them are half true each. A sprite is yet to be chosen for each layer."""
    target = np.zeros(len(LABELS), np.float64)
    for label in labels:
        target[LABELS.index(label)] = 1 / len(labels)
    shot = Shot(target)
    _hand(rng, shot)
    for label in labels:
        MOTIONS[label](rng, shot)
    _things(rng, shot, all(label in CAMERA_LABELS for label in labels))
    return shot


def draw(rng: np.random.Generator, count: int, mixed: float = MIXED) -> list[Shot]:
    """``count`` shots, each label as often as the others as far as that goes, a share ``mixed`` of two motions."""
    rounds = [rng.permutation(len(LABELS)) for _ in range(-(-count // len(LABELS)))]
    shots = []
    for number in np.concatenate(rounds)[:count]:
        pair = _PAIRS[int(rng.integers(len(_PAIRS)))] if rng.random() < mixed else (LABELS[number],)
        shots.append(shoot(rng, *pair))
    return shots


def _swapped(pairs: Sequence[tuple[str, str]]) -> NDArray[np.int64]:
    """The number of the label that each label turns into where the labels of the pairs change places."""
    partner = {one: other for pair in pairs for one, other in (pair, pair[::-1])}
    return np.array([LABELS.index(partner.get(label, label)) for label in LABELS])


BACKWARDS = _swapped([
    ("pan left", "pan right"), ("tilt up", "tilt down"), ("zoom in", "zoom out"),
    ("object moving left", "object moving right"), ("object moving up", "object moving down"),
    ("object growing", "object shrinking"),
])  # fmt: skip
"""What each label becomes when a clip runs backwards."""
TRANSPOSED = _swapped([
    ("pan left", "tilt up"), ("pan right", "tilt down"),
    ("object moving left", "object moving up"), ("object moving right", "object moving down"),
])  # fmt: skip
"""What each label becomes when rows and columns change places; but for bouncing, which is then nothing with a name."""
