"""Search over 10 thousand to a million vectors of 512 dimensions: in the shard and through HTTP."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import catalogs, encoder512, load, samples, shards
from tests.benchmarks.processes import alone, service
from tests.benchmarks.report import Result, progress, table

SIZES = (10_000, 100_000, 1_000_000)
QUICK_SIZES = (2_000, 20_000)
KINDS = (("Flat", 1), ("Flat", 2), ("auto", 1), ("auto", 2))
"""Index factory, or auto for what the table says, and threads of FAISS."""


def run(quick: bool) -> Result:
    place = Path(tempfile.mkdtemp(prefix="mediaverse-search"))
    indexed: list[dict[str, Any]] = []
    served: list[dict[str, Any]] = []
    try:
        for count in QUICK_SIZES if quick else SIZES:
            path = place / f"{count}.db"
            begun = time.monotonic()
            alone(catalogs.fill, path, count, encoder512.model().key)
            progress(f"search: {count:,} vectors in the catalog in {time.monotonic() - begun:.0f} s")
            indexed += _in_shards(path, count)
            served.append(_through_http(path, count, 2.0 if quick else 6.0))
            path.unlink()
    finally:
        shutil.rmtree(place, ignore_errors=True)
    http = f"Through HTTP (`POST /v1/search`, kinds by the table):\n\n{_http(served)}"
    tables = f"In the shard:\n\n{_shards(indexed)}\n\n{http}"
    return Result(tables, {"shard": indexed, "http": served})


def _in_shards(path: Path, count: int) -> list[dict[str, Any]]:
    asked = catalogs.queries(100 if count > 100_000 else 480)
    truth = alone(catalogs.exact, count, asked, shards.K)
    rows = []
    for setting, threads in KINDS:
        measured = alone(shards.measure, path, count, encoder512.model().key, setting, threads, asked)
        if (setting == "Flat") != (measured.kind == "Flat"):
            continue  # the table says Flat too
        hits = [len(np.intersect1d(found, true)) for found, true in zip(measured.found, truth, strict=True)]
        figures = {name: value for name, value in asdict(measured).items() if name != "found"}
        label = f"{measured.kind}, {threads} thread{'s'[: threads - 1]}"
        rows.append({"count": count, "index": label, "recall": sum(hits) / truth.size} | figures)
        progress(f"search: {rows[-1]}")
    return rows


def _through_http(path: Path, count: int, seconds: float) -> dict[str, Any]:
    args: dict[str, object] = {
        "catalog": f"sqlite:///{path}",
        "models": {"cross_modal_embedding": encoder512.NAME},
    }
    requests = [load.post_json("/v1/search", {"text": text, "modalities": ["image"]}) for text in samples.many()]
    with service("python", args, start=False) as running:
        encoder512.install(running)
        begun = time.monotonic()
        running.start()
        ready_s = time.monotonic() - begun
        rates = {n: asdict(alone(load.closed_loop, running.port, requests, n, seconds)) for n in (1, 32)}
    progress(f"search: {count:,} through HTTP: {rates}")
    return {"count": count, "ready_s": ready_s, "one": rates[1], "many": rates[32]}


def _shards(rows: list[dict[str, Any]]) -> str:
    heads = [
        "vectors, index", "p50 ms", "p95 ms", "p99 ms", "p50 ms, an owner left out",
        f"queries/s, {shards.TOGETHER} together", "recall@10", "bytes a vector", "at the peak of loading", "load s",
        "train s",
    ]  # fmt: skip
    return table(
        heads,
        [
            [f"{row['count']:,}, {row['index']}", *row["alone_ms"], row["without_owner_ms"][0], row["together_per_s"],
             f"{row['recall']:.4f}", row["bytes_a_vector"], row["peak_bytes_a_vector"], row["load_s"], row["train_s"]]
            for row in rows
        ],
    )  # fmt: skip


def _http(rows: list[dict[str, Any]]) -> str:
    heads = ["vectors", "p50 ms, one client", "p99 ms", "queries/s, 32 clients", "p50 ms", "p99 ms", "ready s"]
    return table(
        heads,
        [
            [row["count"], row["one"]["p50_ms"], row["one"]["p99_ms"], row["many"]["per_s"], row["many"]["p50_ms"],
             row["many"]["p99_ms"], row["ready_s"]]
            for row in rows
        ],
    )  # fmt: skip
