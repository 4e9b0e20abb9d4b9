"""Things to try the service with: photographs, generated scenes, solids, a film made of the photographs."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, track

PHOTOGRAPHS = (
    "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "horse.png", "motorcycle_left.png", "page.png",
    "rocket.jpg",
)  # fmt: skip
"""Those in scikit-image's package."""

Box = tuple[float, float, float]
"""Left and top of the view in shares of the photograph, and its width as a share of the photograph's."""

SHOTS: tuple[tuple[str, Box, Box], ...] = (
    ("astronaut.png", (0.02, 0.0, 0.9), (0.26, 0.02, 0.4)),
    ("rocket.jpg", (0.0, 0.1, 0.6), (0.4, 0.1, 0.6)),
    ("chelsea.png", (0.2, 0.1, 0.7), (0.2, 0.1, 0.7)),
    ("coffee.png", (0.4, 0.1, 0.6), (0.0, 0.1, 0.6)),
)
"""A photograph, the view at the beginning and at the end: nearer, along to the right, still, along to the left."""
MEMES_WORLD = 1_000_003
"""Seed of the memes that are drawn as examples; no training uses it."""
_UPRIGHT = ((1, 0, 0, 0), (0, 0, 1, 0), (0, -1, 0, 0), (0, 0, 0, 1))
"""What stands on Z, as trimesh makes it, upon Y, as most formats have it."""
SHOT_S, RATE, SIZE = 3, 25, (320, 240)


def photographs(directory: Path) -> None:
    """Put the photographs into ``directory``."""
    data = importlib.resources.files("skimage") / "data"
    for name in PHOTOGRAPHS:
        (directory / name).write_bytes((data / name).read_bytes())


def scenes(directory: Path, count: int, console: Console) -> None:
    """Draw ``count`` scenes of a world that no training drew, named after what they show."""
    # The renderer takes a second to import, which the other commands must not wait for.
    from PIL import Image

    from serve_app.models.embedded.held_out import WORLD
    from serve_app.models.embedded.scenes import Mix, generate

    mix = Mix(photographs=0, pages=0, full=True)
    for number in track(range(count), "drawing", console=console, transient=True):
        scene = generate(WORLD, number, 320, mix)
        name = "-".join(re.findall(r"[a-z0-9]+", scene.caption.lower()))
        Image.fromarray(scene.pixels).save(directory / f"{number:02}-{name[:80]}.png")


def memes(directory: Path, count: int, console: Console) -> None:
    """Draw ``count`` memes, pictures with print and pictures without, each kind in a folder, that no training saw."""
    from serve_app.models.memes.world import KINDS, write_world

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("drawing", total=count * len(KINDS))
        write_world(
            directory, dict.fromkeys(KINDS, count), MEMES_WORLD, lambda done, _: bar.update(task, completed=done)
        )


def solids(directory: Path) -> None:
    """Write a file of each 3D format: solids in one colour, and a room with three of them in it."""
    import trimesh

    cone = trimesh.creation.cone(0.6, 1.5)
    made = {
        "cube.glb": _painted(trimesh.creation.box((1, 1, 1)), (190, 60, 50)),
        "ball.ply": _painted(trimesh.creation.icosphere(4), (60, 110, 190)),
        "cone.stl": cone,  # Z is up in this format, as trimesh makes it
        "ring.obj": trimesh.creation.torus(1.0, 0.35).apply_transform(_UPRIGHT),
        "cylinder.off": trimesh.creation.cylinder(0.5, 1.5).apply_transform(_UPRIGHT),
        "room.glb": _room(),
    }
    for name, mesh in made.items():
        mesh.export(directory / name)


def _room() -> Any:
    """Four walls, a floor and a ceiling that are seen from inside alone; 5 m wide, 4 m deep, 2.6 m high."""
    import trimesh

    walls = trimesh.creation.box((5, 2.6, 4))
    walls.invert()
    box = trimesh.creation.box((0.9, 0.9, 0.9)).apply_translation((-1.9, -0.85, -1.3))
    ball = trimesh.creation.icosphere(4, 0.5).apply_translation((1.7, -0.8, -1.2))
    pillar = trimesh.creation.cylinder(0.3, 1.4).apply_transform(_UPRIGHT).apply_translation((1.6, -0.6, 1.2))
    colours = ((225, 220, 205), (170, 90, 50), (60, 110, 190), (90, 140, 80))
    parts = (walls, box, ball, pillar)
    return trimesh.Scene([_painted(part, colour) for part, colour in zip(parts, colours, strict=True)])


def _painted(mesh: Any, colour: tuple[int, int, int]) -> Any:
    mesh.visual.face_colors = (*colour, 255)
    return mesh


def film(path: Path) -> None:
    """Write a film of four shots of three seconds with hard cuts between them, 320 x 240 at 25 frames a second."""
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"crf": "20"})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, RATE)
        for shot in SHOTS:
            for picture in _views(*shot):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture), "rgb24")))
        container.mux(stream.encode())


def _views(name: str, begin: Box, end: Box) -> Iterator[Any]:
    """The pictures of one shot: the view glides from ``begin`` to ``end``."""
    from PIL import Image

    with importlib.resources.as_file(importlib.resources.files("skimage") / "data" / name) as file:
        photograph = Image.open(file).convert("RGB")
    for number in range(SHOT_S * RATE):
        share = number / (SHOT_S * RATE - 1)
        left, top, width = (first + (last - first) * share for first, last in zip(begin, end, strict=True))
        x, y, across = left * photograph.width, top * photograph.height, width * photograph.width
        down = across * SIZE[1] / SIZE[0]
        yield photograph.resize(SIZE, Image.Resampling.BICUBIC, box=(x, y, x + across, y + down))
