"""Re-ranking so that a list does not say the same thing again and again.

Maximal marginal relevance: Carbonell and Goldstein, SIGIR 1998.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.retrieval.hits import Floats, Ids


def rerank(vectors: Floats, scores: Sequence[float] | NDArray[np.floating[Any]], k: int, diversity: float) -> Ids:
    """The rows of ``vectors`` [N, D] (unit) to show: int64 [min(k, N)], in their new order.

    Each next row is the one with the highest (1 - diversity) score - diversity (its greatest cosine to a row chosen
    already); of equals the first. So 0 gives the order of ``scores``, and 1 looks at them for the first row alone.
    The work is k N D. Raises ValueError for a ``diversity`` outside of [0, 1].
    """
    if not 0 <= diversity <= 1:
        raise ValueError(f"diversity is from 0 to 1, not {diversity}")
    relevance = np.asarray(scores, np.float64)
    if diversity == 0 or not len(relevance):
        return np.argsort(-relevance, kind="stable")[: max(0, k)].astype(np.int64)
    rows = np.asarray(vectors, np.float32)
    worth = (1 - diversity) * relevance
    nearest = np.full(len(rows), -np.inf)
    left = np.ones(len(rows), np.bool_)
    chosen: list[int] = []
    pick = int(relevance.argmax())
    while len(chosen) < min(k, len(rows)):
        chosen.append(pick)
        left[pick] = False
        np.maximum(nearest, rows @ rows[pick], out=nearest)
        pick = int(np.where(left, worth - diversity * nearest, -np.inf).argmax())
    return np.asarray(chosen, np.int64)


def rescaled(scores: Sequence[float] | NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """``scores`` moved to [0, 1], the least and the greatest to its ends; all 1 where they are equal.

    Cosines of texts to pictures span a tenth, those of pictures to each other most of [0, 1]: as they are, any
    ``diversity`` would drown them.
    """
    values = np.asarray(scores, np.float64)
    if not len(values) or values.max() == values.min():
        return np.ones(len(values))
    return np.asarray((values - values.min()) / (values.max() - values.min()), np.float64)
