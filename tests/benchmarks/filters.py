"""Filters over a catalog of 100,000 annotated assets in SQLite: the time of a first page."""

from __future__ import annotations

import random
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert

from serve_app.catalog import Catalog, parse_filter
from serve_app.catalog.rows import STAGES
from serve_app.catalog.schema import assets, stages, tags
from tests.benchmarks.report import Result, progress, table

ASSETS = 100_000
PAGE = 5_000
ROUNDS = 20
WORDS = [f"thing{number}" for number in range(78)]
FILTERS = (
    "object:person",
    "object:person -meme",
    "object:person>0.9 -meme",
    'person:"ada lovelace"',
    "object:thing1 object:thing2 object:thing3",
    "-object:person",
    "object:nothing",
    "kind:image owner:o5 object:person -meme",
    "text:thing1",
    "text:nothing",
)


def run(quick: bool) -> Result:
    count = ASSETS // 10 if quick else ASSETS
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog.open(f"sqlite:///{Path(folder) / 'catalog.db'}")
        dice = random.Random(1)
        for first in range(0, count, PAGE):
            catalog.assets._database.write(lambda connection, first=first: _fill(connection, first, dice))
        progress(f"filters: {count:,} assets")
        rows = [[f"`{text}`", *_timed(catalog, text)] for text in FILTERS]
        catalog.close()
    return Result(table(["filter", "found on the page", "ms"], rows), {"assets": count, "rows": rows})


def _timed(catalog: Catalog, text: str) -> tuple[int, float]:
    """Assets on the first page of 50, and the least of a few times in ms."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        page = catalog.assets.page(filter=parse_filter(text))
        times.append(time.perf_counter() - started)
    return len(page.items), 1000 * min(times)


def _fill(connection: Connection, first: int, dice: random.Random) -> None:
    """Assets ``first`` and following: three things in each, a person in 30 %, a meme in 10 %, somebody known in .1 %,
    a caption and printed words."""
    numbers, rows = range(first, first + PAGE), []
    for number in numbers:
        rows += [_tag(number, "object", word, dice.random()) for word in dice.sample(WORDS, 3)]
        for share, name, value in ((0.3, "object", "person"), (0.1, "meme", "meme"), (0.001, "person", "Ada Lovelace")):
            if dice.random() < share:
                rows.append(_tag(number, name, value, dice.random()))
        rows.append(_tag(number, "caption", " ".join(dice.sample(WORDS, 6)), 1.0))
        rows.append(_tag(number, "text", " ".join(dice.sample(WORDS, 4)), 1.0))
    connection.execute(insert(assets), [_asset(number) for number in numbers])
    done = [{"asset_id": f"a{number}", "stage": stage, "state": "ready"} for number in numbers for stage in STAGES]
    connection.execute(insert(stages), done)
    connection.execute(insert(tags), rows)


def _asset(number: int) -> dict[str, Any]:
    return {
        "id": f"a{number}", "owner": f"o{number % 100}", "kind": "image", "media_type": "image/png",
        "sha256": f"{number:064x}", "bytes": 1, "file": "-", "state": "ready", "created_at": datetime.now(UTC),
        "ordinal": number,
    }  # fmt: skip


def _tag(number: int, name: str, value: str, confidence: float) -> dict[str, Any]:
    row = {"asset_id": f"a{number}", "task": name, "name": name, "value": value, "model": "m@1"}
    return row | {"folded": value.lower(), "prefix": value.lower(), "confidence": confidence}
