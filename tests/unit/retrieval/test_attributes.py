"""What rows stand for, by itself; filters over it are tested with the shard."""

from __future__ import annotations

import tracemalloc

import numpy as np

from serve_app.retrieval.attributes import Attributes, Entries

PAGES, ROWS = 400, 25


def test_memory_grows_with_the_rows_however_many_pages_they_came_in() -> None:
    attributes = Attributes()
    nothing = np.empty(0, np.int32)
    tracemalloc.start()
    for page in range(PAGES):
        rows = np.arange(page * ROWS, (page + 1) * ROWS)
        attributes.add_rows(["anna"] * ROWS)
        attributes.put(
            Entries(rows, rows, ["image"] * ROWS, np.zeros(ROWS), nothing, [], [], np.empty(0, np.float32))
        )  # fmt: skip
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # About 40 bytes a row in columns that grow by halves, and the old one beside the new.
    assert peak < 200 * PAGES * ROWS
