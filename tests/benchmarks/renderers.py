"""Renderers of meshes: how well they agree with PyTorch3D's own pictures, how fast they are, and what memory they take.

``python -m tests.benchmarks.renderers NAME TRIANGLES VIEWS TIMES`` is one measurement, in a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import trimesh

from serve_app.media import cameras
from serve_app.media.embree import EmbreeRenderer
from serve_app.media.meshes import Mesh
from serve_app.media.rendering import Renderer, Style, Views
from tests import renders
from tests.benchmarks.report import Result, progress, table
from tests.conftest import shared_place

SECTIONS = {1_000: (25, 20), 20_000: (100, 100), 100_000: (250, 200), 1_000_000: (1000, 500)}
"""Of the tori that are timed, by their triangles."""
SLOW = 20_000
"""The most triangles that PyTorch3D is timed with on a CPU, for one view: it takes about a minute."""
SIZE = 1024


def run(quick: bool) -> Result:
    names = [name for name in ("embree", "panda3d", "pytorch3d cpu", "pytorch3d cuda") if _installed(name)]
    agreement = {name: _agreement(name) for name in names if name != "pytorch3d cuda"}
    heads = ("", "IoU, mean", "IoU, worst", "colour off by > 2", "> 10", "mean difference of 255")
    texts = [
        f"Against {len(renders.GENERATED)} generated and {len(list(_real()))} real meshes as PyTorch3D draws them:",
        table(heads, [(name, *figures) for name, figures in agreement.items()]),
    ]
    counts = list(SECTIONS)[:2] if quick else list(SECTIONS)
    timed = {name: {count: _measured(name, count, 1 if quick else 3) for count in counts} for name in names}
    texts += [
        f"Eight views of {SIZE} pixels of a torus: seconds (best of three), seconds of processor time, and MiB that "
        "the process takes more than before. PyTorch3D on a CPU draws one view, here taken eight times:",
        table(
            ("triangles", *(f"{name}, {what}" for name in names for what in ("s", "CPU s", "MiB"))),
            [(count, *(value for name in names for value in timed[name][count] or ("",) * 3)) for count in counts],
        ),
    ]
    meshes = dict(_real())
    real = {name: _best(EmbreeRenderer(), mesh, 1 if quick else 3) for name, mesh in meshes.items()}
    if real:
        rows = [(name, len(meshes[name].faces), *best) for name, best in real.items()]
        texts += ["Real meshes, eight views, Embree:", table(("", "triangles", "s", "CPU s"), rows)]
    return Result("\n\n".join(texts), {"agreement": agreement, "timed": timed, "real": real})


def made(name: str) -> Renderer:
    """``name`` is one of those in :func:`run`."""
    if name == "embree":
        return EmbreeRenderer(renders.LIGHTING)
    if name == "panda3d":
        from tests.benchmarks.panda_renderer import PandaRenderer

        return PandaRenderer()
    from serve_app.media.pytorch3d_renderer import PyTorch3DRenderer

    return PyTorch3DRenderer(name.removeprefix("pytorch3d "), renders.LIGHTING)


def _installed(name: str) -> bool:
    if name == "pytorch3d cuda":
        import torch

        return torch.cuda.is_available() and find_spec("pytorch3d") is not None
    return name != "pytorch3d cpu" or find_spec("pytorch3d") is not None


def _real() -> Iterator[tuple[str, Mesh]]:
    place = shared_place()
    if (place / "media").is_dir():
        for name in renders.SHARED:
            yield name, renders.of_shared(place, name)


def _agreement(name: str) -> tuple[float, ...]:
    """Mean and least IoU; shares of pixels that are off by more than 2 and 10; the mean difference."""
    renderer = made(name)
    overlaps, differences = [], []
    for label, mesh in [*((label, make()) for label, make in renders.GENERATED.items()), *_real()]:
        views = renderer.render(mesh, renders.CAMERAS, renders.style(mesh))
        golden = renders.golden(label)
        both = views.mask & golden.mask
        overlaps.append(float(both.sum() / (views.mask | golden.mask).sum()))
        differences.append(np.abs(views.colour.astype(int) - golden.colour).max(axis=-1)[both])
    off = np.concatenate(differences)
    progress(f"renderers: {name} compared")
    return float(np.mean(overlaps)), min(overlaps), float((off > 2).mean()), float((off > 10).mean()), float(off.mean())


def torus(triangles: int) -> Mesh:
    major, minor = SECTIONS[triangles]
    return renders.of_trimesh(trimesh.creation.torus(1.0, 0.4, major_sections=major, minor_sections=minor))


def _measured(name: str, triangles: int, times: int) -> tuple[float, float, float] | None:
    """Seconds and seconds of processor time for eight views, and MiB, in a process of its own; None where it would
    take too long."""
    views = 8
    if name == "pytorch3d cpu":
        if triangles > SLOW:
            return None
        views, times = 1, 1
    command = [sys.executable, "-m", "tests.benchmarks.renderers", name, str(triangles), str(views), str(times)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout
    seconds, processor, mib = json.loads(answer.splitlines()[-1])
    progress(f"renderers: {name}, {triangles:,} triangles: {seconds:.3g} s, {processor:.3g} CPU s, {mib:.0f} MiB")
    return seconds * 8 / views, processor * 8 / views, mib


def _best(renderer: Renderer, mesh: Mesh, times: int, views: int = 8) -> tuple[float, float]:
    """The least seconds, and the least of processor time."""
    walls, processors = [], []
    for _ in range(times):
        started, busy = time.perf_counter(), time.process_time()
        _draw(renderer, mesh, views)
        walls.append(time.perf_counter() - started)
        processors.append(time.process_time() - busy)
    return min(walls), min(processors)


def _draw(renderer: Renderer, mesh: Mesh, views: int, size: int = SIZE) -> Views:
    return renderer.render(mesh, cameras.ring(azimuths_deg=cameras.AZIMUTHS_DEG[:views]), Style(size))


def _one(name: str, triangles: int, views: int, times: int) -> None:
    renderer, mesh = made(name), torus(triangles)
    _draw(renderer, torus(1_000), 1, 64)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = _memory_kib("VmRSS")
    best = _best(renderer, mesh, times, views)
    print(json.dumps([*best, (_memory_kib("VmHWM") - before) / 1024]))


def _memory_kib(field: str) -> int:
    """Of this process: resident now (VmRSS) or at most (VmHWM)."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


if __name__ == "__main__":
    _one(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
