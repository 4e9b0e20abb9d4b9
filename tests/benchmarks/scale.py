"""What a hundred million and a billion vectors would cost, from constants that are measured here."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path

from serve_app.catalog import Catalog
from tests.benchmarks import catalogs, load, shards
from tests.benchmarks.processes import alone, cpu_seconds, service
from tests.benchmarks.report import ROOT, Result, progress, table

COUNT, QUICK_COUNT = 1_000_000, 5_000
SLICES = 8
FEW, MANY = 1, 4
"""Shards of the two services whose doors are compared."""
GOALS = (100_000_000, 1_000_000_000)
PER_SHARD = (5_000_000, 20_000_000)
REPLICAS = 2
NODE_BYTES = 128e9
USABLE = 0.7
"""Of a node's memory, so that a replacement has room to begin."""


@dataclass(frozen=True)
class Constants:
    """Of one vector, unless the name says otherwise; times in seconds."""

    count: int
    kind: str
    shard_bytes: float
    catalog_bytes: float
    read_s: float
    pass_s: float
    """Passing over a vector of another shard while reading the catalog."""
    train_s: float
    snapshot_write_s: float
    snapshot_read_s: float
    search_s: float
    """One query in a shard of ``count``."""
    mask_s: float
    door_cpu_s: float
    """CPU time of the door for one query to one shard more."""


def run(quick: bool) -> Result:
    count = QUICK_COUNT if quick else COUNT
    place = Path(tempfile.mkdtemp(prefix="mediaverse-scale"))
    try:
        path = place / "catalog.db"
        alone(catalogs.fill, path, count, "r@1", labelled=True)
        progress(f"scale: {count:,} vectors in the catalog")
        catalog_bytes = sum(file.stat().st_size for file in place.iterdir()) / count
        measured = alone(_in_shard, path, count)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    door = (_door(MANY, quick) - _door(FEW, quick)) / (MANY - FEW)
    constants = Constants(count=count, catalog_bytes=catalog_bytes, door_cpu_s=door, **measured)
    progress(f"scale: {constants}")
    return Result(_text(constants), asdict(constants), ROOT / "docs" / "scale.md")


def _in_shard(path: Path, count: int) -> dict[str, object]:
    asked = catalogs.queries(50)
    catalog = Catalog.open(f"sqlite:///{path}")
    slice_s = _read_slice(catalog)
    before = shards.resident_bytes()
    shard, read_s, train_s = shards.loaded(catalog.vectors, "r@1", "auto")
    size = (shards.resident_bytes() - before) / count
    times, _ = shards.under_label(shard, asked, None)
    mask_ms = shards.mask_ms(shard, "hundredth")
    written, restored = shards.restarted(shard)
    return {
        "kind": shard.indexes["image"].factory, "shard_bytes": size, "read_s": read_s / count,
        "pass_s": max(0.0, slice_s - read_s / SLICES) / count,
        "train_s": train_s / count, "snapshot_write_s": written / count, "snapshot_read_s": restored / count,
        "search_s": times[0] / 1000, "mask_s": mask_ms / 1000 / count,
    }  # fmt: skip


def _read_slice(catalog: Catalog) -> float:
    """Seconds that one shard of ``SLICES`` takes to read its part."""
    begun, after, complete = time.perf_counter(), 0, False
    while not complete:
        page = catalog.vectors.changes("r@1", 0, SLICES, after, 4096)
        after, complete = page.last_seq, page.complete
    return time.perf_counter() - begun


def _door(number: int, quick: bool) -> float:
    """CPU seconds of the door a query, with ``number`` shards."""
    requests = [load.post_json("/v1/search", {"text": "a page of text", "modalities": ["image"]})]
    with service("python", {"shards": number}) as running:
        before = cpu_seconds(running)["Ingress"]
        rate = alone(load.closed_loop, running.port, requests, 1, 2.0 if quick else 15.0)
        return (cpu_seconds(running)["Ingress"] - before) / rate.answered


def _text(c: Constants) -> str:
    told = table(
        ["constant", "measured"],
        [
            ["index of a shard", c.kind],
            ["memory of a vector in a shard, bytes (b)", c.shard_bytes],
            ["catalog, bytes a vector (SQLite)", c.catalog_bytes],
            ["reading a vector from the catalog, microseconds (r)", 1e6 * c.read_s],
            ["passing over one of another shard, microseconds (p)", 1e6 * c.pass_s],
            ["training and filling the index, microseconds a vector (t)", 1e6 * c.train_s],
            ["writing a snapshot, microseconds a vector", 1e6 * c.snapshot_write_s],
            ["reading it, microseconds a vector (s)", 1e6 * c.snapshot_read_s],
            [f"a query in a shard of {c.count:,}, ms (q)", 1e3 * c.search_s],
            ["evaluating a filter, nanoseconds a vector (m)", 1e9 * c.mask_s],
            ["CPU time of the door for each shard asked, ms (d)", 1e3 * c.door_cpu_s],
        ],
    )
    heads = [
        "vectors, in a shard", "shards", "replicas", "memory of all, TB", "nodes of 128 GB", "catalog, TB",
        "a shard from the catalog, min", "from a snapshot, min", "a query in a shard, ms", "its filter, ms",
        "CPU of the door a query, ms",
    ]  # fmt: skip
    rows = [_row(c, goal, each) for goal in GOALS for each in PER_SHARD]
    cores = len(os.sched_getaffinity(0))
    return f"Measured with {c.count:,} vectors of 512 dimensions on {cores} cores:\n\n{told}\n\n{table(heads, rows)}"


def _row(c: Constants, vectors: int, each: int) -> list[object]:
    """The formulas of the document."""
    number = ceil(vectors / each)
    memory = number * REPLICAS * each * c.shard_bytes
    read_s = vectors * c.pass_s + each * (c.read_s + c.train_s)
    return [
        f"{vectors:,}, {each:,}", number, number * REPLICAS, memory / 1e12, ceil(memory / USABLE / NODE_BYTES),
        vectors * c.catalog_bytes / 1e12, read_s / 60, each * c.snapshot_read_s / 60,
        1e3 * c.search_s * each / c.count, 1e3 * c.mask_s * each, 1e3 * c.door_cpu_s * number,
    ]  # fmt: skip
