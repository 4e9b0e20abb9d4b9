"""The serving tax: HTTP requests against the same networks in a bare loop, and whose CPU time the difference is."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass

from tests.benchmarks import bare, load, samples
from tests.benchmarks.processes import MODES, NAMES, alone, cpu_seconds, service
from tests.benchmarks.report import Result, progress, table
from tests.cluster.conftest import Service

CONNECTIONS = 32
KINDS = {"live": "GET /health/live", "images": "images", "texts": "texts"}


@dataclass(frozen=True)
class Measured:
    """One load on one service; ``cpu_ms`` is CPU time a request, by role."""

    mode: str
    kind: str
    rate: load.Rate
    cpu_ms: dict[str, float]


def run(quick: bool) -> Result:
    seconds = 3.0 if quick else 10.0
    bares = _bare(seconds)
    measured = []
    for mode in MODES:
        progress(f"serving: starting a service behind {NAMES[mode]}")
        with service(mode) as running:
            measured += [_measure(running, mode, kind, seconds) for kind in KINDS]
    text = f"{_rates(bares, measured)}\n\nCPU time a request, in ms:\n\n{_shares(measured)}"
    return Result(text, {"bare": bares, "served": [asdict(each) for each in measured]})


def _bare(seconds: float) -> dict[str, dict[str, float]]:
    loops = {"images": bare.images_per_s, "texts": bare.texts_per_s}
    found: dict[str, dict[str, float]] = {}
    for kind, loop in loops.items():
        found[kind] = {}
        for workers in sorted({1, len(os.sched_getaffinity(0))}):
            found[kind][str(workers)] = alone(loop, seconds, workers)
            progress(f"serving: bare loop, {kind}, {workers} preparing: {found[kind][str(workers)]:.0f}/s")
    return found


def _measure(running: Service, mode: str, kind: str, seconds: float) -> Measured:
    before = cpu_seconds(running)
    rate = alone(load.closed_loop, running.port, _requests(kind), CONNECTIONS, seconds)
    after = cpu_seconds(running)
    cpu_ms = {role: 1000 * (spent - before.get(role, 0.0)) / rate.answered for role, spent in after.items()}
    progress(f"serving: {NAMES[mode]}, {kind}: {rate.per_s:.0f}/s, p99 {rate.p99_ms:.0f} ms")
    return Measured(mode, kind, rate, cpu_ms | {"client": 1000 * rate.client_cores / rate.per_s})


def _requests(kind: str) -> list[bytes]:
    if kind == "images":
        return [load.post_file("/v1/annotate/image?annotators=embedding", data) for data in samples.pictures()]
    if kind == "texts":
        return [load.post_json("/v1/search", {"text": text}) for text in samples.many()]
    return [load.get("/health/live")]


def _rates(bares: dict[str, dict[str, float]], measured: list[Measured]) -> str:
    rows: list[list[object]] = []
    for kind in ("images", "texts"):
        best = max(bares[kind].values())
        for workers, per_s in bares[kind].items():
            threads = "one thread prepares" if workers == "1" else f"{workers} threads prepare"
            rows.append([f"{kind}, bare loop, {threads}", per_s, "", "", per_s / best, ""])
        served = [each for each in measured if each.kind == kind]
        rows += [_row(each, f"{kind}, {NAMES[each.mode]}", each.rate.per_s / best) for each in served]
    rows += [_row(each, f"`{KINDS['live']}`, {NAMES[each.mode]}", "") for each in measured if each.kind == "live"]
    return table(["", "a second", "p50 ms", "p99 ms", "of the best bare loop", "client, cores"], rows)


def _row(each: Measured, name: str, share: object) -> list[object]:
    return [name, each.rate.per_s, each.rate.p50_ms, each.rate.p99_ms, share, each.rate.client_cores]


def _shares(measured: list[Measured]) -> str:
    """Roles below a tenth of a millisecond in every column are left out."""
    roles = sorted({role for each in measured for role in each.cpu_ms})
    heads = ["", *(f"{each.kind}, {NAMES[each.mode]}" for each in measured)]
    rows = [[role, *(f"{each.cpu_ms.get(role, 0.0):.2f}" for each in measured)] for role in roles]
    return table(heads, [row for row in rows if any(float(str(value)) >= 0.1 for value in row[1:])])
