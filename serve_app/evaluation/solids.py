"""The embedded detector on meshes: what the views of a solid are called together, and those of other things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serve_app.evaluation.detector import Reader
from serve_app.evaluation.report import Figures, Tell, counted, say_nothing
from serve_app.media.cameras import ring
from serve_app.media.renderers import choose
from serve_app.media.rendering import Camera, Renderer, Style
from serve_app.models.embedded.backgrounds import UNSEEN_SURFACES
from serve_app.models.embedded.held_out import WORLD
from serve_app.models.embedded.primitives import solid
from serve_app.models.embedded.solids import EVERYDAY, SOLIDS


@dataclass(frozen=True)
class Seen:
    """A mesh of a ``shape``, and what it was called in any view at the threshold: best confidences, best first."""

    shape: str
    labels: dict[str, float]

    @property
    def named(self) -> bool:
        return self.shape in self.labels

    @property
    def named_first(self) -> bool:
        return self.shape == next(iter(self.labels), None)


def look(reader: Reader, renderer: Renderer, cameras: Sequence[Camera], number: int, shape: str) -> Seen:
    """What is seen of held-out mesh ``number``: of another seed, with patterns that no training draws."""
    mesh = solid(np.random.default_rng([WORLD, number]), shape, UNSEEN_SURFACES)
    best: dict[str, float] = {}
    for pixels in renderer.render(mesh, cameras, Style()).colour:
        for score, kind in reader.find(pixels)[:, 4:]:
            label = reader.labels[int(kind)]
            if score >= max(reader.stored.threshold, best.get(label, 0.0)):
                best[label] = float(score)
    return Seen(shape, dict(sorted(best.items(), key=lambda pair: -pair[1])))


def seen(reader: Reader, shapes: Sequence[str], count: int, tell: Tell = say_nothing) -> list[Seen]:
    """``count`` meshes of the ``shapes`` in turn, each from the eight cameras of a service."""
    renderer, cameras = choose(), ring()
    chosen = [shapes[number % len(shapes)] for number in range(count)]
    return [
        look(reader, renderer, cameras, number, shape)
        for number, shape in enumerate(counted(chosen, "looking at meshes", tell))
    ]


def mesh_figures(reader: Reader, count: int, tell: Tell = say_nothing) -> Figures:
    """Of ``count`` solids, the shares whose label is in the answer and is its best; and of a third as many everyday
    things, the share that is called a solid."""
    solids = seen(reader, SOLIDS, count, tell)
    others = seen(reader, EVERYDAY, max(1, count // 3), tell)
    by_shape = {shape: [one for one in solids if one.shape == shape] for shape in SOLIDS}
    return {
        "solids named in rendered meshes": float(np.mean([one.named for one in solids])),
        "solids named first": float(np.mean([one.named_first for one in solids])),
        **{
            f"{shape} named first": float(np.mean([one.named_first for one in mine]))
            for shape, mine in by_shape.items()
            if mine
        },
        "everyday meshes called a solid": float(np.mean([bool(one.labels) for one in others])),
    }
