"""Our batcher against ``@serve.batch`` under the same open-loop load in one local Ray."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from typing import Any

import numpy as np

from tests.benchmarks.processes import alone
from tests.benchmarks.report import ROOT, Result, progress, table

LOADS = (0.25, 0.5, 0.75)
"""Arrivals, as shares of what the model manages in full batches when it is alone."""


def run(quick: bool) -> Result:
    found = alone(_measure_all, 3.0 if quick else 8.0)
    # Batchers side by side for each load, which is not the order in which they were measured.
    found.sort(key=lambda each: (each["model"], each["load"]))
    heads = [
        "model, load", "arrivals/s", "batcher", "mean batch", "p50 ms", "p99 ms", "answers/s", "p50 ms with the handle",
    ]  # fmt: skip
    rows = [
        [f"{each['model']}, {each['load']:.0%}", each["arrivals"], each["batcher"], each["mean_batch"],
         *each["inside_ms"], each["per_s"], each["outside_ms"][0]]
        for each in found
    ]  # fmt: skip
    return Result(table(heads, rows), found)


def _measure_all(seconds: float) -> list[dict[str, Any]]:
    place = tempfile.mkdtemp(prefix="mv")  # Ray's socket paths must stay short
    os.environ |= {"RAY_memory_monitor_refresh_ms": "0", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    # Ray reads its environment as it is imported.
    import ray
    from ray import serve

    from tests.benchmarks.batched_models import MODELS, VARIANTS, capacity

    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=place, log_to_driver=False)
    try:
        found = []
        for model in MODELS:
            per_s = capacity(model)
            for number, (batcher, bind) in enumerate(VARIANTS.items()):
                name = f"{model.split()[0]}-{number}"
                handle = serve.run(bind(model), name=name, route_prefix=None)
                for load in LOADS:
                    measured = asyncio.run(_measure(handle, load * per_s, seconds))
                    found.append({"model": model, "batcher": batcher, "load": load} | measured)
                    progress(f"batcher: {found[-1]}")
                serve.delete(name)
        return found
    finally:
        serve.shutdown()
        ray.shutdown()
        shutil.rmtree(place, ignore_errors=True)


async def _measure(handle: Any, per_s: float, seconds: float) -> dict[str, Any]:
    """Poisson arrivals that do not wait for answers; a request's time counts from when it was due."""
    due = np.random.default_rng(11).exponential(1 / per_s, int(per_s * seconds)).cumsum()
    await asyncio.gather(*(handle.one.remote(item) for item in range(32)))
    await handle.sizes.remote()
    begun = time.perf_counter()

    async def request(item: int) -> tuple[float, float]:
        inside = await handle.one.remote(item)
        return inside, time.perf_counter() - begun - due[item]

    tasks = []
    for item, at in enumerate(due):
        await asyncio.sleep(max(0.0, begun + at - time.perf_counter()))
        tasks.append(asyncio.create_task(request(item)))
    times = 1000 * np.asarray(await asyncio.gather(*tasks))
    took = time.perf_counter() - begun
    sizes = await handle.sizes.remote()
    inside, outside = (np.percentile(times[:, place], [50, 99]).tolist() for place in (0, 1))
    return {
        "arrivals": per_s, "mean_batch": float(np.mean(sizes)), "inside_ms": inside, "outside_ms": outside,
        "per_s": len(due) / took,
    }  # fmt: skip
