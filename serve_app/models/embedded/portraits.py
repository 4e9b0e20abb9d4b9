"""One mesh alone in a picture, as the multi-view renderer draws it: big, centred, mostly on white."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serve_app.media.cameras import ring
from serve_app.media.embree import EmbreeRenderer
from serve_app.media.rendering import Style
from serve_app.media.shading import Lighting
from serve_app.models.embedded.backgrounds import SURFACES, Pixels, background, jitter, random_colour
from serve_app.models.embedded.primitives import solid
from serve_app.models.embedded.rendering import SUPERSAMPLE, visible_box
from serve_app.models.embedded.solids import EVERYDAY, SOLIDS

_SOLID = 0.72  # share of solids; the rest are everyday shapes, which are not to be found
_AS_SERVED = (
    0.6  # share of the pictures with the camera, of those with the lights, of those with the white of a service
)


@dataclass(frozen=True)
class Portrait:
    """``pixels`` uint8 [side, side, 3]; ``box`` x1, y1, x2, y2 in pixels around the ``shape``."""

    pixels: Pixels
    shape: str
    box: tuple[float, float, float, float]


def portrait(rng: np.random.Generator, side: int) -> Portrait:
    """A solid or an everyday shape, from a ring of cameras like the service's and from others."""
    shape = str(rng.choice(SOLIDS if rng.random() < _SOLID else EVERYDAY))
    mesh = solid(rng, shape, SURFACES)
    full = side * SUPERSAMPLE
    as_served = rng.random() < _AS_SERVED
    distance, elevation = (2.0, 0.0) if as_served else (rng.uniform(1.9, 3.2), rng.uniform(-35, 45))
    camera = ring(distance, elevation, (rng.uniform(0, 360),))
    drawn = EmbreeRenderer(_lighting(rng), threads=1).render(mesh, camera, Style(full))
    pixels = drawn.colour[0]
    if rng.random() > _AS_SERVED:
        behind = _behind(rng, side).repeat(SUPERSAMPLE, axis=0).repeat(SUPERSAMPLE, axis=1)
        pixels = np.where(drawn.alpha[0, ..., None] > 0, pixels, behind)
    box = visible_box(drawn.mask[0])
    assert box is not None, "every camera looks at the mesh"
    x1, y1, x2, y2 = (edge / SUPERSAMPLE for edge in box)
    cells = pixels.reshape(side, SUPERSAMPLE, side, SUPERSAMPLE, 3)
    return Portrait(cells.mean(axis=(1, 3)).round().astype(np.uint8), shape, (x1, y1, x2, y2))


def _lighting(rng: np.random.Generator) -> Lighting:
    """The service's lights, or a key and a fill from elsewhere."""
    if rng.random() < _AS_SERVED:
        return Lighting()
    key, fill = (rng.uniform(-1, 1), rng.uniform(0, 1), 0.6), (rng.uniform(-1, 1), rng.uniform(-1, 1), 0.8)
    return Lighting(((key, rng.uniform(0.3, 0.6)), (fill, rng.uniform(0.05, 0.3))), rng.uniform(0.2, 0.4))


def _behind(rng: np.random.Generator, side: int) -> Pixels:
    """A grey, a colour, or a background of the generated scenes."""
    kind = rng.random()
    if kind < 0.6:
        plain = rng.uniform(0, 255, 1).repeat(3) if kind < 0.35 else jitter(rng, random_colour(rng))
        return np.broadcast_to(plain.astype(np.uint8), (side, side, 3))
    return background(rng, side, None)[0]
