"""What the models of the embedded profile cost: loading, memory, and one core's time a picture and a text."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tests.benchmarks.report import ROOT, Result, progress, table

PARTS = ("clip-embedded, pictures", "clip-embedded, texts", "shapes-embedded", "motion-embedded", "mtcnn")
BATCHES = (1, 16)


def run(quick: bool) -> Result:
    found = {}
    for part in PARTS:
        # A process of its own: what another model has loaded must not make this one look small.
        words = [sys.executable, "-m", "tests.benchmarks.embedded", part, "0.2" if quick else "5"]
        done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
        found[part] = json.loads(done.stdout)
        progress(f"models: {part}: {found[part]['load_s']:.2f} s to load")
    rows = [
        [part, each["load_s"], each["bytes"] / 1e6, *(each["ms"][str(batch)] for batch in BATCHES)]
        for part, each in found.items()
    ]
    return Result(table(["", "load s", "MB added", *(f"ms each, batch of {batch}" for batch in BATCHES)], rows), found)


def measure(part: str, seconds: float) -> dict[str, Any]:
    """Seconds to hash and open, resident bytes added by that and a first answer, and milliseconds an item."""
    # Imported here, so that the libraries are in memory before the model is.
    import torch

    from serve_app.annotation.actions import load_actions
    from serve_app.annotation.faces import load_faces
    from serve_app.annotation.objects import load_detector
    from serve_app.models.manifest import load_manifest
    from serve_app.models.sessions import open_session
    from serve_app.models.store import Store, default_home
    from serve_app.retrieval.encoder import ImageTower, TextTower
    from tests.benchmarks import samples

    torch.set_num_threads(1)
    model, store = load_manifest().models[part.split(",")[0]], Store(default_home())
    items: list[Any] = samples.sentences() if part.endswith("texts") else samples.pictures()
    if model.video:
        shape = (model.video.frames, model.video.crop, model.video.crop, 3)
        items = [np.random.default_rng(0).integers(0, 256, shape, np.uint8)]
    before, begun = _resident(), time.perf_counter()
    files = store.locate(model)
    network: Any
    if model.clip is None:
        load = {"face_detection": load_faces, "video_action_recognition": load_actions}.get(model.task, load_detector)
        network = load(model, files, 1)
    elif part.endswith("texts"):
        network = TextTower(model.clip, open_session(files["text"], 1), files["tokenizer"])
    else:
        network = ImageTower(model.clip, open_session(files["image"], 1))
    load_s = time.perf_counter() - begun

    def answer(batch: int) -> None:
        prepared = [network.prepare(items[number % len(items)]) for number in range(batch)]
        network.run([getattr(one, "ids", getattr(one, "tensor", one)) for one in prepared])

    answer(1)
    added = _resident() - before
    return {"load_s": load_s, "bytes": added, "ms": {batch: _ms(answer, batch, seconds) for batch in BATCHES}}


def _ms(answer: Callable[[int], None], batch: int, seconds: float) -> float:
    """The median over repetitions of the milliseconds that one item of a batch takes."""
    answer(batch)
    taken, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or not taken:
        begun = time.perf_counter()
        answer(batch)
        taken.append(1000 * (time.perf_counter() - begun) / batch)
    return median(taken)


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], float(sys.argv[2]))))
