"""Time to ready and memory of ``mediaverse serve``, as ``make run`` starts it once everything is installed."""

from __future__ import annotations

import time
from statistics import mean

from tests.benchmarks.processes import MODES, NAMES, memory_bytes, service
from tests.benchmarks.report import Result, progress, table

RUNS = 3


def run(quick: bool) -> Result:
    found: dict[str, list[dict[str, object]]] = {mode: [] for mode in MODES}
    for number in range(1 if quick else RUNS):
        for mode in MODES:
            found[mode].append(_start(mode))
            seconds, total = found[mode][-1]["seconds"], found[mode][-1]["total"]
            progress(f"startup: {NAMES[mode]}, run {number + 1}: {seconds:.1f} s, {total / 1e9:.2f} GB")  # type: ignore[operator]
    return Result(f"{_totals(found)}\n\nMemory by role in GB, mean of the runs:\n\n{_roles(found)}", found)


def _start(mode: str) -> dict[str, object]:
    with service(mode, start=False) as running:
        begun = time.monotonic()
        running.start()
        seconds = time.monotonic() - begun
        memory = memory_bytes(running)
    return {"seconds": seconds, "total": sum(memory.values()), "memory": memory}


def _totals(found: dict[str, list[dict[str, object]]]) -> str:
    rows = [
        [
            NAMES[mode],
            ", ".join(f"{run['seconds']:.1f}" for run in runs),
            ", ".join(f"{run['total'] / 1e9:.2f}" for run in runs),  # type: ignore[operator]
        ]
        for mode, runs in found.items()
    ]
    return table(["", "seconds to ready, each run", "GB in all (sum of PSS), each run"], rows)


def _roles(found: dict[str, list[dict[str, object]]]) -> str:
    memories = {mode: [run["memory"] for run in runs] for mode, runs in found.items()}
    roles = sorted({role for runs in memories.values() for memory in runs for role in memory})  # type: ignore[attr-defined]
    rows = [
        [role, *(f"{mean(memory.get(role, 0.0) for memory in runs) / 1e9:.2f}" for runs in memories.values())]  # type: ignore[attr-defined]
        for role in roles
    ]
    return table(["", *(NAMES[mode] for mode in memories)], rows)
