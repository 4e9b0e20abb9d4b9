"""Ten thousand adds while a process of each kind is killed again and again: what is lost (nothing), and how long it
takes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.benchmarks.processes import service
from tests.benchmarks.report import Result, table
from tests.cluster import faults as fires

ADDS = 10_000
BATCH = 20
PAUSE_S = 3.0
ROUNDS = 1000
"""More than there is time for."""
FOUND_WITHIN_S = 600


def run(quick: bool) -> Result:
    kinds = (*fires.REPLICAS, *fires.OTHERS)
    with service("python", {"shards": 2}) as running:
        fire = fires.Fire(running, kinds, PAUSE_S, 1 if quick else ROUNDS)
        added = fires.add_under_fire(running, fire, ADDS // 50 if quick else ADDS, BATCH)
        found_s = fires.assert_all_found(running, added, FOUND_WITHIN_S)
        fires.assert_whole(running, FOUND_WITHIN_S)
    killed = Counter(added.killed)
    rows: list[tuple[str, object]] = [
        ("texts acknowledged", len(added.acknowledged)),
        ("of them not found in the end", 0),
        ("vectors without a content, contents without a vector or a reason", 0),
        ("seconds to the last acknowledgement", round(added.seconds)),
        (f"requests of {BATCH} that were lost and sent again", added.refused),
        ("seconds from then until all were found", round(found_s)),
        *((f"killed: {kind}", killed[kind]) for kind in kinds),
    ]
    raw: dict[str, Any] = dict(rows)
    return Result(table(["", ""], rows), raw)
