"""Finding faces: our cascade on ONNX Runtime against facenet-pytorch's on torch, in batches of 16, on the CPU."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve_app.annotation.faces import MIN_FACE, load_faces
from serve_app.media import images
from serve_app.models.manifest import load_manifest
from serve_app.models.store import Store
from tests.benchmarks import samples
from tests.benchmarks.report import Result, progress, table

BATCH = 16
SIZE = 640, 480
Pixels = NDArray[np.uint8]
Runner = Callable[[Sequence[Pixels]], object]


def run(quick: bool) -> Result:
    """Pictures a second of each, in turns, so that both see the same machine; the median of five rounds after one."""
    own = [images.decode(data, max_side=1280).pixels for data in samples.pictures()]
    batches = {
        "pictures of their own sizes": [own[number % len(own)] for number in range(BATCH)],
        f"all {SIZE[0]} x {SIZE[1]}": [
            np.asarray(Image.fromarray(own[number % len(own)]).resize(SIZE)) for number in range(BATCH)
        ],
    }
    runners = _runners()
    raw: dict[str, dict[str, float]] = {}
    for name, batch in batches.items():
        pictures = batch[:2] if quick else batch
        seconds: dict[str, list[float]] = {runner: [] for runner in runners}
        for turn in range(2 if quick else 6):
            for runner, find in runners.items():
                begun = time.perf_counter()
                find(pictures)
                if turn:
                    seconds[runner].append(time.perf_counter() - begun)
        raw[name] = {runner: len(pictures) / median(taken) for runner, taken in seconds.items()}
        progress(f"faces: {name}: {raw[name]}")
    theirs, ours = runners
    rows = [
        [name, found[theirs], found[ours], f"{found[ours] / found[theirs]:.1f} times"] for name, found in raw.items()
    ]
    return Result(table([f"pictures a second, {BATCH} at once", theirs, ours, ""], rows), raw)


def _runners() -> dict[str, Runner]:
    import torch
    from facenet_pytorch import MTCNN

    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    theirs = MTCNN(keep_all=True, min_face_size=MIN_FACE, device=torch.device("cpu")).eval()
    model = load_manifest().models["mtcnn"]
    with tempfile.TemporaryDirectory() as home:
        ours = load_faces(model, Store(Path(home)).locate(model), cores)

    def facenet(batch: Sequence[Pixels]) -> object:
        """It takes several pictures at once only where they have one size."""
        if len({pixels.shape for pixels in batch}) == 1:
            return theirs.detect(np.stack(batch), landmarks=True)
        return [theirs.detect(pixels, landmarks=True) for pixels in batch]

    return {"facenet-pytorch": facenet, "ours": ours.run}
