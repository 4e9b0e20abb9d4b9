"""From a file to a hit: many assets through one request until all are indexed, and one alone until it is found."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np

from tests.benchmarks import bare, encoder512, samples
from tests.benchmarks.processes import alone, service
from tests.benchmarks.report import Result, progress, table
from tests.cluster.conftest import Service

LEAST = (
    "text_embedding", "face_identity", "meme_detection", "text_recognition", "captioning", "action_recognition",
    "video_action_recognition", "disturbing_content", "nsfw",
)  # fmt: skip
"""Tasks that are switched off where the encoder is to be all; objects and faces cannot be."""
ALL, FEW, FULL = "all models", "encoder, objects and faces", "the same with ViT-B/32 as encoder"
MODELS: dict[str, dict[str, str | None]] = {
    ALL: {}, FEW: dict.fromkeys(LEAST), FULL: dict.fromkeys(LEAST) | {"cross_modal_embedding": encoder512.NAME},
}  # fmt: skip
A_REQUEST = 500
ALONE = 60


def run(quick: bool) -> Result:
    count = 300 if quick else 5000
    seconds = 3.0 if quick else 10.0
    rows: list[list[object]] = []
    raw: dict[str, Any] = {}
    for name, changes in MODELS.items():
        progress(f"bulk: starting a service with {name}")
        with service(args={"models": changes}, start=False) as running:
            row, home = None, None
            if name == FULL:
                encoder512.install_untrained(running)
                row, home = encoder512.model(), running.home
            bound: dict[str, float] = {}
            if name == ALL:
                bound["texts"] = alone(bare.all_texts_per_s, seconds, 2)
            else:
                bound["texts"] = alone(bare.texts_per_s, seconds, 2, row, home)
                bound["pictures"] = alone(bare.three_of_images_per_s, seconds, 2, row, home)
            running.start()
            share = 5 if name == FULL else 1
            for kind, made, number in (("texts", _text, count // share), ("pictures", _picture, count // 20)):
                stored, indexed = _throughput(running, kind, made, max(40, number))
                rate = bound.get(kind)
                rows.append([f"{kind}, {name}", stored, indexed, rate or "", indexed / rate if rate else ""])
                raw[f"{kind}, {name}"] = {"stored_per_s": stored, "indexed_per_s": indexed, "models_alone_per_s": rate}
                progress(f"bulk: {kind}, {name}: {indexed:.1f}/s, the models alone {rate}")
            raw[f"delay, {name}"] = _delays(running, 10 if quick else ALONE)
    heads = ["", "stored a second", "indexed a second", "the models alone", "share of it"]
    late = table(["one text alone until it is found, ms", "p50", "p95"], [
        [name.removeprefix("delay, "), *(float(np.percentile(each, q)) for q in (50, 95))]
        for name, each in raw.items() if name.startswith("delay")
    ])  # fmt: skip
    return Result(f"{table(heads, rows)}\n\n{late}", raw)


def _text(number: int) -> dict[str, str]:
    words = samples.sentences(256)
    return {"text": f"{words[number % len(words)]} {number}"}


def _picture(number: int) -> dict[str, str]:
    """A photograph in another file each time: bytes after its end change what it is, not what it shows."""
    photographs = samples.pictures()
    return {"data": base64.b64encode(photographs[number % len(photographs)] + number.to_bytes(4)).decode()}


def _throughput(running: Service, kind: str, made: Callable[[int], dict[str, str]], count: int) -> tuple[float, float]:
    """Assets stored, and indexed, a second, from the first request on."""
    bodies = []
    for start in range(0, count, A_REQUEST):
        numbers = range(start, min(count, start + A_REQUEST))
        lines = [json.dumps({"id": f"{kind} {n}", "owner": kind} | made(n)) for n in numbers]
        bodies.append("\n".join(lines).encode())
    with httpx.Client(base_url=running.url, timeout=600, headers={"Content-Type": "application/x-ndjson"}) as http:
        started = time.perf_counter()
        for body in bodies:
            answers = [json.loads(line) for line in http.post("/v1/assets:batch", content=body).text.splitlines()]
            assert all(each["status"] == 202 for each in answers), answers[-1]
        stored = time.perf_counter() - started
        _until_idle(http)
        return count / stored, count / (time.perf_counter() - started)


def _until_idle(http: httpx.Client) -> None:
    """Looks rarely: a look costs as much as a text."""
    for state in ("queued", "running"):
        while http.get("/v1/jobs", params={"state": state, "limit": 1}).json()["items"]:
            time.sleep(0.25)


def _delays(running: Service, count: int) -> list[float]:
    """Milliseconds from the post of a text until a search finds it."""
    delays = []
    with httpx.Client(base_url=running.url, timeout=60) as http:
        for number in range(count):
            text = f"alone number {number} of its kind"
            started = time.perf_counter()
            added = http.post("/v1/assets", files={"file": text.encode()}, data={"owner": "alone"}).json()
            query = {"text": text, "k": 1, "modalities": ["text"], "filter": "owner:alone"}
            while http.post("/v1/search", json=query).json()["text"]["contents"] != [added["id"]]:
                time.sleep(0.005)
            delays.append(1000 * (time.perf_counter() - started))
    return delays
