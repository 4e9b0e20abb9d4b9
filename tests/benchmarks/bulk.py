"""From a file to a hit: many assets through one request until all are indexed, and one alone until it is found."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np

from tests.benchmarks import bare, samples
from tests.benchmarks.processes import alone, service
from tests.benchmarks.report import Result, progress, table
from tests.cluster.conftest import Service

LEAST = (
    "text_embedding", "face_identity", "meme_detection", "text_recognition", "captioning", "action_recognition",
    "video_action_recognition", "disturbing_content", "nsfw",
)  # fmt: skip
"""Tasks that are switched off where the encoder is to be all; objects and faces cannot be."""
ALL, FEW = "all models", "encoder, objects and faces"
A_REQUEST = 500
ALONE = 60


def run(quick: bool) -> Result:
    count = 300 if quick else 5000
    seconds = 3.0 if quick else 10.0
    loops = {
        (ALL, "texts"): bare.all_texts_per_s, (FEW, "texts"): bare.texts_per_s,
        (FEW, "pictures"): bare.three_of_images_per_s,
    }  # fmt: skip
    bound = {each: alone(loop, seconds, 2) for each, loop in loops.items()}
    rows: list[list[object]] = []
    raw: dict[str, Any] = {"models alone": {" ".join(each): rate for each, rate in bound.items()}}
    for name, models in {ALL: {}, FEW: dict.fromkeys(LEAST)}.items():
        progress(f"bulk: starting a service with {name}")
        with service(args={"models": models}) as running:
            for kind, made, share in (("texts", _text, 1), ("pictures", _picture, 20)):
                stored, indexed = _throughput(running, kind, made, max(40, count // share))
                rate = bound.get((name, kind))
                rows.append([f"{kind}, {name}", stored, indexed, rate or "", indexed / rate if rate else ""])
                raw[f"{kind}, {name}"] = {"stored_per_s": stored, "indexed_per_s": indexed}
                progress(f"bulk: {kind}, {name}: {indexed:.0f}/s, the models alone {rate}")
            delays = _delays(running, 10 if quick else ALONE)
        raw[f"delay, {name}"] = delays
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
    for state in ("queued", "running"):
        while http.get("/v1/jobs", params={"state": state, "limit": 1}).json()["items"]:
            time.sleep(0.05)


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
