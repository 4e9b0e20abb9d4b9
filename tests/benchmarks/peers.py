"""Filtered search against peers: the single-process reference design, and the back end of clip-retrieval.

Every side gets the same vectors and the same queries and answers through HTTP. Peers are given a query's vector; ours
is given a text, whose vector its encoder made when the text was asked first and the service has kept since.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from serve_app.retrieval.kinds import load_table
from tests.benchmarks import catalogs, encoder512, environments, load, shards
from tests.benchmarks.processes import MODES, NAMES, alone, memory_bytes, pss_of, service
from tests.benchmarks.report import Result, progress, table
from tests.cluster.conftest import Service

SIZES = (10_000, 100_000, 1_000_000)
QUICK_SIZES = (2_000, 20_000)
ASKED = 200
K = 10
CLIENTS = (1, 8, 32)
FILTERS = (None, *catalogs.LABELS)
HERE = Path(__file__).parent
REFERENCE = "reference design (Flask, FAISS Flat)"
REFERENCE_NEEDS = ("flask==3.1.2", "faiss-cpu==1.12.0", "numpy==2.2.6")
CLIP_NEEDS = ("clip-retrieval==2.45.0", "autofaiss==2.18.0", "setuptools==69.5.1")
"""Its CLIP package reads `pkg_resources`, which later setuptools lack."""
CLIP_KINDS = ("Flat", "autofaiss")

Truths = dict[str | None, NDArray[np.int64]]


@dataclass(frozen=True)
class Side:
    """One service under test: where it answers, what it is asked, how its answers are read, what it weighs."""

    name: str
    port: int
    request: Callable[[int, str | None], bytes]
    numbers: Callable[[bytes, str | None], list[int]]
    memory: Callable[[], float]


@dataclass(frozen=True)
class Measured:
    """A side under one filter; rates by number of clients."""

    count: int
    label: str | None
    side: str
    recall: float
    rates: dict[int, load.Rate]


def run(quick: bool) -> Result:
    place = Path(tempfile.mkdtemp(prefix="mediaverse-peers"))
    measured: list[Measured] = []
    inside: list[list[object]] = []
    weights: list[tuple[int, str, float]] = []
    missing: dict[str, str] = {}
    try:
        for count in QUICK_SIZES if quick else SIZES:
            asked = catalogs.queries(ASKED)
            truths = {label: alone(catalogs.exact, count, asked, K, label) for label in FILTERS}
            folder = place / str(count)
            folder.mkdir()
            alone(_write, folder, count)
            inside += _in_shard(folder, count, asked, truths)
            for side in _sides(folder, count, asked, missing):
                measured += [_measure(side, count, label, truths[label], quick) for label in FILTERS]
                weights.append((count, side.name, side.memory()))
            shutil.rmtree(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    raw = {"measured": [asdict(each) for each in measured], "shard": inside, "bytes": weights, "missing": missing}
    return Result(_text(measured, inside, weights, missing), raw)


def _write(folder: Path, count: int) -> None:
    """The same vectors and labels as a catalog, and as files for the peers."""
    catalogs.fill(folder / "catalog.db", count, encoder512.model().key, labelled=True)
    np.save(folder / "vectors.npy", np.concatenate(list(catalogs.pages(count))))
    np.savez(folder / "labels.npz", **{label: catalogs.showing(count, label) for label in catalogs.LABELS})


def _sides(folder: Path, count: int, asked: catalogs.Floats, missing: dict[str, str]) -> Iterator[Side]:
    """Each side in turn, running while it is looked at; what could not be installed goes to ``missing``."""
    for mode in MODES:
        with _ours(mode, folder, asked) as side:
            yield side
    try:
        with _reference(folder, asked) as side:
            yield side
    except environments.NotBuiltError as error:
        missing[REFERENCE] = str(error)
    for kind in CLIP_KINDS:
        try:
            with _clip_back(kind, folder, count, asked) as side:
                yield side
        except environments.NotBuiltError as error:
            missing["clip-retrieval"] = str(error)


def _in_shard(folder: Path, count: int, asked: catalogs.Floats, truths: Truths) -> list[list[object]]:
    """What the shard alone takes, with the kind of index that the table says."""
    path, revision = folder / "catalog.db", encoder512.model().key
    kind, measured = alone(shards.under_labels, path, revision, asked, FILTERS)
    progress(f"peers: {count:,} in the shard, {kind}: { {label: times for label, (times, _) in measured.items()} }")
    return [
        [f"{count:,}, {_matching(label)}, {kind}", *times, f"{_recall(found, truths[label]):.4f}"]
        for label, (times, found) in measured.items()
    ]  # fmt: skip


@contextmanager
def _ours(mode: str, folder: Path, asked: catalogs.Floats) -> Iterator[Side]:
    texts = encoder512.texts(len(asked))

    def request(number: int, label: str | None) -> bytes:
        body = {"text": texts[number], "k": K, "modalities": ["image"]}
        return load.post_json("/v1/search", body | ({"filter": f"object:{label}"} if label else {}))

    args = {"catalog": f"sqlite:///{folder / 'catalog.db'}", "models": {"cross_modal_embedding": encoder512.NAME}}
    with service(mode, args, start=False) as running:
        encoder512.install(running, dict(zip(texts, asked, strict=True)))
        running.start()
        _until_trained(running)
        yield Side(
            f"ours, {NAMES[mode]}", running.port, request, lambda body, label: _named(body),
            lambda: memory_bytes(running)["FaissShard"],
        )  # fmt: skip


def _until_trained(running: Service) -> None:
    """Until then every query is a scan, and half of the cores train."""
    kinds, until = load_table().kinds()["image"], time.monotonic() + 400
    while True:
        shard = httpx.get(f"{running.url}/v1/index", timeout=60).json()["shards"][0]
        image = shard["revisions"][encoder512.model().key]["image"]
        if image["index"] == [kind for size, kind in kinds if size <= image["vectors"]][-1]:
            return
        if time.monotonic() > until:
            raise TimeoutError(f"the index is still {image['index']}")
        time.sleep(0.5)


@contextmanager
def _reference(folder: Path, asked: catalogs.Floats) -> Iterator[Side]:
    python = environments.python_with("reference", REFERENCE_NEEDS)
    vectors = asked.tolist()
    words = (HERE / "peer_reference.py", "PORT", folder / "vectors.npy", folder / "labels.npz")
    with environments.process(python, *words, ready="/ready") as (pid, port):
        yield Side(
            REFERENCE, port,
            lambda number, label: load.post_json("/retrieve", {"vector": vectors[number], "k": K, "label": label}),
            lambda body, label: _named(body), lambda: pss_of(pid),
        )  # fmt: skip


@contextmanager
def _clip_back(kind: str, folder: Path, count: int, asked: catalogs.Floats) -> Iterator[Side]:
    """It has no filters: a client asks for so many that ``K`` nearly always fit, and filters by its own table."""
    python = environments.python_with("clip-retrieval", CLIP_NEEDS)
    index, vectors = folder / kind, asked.tolist()
    build = [str(python), str(HERE / "peer_clip_index.py"), kind, str(folder / "vectors.npy"), str(index)]
    built = subprocess.run(build, capture_output=True, text=True, timeout=3600)
    if built.returncode:
        raise RuntimeError(built.stderr[-3000:])

    def request(number: int, label: str | None) -> bytes:
        wanted = K if label is None else _enough(catalogs.LABELS[label], count)
        # The rows of metadata are what makes it slow for many results, and its client needs none to filter.
        body = {"embedding_input": vectors[number], "modality": "image", "num_images": 0 if label else K}
        return load.post_json("/knn-service", body | {"num_result_ids": wanted, "indice_name": "all"})

    def numbers(body: bytes, label: str | None) -> list[int]:
        rows = [each["id"] for each in json.loads(body)]
        shown = None if label is None else catalogs.showing(count, label)
        return [row for row in rows if shown is None or shown[row]][:K]

    with environments.process(python, HERE / "peer_clip_back.py", "PORT", index, ready="/indices-list") as (pid, port):
        yield Side(f"clip-retrieval, {kind}", port, request, numbers, lambda: pss_of(pid))


def _enough(share: float, count: int) -> int:
    """How many of the nearest hold ``K`` that fit where ``share`` of all do, in all but a case of a thousand or so."""
    return min(count, math.ceil((K + 3.1 * math.sqrt(K) + 5) / share))


def _named(body: bytes) -> list[int]:
    return [int(name[1:]) for name in json.loads(body)["image"]["contents"]]


def _measure(side: Side, count: int, label: str | None, truth: NDArray[np.int64], quick: bool) -> Measured:
    requests = [side.request(number, label) for number in range(len(truth))]
    bodies = load.answers(side.port, requests)
    recall = _recall([np.asarray(side.numbers(body, label), np.int64) + 1 for body in bodies], truth)
    rates = {
        clients: alone(load.closed_loop, side.port, requests, clients, 1.0 if quick else 4.0, 0.5 if quick else 1.0)
        for clients in CLIENTS
    }
    progress(f"peers: {count:,}, {_matching(label)}, {side.name}: recall {recall:.4f}, {rates}")
    return Measured(count, label, side.name, recall, rates)


def _recall(found: Sequence[NDArray[np.int64]], truth: NDArray[np.int64]) -> float:
    """The share of the true ids [N, k], of which 0 is none, that were found."""
    hits = sum(len(np.intersect1d(rows, best[best > 0])) for rows, best in zip(found, truth, strict=True))
    return hits / max(1, int((truth > 0).sum()))


def _matching(label: str | None) -> str:
    return "all" if label is None else f"{100 * catalogs.LABELS[label]:g} %"


def _text(
    measured: list[Measured], inside: list[list[object]], weights: list[tuple[int, str, float]], missing: dict[str, str]
) -> str:
    ours = f"ours, {NAMES['haproxy']}"
    best = {(each.count, each.label): each for each in measured if each.side == ours}
    rows = []
    for each in sorted(measured, key=lambda each: (each.count, FILTERS.index(each.label))):
        one = each.rates[1]
        times = best[each.count, each.label].rates[8].per_s / each.rates[8].per_s
        rates = [each.rates[clients].per_s for clients in CLIENTS]
        label = f"{each.count:,}, {_matching(each.label)}, {each.side}"
        rows.append([label, one.p50_ms, one.p95_ms, one.p99_ms, *rates, f"{each.recall:.4f}", times])
    heads = ["vectors, matching, side", "p50 ms", "p95 ms", "p99 ms", *(f"queries/s, {n} clients" for n in CLIENTS)]
    speeds = table([*heads, f"recall@{K}", "ours as fast, 8 clients"], rows)
    held = table(["vectors, process that holds them", "MB"], [[f"{n:,}, {side}", b / 1e6] for n, side, b in weights])
    absent = "".join(f"\n\n{name} is missing: {reason}" for name, reason in missing.items())
    alone_in = table(["vectors, matching, index", "p50 ms", "p95 ms", "p99 ms", f"recall@{K}"], inside)
    return f"{speeds}\n\nOurs without HTTP, in the shard:\n\n{alone_in}\n\nMemory:\n\n{held}{absent}"
