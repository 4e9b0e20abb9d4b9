"""Recommendation through HTTP for users of 10 to 10,000 posts, cold and from kept profiles, among others' vectors."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from serve_app.catalog import Catalog, NewContent
from tests.benchmarks import catalogs, encoder512
from tests.benchmarks.processes import alone, service
from tests.benchmarks.report import Result, progress, table

OTHERS, QUICK_OTHERS = 100_000, 5_000
POSTS = (10, 100, 1_000, 10_000)
USERS = {10: 40, 100: 40, 1_000: 20, 10_000: 10}
"""Users of each size: each is cold once."""
QUICK_USERS = 2
REPEATS, QUICK_REPEATS = 20, 3
INTERESTS = 5
MODES = ("report", "all-clusters")
K = 10


def run(quick: bool) -> Result:
    place = Path(tempfile.mkdtemp(prefix="mediaverse-recommendation"))
    others = QUICK_OTHERS if quick else OTHERS
    users = {posts: QUICK_USERS if quick else count for posts, count in USERS.items()}
    try:
        path = place / "catalog.db"
        revision = encoder512.model().key
        alone(catalogs.fill, path, others, revision)
        alone(_post, path, users, revision)
        progress(f"recommendation: {others:,} vectors of others, and users of {', '.join(map(str, POSTS))} posts")
        args: dict[str, object] = {
            "catalog": f"sqlite:///{path}",
            "models": {"cross_modal_embedding": encoder512.NAME},
        }
        with service("python", args, start=False) as running:
            encoder512.install(running)
            running.start()
            rows = _measure(running.url, users, QUICK_REPEATS if quick else REPEATS)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    heads = [
        "posts",
        "p50 ms, cold",
        "slowest",
        "p50 ms, kept, all-clusters",
        "p99 ms",
        "p50 ms, kept, report",
        "p99 ms",
    ]
    cells = [[row["posts"], *row["cold"], *row["all-clusters"], *row["report"]] for row in rows]
    text = f"{others:,} vectors of others, `k={K}`, one client:\n\n{table(heads, cells)}"
    return Result(text, {"others": others, "rows": rows})


def _post(path: Path, users: dict[int, int], revision: str) -> None:
    """Each user posts pictures of five interests and, one in ten, of none."""
    dice = np.random.default_rng(5)
    catalog = Catalog.open(f"sqlite:///{path}")
    for posts, count in users.items():
        for number in range(count):
            centres = catalogs.queries(INTERESTS * (number + 1))[-INTERESTS:]
            rows = centres[dice.integers(0, INTERESTS, posts)] * (dice.random((posts, 1)) < 0.9)
            rows = rows + dice.standard_normal((posts, catalogs.DIM), np.float32) * np.float32(0.7 / catalogs.DIM**0.5)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            owner = f"user-{posts}-{number}"
            items = [
                (
                    NewContent(f"{owner}/{at}", owner, "image", "image/jpeg", _digest(owner, at), 1, f"f/{owner}/{at}"),
                    row,
                )
                for at, row in enumerate(rows.astype(np.float32))
            ]
            for start in range(0, posts, catalogs.PAGE):
                catalog.contents.add_many(items[start : start + catalogs.PAGE], revision)
    catalog.close()


def _digest(owner: str, at: int) -> str:
    _, posts, number = owner.split("-")
    return f"f{int(posts):07}{int(number):08}{at:048x}"


def _measure(url: str, users: dict[int, int], repeats: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with httpx.Client(base_url=url, timeout=120) as client:
        _ask(client, "nobody", "report")  # loads what only the first request has to load
        for posts, count in users.items():
            names = [f"user-{posts}-{number}" for number in range(count)]
            cold = [_ask(client, name, MODES[-1]) for name in names]
            row: dict[str, Any] = {"posts": posts, "cold": (float(np.median(cold)), max(cold))}
            for mode in MODES:
                kept = [_ask(client, name, mode) for _ in range(repeats) for name in names]
                row[mode] = tuple(map(float, np.percentile(kept, [50, 99])))
            rows.append(row)
            progress(f"recommendation: {row}")
    return rows


def _ask(client: httpx.Client, user: str, mode: str) -> float:
    """Milliseconds of one request."""
    begun = time.perf_counter()
    answer = client.get(f"/v1/users/{user}/recommendations", params={"k": K, "mode": mode})
    took = 1000 * (time.perf_counter() - begun)
    body = answer.raise_for_status().json()
    if user != "nobody" and len(body["image"]["image"]["contents"]) != K:
        raise RuntimeError(f"{user} got {len(body['image']['image']['contents'])} recommendations, not {K}")
    return took
