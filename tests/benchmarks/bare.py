"""The loops that serving is held against: the same towers on the same inputs in a process without anything else."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from serve_app.config import load_resources
from serve_app.models.manifest import load_manifest
from serve_app.models.sessions import open_session
from serve_app.models.store import Store, default_home
from serve_app.retrieval.encoder import ImageTower, TextTower
from tests.benchmarks import samples

Item = TypeVar("Item")
SIZES = load_resources().cpu.deployments["clip_encoder"]
BATCH = SIZES.max_batch_size or 16


def encoder_files() -> dict[str, Path]:
    """The files of the embedded encoder, which the service under test serves too."""
    return Store(default_home()).locate(load_manifest().profile("embedded")["cross_modal_embedding"])


def image_tower() -> ImageTower:
    spec = load_manifest().profile("embedded")["cross_modal_embedding"].clip
    assert spec is not None
    return ImageTower(spec, open_session(encoder_files()["image"], SIZES.threads))


def text_tower() -> TextTower:
    spec = load_manifest().profile("embedded")["cross_modal_embedding"].clip
    assert spec is not None
    files = encoder_files()
    return TextTower(spec, open_session(files["text"], SIZES.threads), files["tokenizer"])


def images_per_s(seconds: float, workers: int) -> float:
    """Pictures a second, each decoded and normalised anew; ``workers`` threads prepare, the batches run in turn."""
    tower = image_tower()
    return _loop(samples.pictures(), tower.prepare, tower.run, seconds, workers)


def texts_per_s(seconds: float, workers: int) -> float:
    """Sentences a second, likewise."""
    tower = text_tower()
    return _loop(samples.sentences(), lambda text: tower.prepare(text).ids, tower.run, seconds, workers)


def _loop(
    inputs: Sequence[Item], prepare: Callable[[Item], Any], run: Callable[[list[Any]], object], seconds: float,
    workers: int,
) -> float:  # fmt: skip
    """Batches of the service's largest size; with several workers the next batch is prepared while one runs."""
    with ThreadPoolExecutor(workers) as pool:

        def start(number: int) -> list[Any]:
            chosen = [inputs[(number * BATCH + place) % len(inputs)] for place in range(BATCH)]
            return [pool.submit(prepare, each) for each in chosen]

        run([future.result() for future in start(0)])
        done, number, begun = 0, 1, time.perf_counter()
        ahead = start(number)
        while (now := time.perf_counter()) < begun + seconds:
            batch = [future.result() for future in ahead]
            number += 1
            ahead = start(number) if workers > 1 else []
            run(batch)
            ahead = ahead or start(number)
            done += BATCH
        return done / (now - begun)
