"""The loops that serving is held against: the same towers on the same inputs in a process without anything else."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from serve_app.annotation.faces import load_faces
from serve_app.annotation.objects import load_detector
from serve_app.config import load_resources
from serve_app.models.manifest import Model, load_manifest
from serve_app.models.pull import convert_shipped
from serve_app.models.sessions import open_session
from serve_app.models.store import Store, default_home
from serve_app.retrieval.encoder import ImageTower, TextTower
from serve_app.retrieval.sentences import SentenceTower
from tests.benchmarks import samples

Item = TypeVar("Item")
SIZES = load_resources().cpu.deployments["clip_encoder"]
BATCH = SIZES.max_batch_size or 16


def encoder() -> Model:
    """The embedded encoder, which the service under test serves too."""
    return load_manifest().profile("embedded")["cross_modal_embedding"]


def encoder_files() -> dict[str, Path]:
    return Store(default_home()).locate(encoder())


def _files(row: Model, home: Path | None) -> dict[str, Path]:
    """Not checked: a benchmark's weights are not those that the manifest has the hash of."""
    return {logical: Store(home or default_home()).path(row, logical) for logical in row.files}


def image_tower(row: Model | None = None, home: Path | None = None) -> ImageTower:
    """The embedded one, or one whose weights are in a benchmark's ``home``."""
    row = row or encoder()
    assert row.clip is not None
    files = _files(row, home)
    return ImageTower(row.clip, open_session(files["image"], SIZES.threads))


def text_tower(row: Model | None = None, home: Path | None = None) -> TextTower:
    row = row or encoder()
    assert row.clip is not None
    files = _files(row, home)
    return TextTower(row.clip, open_session(files["text"], SIZES.threads), files["tokenizer"])


def images_per_s(seconds: float, workers: int) -> float:
    """Pictures a second, each decoded and normalised anew; ``workers`` threads prepare, the batches run in turn."""
    tower = image_tower()
    return _loop(samples.pictures(), tower.prepare, tower.run, seconds, workers)


def texts_per_s(seconds: float, workers: int, row: Model | None = None, home: Path | None = None) -> float:
    """Sentences a second, likewise."""
    tower = text_tower(row, home)
    return _loop(samples.sentences(), lambda text: tower.prepare(text).ids, tower.run, seconds, workers)


def all_texts_per_s(seconds: float, workers: int) -> float:
    """Sentences a second through all that a stored text goes through: the text tower, then the sentence encoder."""
    clip, row = text_tower(), load_manifest().profile("embedded")["text_embedding"]
    store = Store(default_home())
    convert_shipped(store, row)
    files = store.locate(row)
    assert row.sentence is not None
    sentences = SentenceTower(row.sentence, open_session(files["weights"], SIZES.threads), files["tokenizer"])

    def run(batch: list[Any]) -> None:
        clip.run([ids for ids, _ in batch])
        sentences.run([windows for _, windows in batch])

    prepare: Callable[[str], Any] = lambda text: (clip.prepare(text).ids, sentences.prepare(text).ids)  # noqa: E731
    return _loop(samples.sentences(), prepare, run, seconds, workers)


def three_of_images_per_s(seconds: float, workers: int, row: Model | None = None, home: Path | None = None) -> float:
    """Pictures a second through what cannot be switched off: the encoder, the detectors of objects and of faces."""
    rows, store = load_manifest().profile("embedded"), Store(default_home())
    objects, faces = (
        load(rows[task], store.locate(rows[task]), SIZES.threads)
        for task, load in (("object_detection", load_detector), ("face_detection", load_faces))
    )
    clip = image_tower(row, home)

    def prepare(data: bytes) -> Any:
        return clip.prepare(data), objects.prepare(data).tensor, faces.prepare(data).tensor

    def run(batch: list[Any]) -> None:
        for tower, inputs in zip((clip, objects, faces), zip(*batch, strict=True), strict=True):
            tower.run(list(inputs))

    return _loop(samples.pictures(), prepare, run, seconds, workers)


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
