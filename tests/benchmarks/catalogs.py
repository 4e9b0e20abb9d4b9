"""Catalogs of clustered unit vectors, filled through the catalog's own API, and the exact answers for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert

from serve_app.catalog import Catalog, NewContent
from serve_app.catalog.schema import tags
from tests.benchmarks.report import progress

DIM = 512
OWNERS = 100
RUN = 1000
"""Contents that one owner posts in a row."""
PAGE = 10_000
CENTRES = 1000
SPREAD = 0.7
"""Length of the noise around a unit centre: neighbours of one centre score about 0.67, as similar pictures do."""
LABELS = {"half": 0.5, "tenth": 0.1, "hundredth": 0.01, "thousandth": 0.001}
"""Objects that annotators would have seen, and the share of pictures that show them, whatever their cluster."""

Floats = NDArray[np.float32]


def pages(count: int) -> Iterator[Floats]:
    """``count`` unit vectors [PAGE, DIM] a page, the same at every call."""
    centres = _unit(np.random.default_rng(1).standard_normal((CENTRES, DIM), np.float32))
    for number, start in enumerate(range(0, count, PAGE)):
        yield _around(centres, min(PAGE, count - start), seed=1000 + number)


def queries(count: int) -> Floats:
    """Unit vectors [count, DIM] from the same clusters that are in no catalog."""
    centres = _unit(np.random.default_rng(1).standard_normal((CENTRES, DIM), np.float32))
    return _around(centres, count, seed=2)


def showing(count: int, label: str) -> NDArray[np.bool_]:
    """Which of ``count`` pictures show ``label``: bool [count]."""
    return np.random.default_rng(3).random(count) < LABELS[label]


def fill(path: Path, count: int, revision: str, *, labelled: bool = False) -> None:
    """A SQLite catalog with ``count`` pictures of at most ``OWNERS`` owners; picture i has vector id i + 1.

    With ``labelled``, those of ``showing`` carry the tag ``object`` with each label.
    """
    catalog = Catalog.open(f"sqlite:///{path}")
    for number, page in enumerate(pages(count)):
        items = [(_content(number * PAGE + place), vector) for place, vector in enumerate(page)]
        catalog.contents.add_many(items, revision)
        if (number + 1) % 10 == 0:
            progress(f"search: {(number + 1) * PAGE:,} of {count:,} vectors in the catalog")
    for label in LABELS if labelled else ():
        numbers = np.flatnonzero(showing(count, label))
        for start in range(0, len(numbers), PAGE):
            rows = [_tag(number, label) for number in numbers[start : start + PAGE]]
            catalog.assets._database.write(lambda connection, rows=rows: connection.execute(insert(tags), rows))
    catalog.close()


def exact(count: int, asked: Floats, k: int, label: str | None = None) -> NDArray[np.int64]:
    """The ids of the ``k`` best for each query [N, DIM] by plain numpy: int64 [N, k], best first.

    Of those that show ``label``, if one is given; 0 where there are fewer than ``k``.
    """
    scores = np.full((len(asked), k), -np.inf, np.float32)
    ids = np.zeros((len(asked), k), np.int64)
    shown = np.ones(count, np.bool_) if label is None else showing(count, label)
    for number, page in enumerate(pages(count)):
        fits = shown[number * PAGE : number * PAGE + len(page)]
        products = np.where(fits, asked @ page.T, np.float32(-np.inf))
        near = np.argpartition(-products, k - 1, axis=1)[:, :k]
        scores = np.hstack([scores, np.take_along_axis(products, near, 1)])
        ids = np.hstack([ids, near + number * PAGE + 1])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, ids = np.take_along_axis(scores, best, 1), np.take_along_axis(ids, best, 1)
    return np.where(np.isfinite(scores), ids, 0)


def _tag(number: int, label: str) -> dict[str, object]:
    row = {"asset_id": f"a{number:08}", "task": "object_detection", "name": "object", "value": label, "model": "m@1"}
    return row | {"folded": label, "prefix": label, "confidence": 0.9}


def _content(number: int) -> NewContent:
    # Digests that ascend and owners that post in runs append to the catalog's indexes, so that a million rows are
    # written in minutes; a search never looks at their order.
    owner, digest = f"owner{number // RUN % OWNERS}", f"{number:064x}"
    return NewContent(f"a{number:08}", owner, "image", "image/jpeg", digest, 1, f"f/{number}")


def _around(centres: Floats, count: int, seed: int) -> Floats:
    random = np.random.default_rng(seed)
    noise = random.standard_normal((count, DIM), np.float32) * np.float32(SPREAD / DIM**0.5)
    return _unit(centres[random.integers(0, len(centres), count)] + noise)


def _unit(rows: Floats) -> Floats:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
