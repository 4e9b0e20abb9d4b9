"""How different the items of a list are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def intra_list_distance(vectors: NDArray[np.floating[Any]]) -> float:
    """ILD of D3.2, section 4: the mean Euclidean distance over all pairs of rows of [N, D]; 0 for fewer than two.

    It is computed from the Gram matrix: |a - b|^2 = |a|^2 + |b|^2 - 2 ab.
    """
    rows = np.asarray(vectors, np.float64)
    if len(rows) < 2:
        return 0.0
    rows = rows - rows.mean(axis=0)  # distances stay, and near-equal rows lose less to rounding
    squares = np.einsum("nd,nd->n", rows, rows)
    distances = np.sqrt((squares[:, None] + squares[None, :] - 2 * rows @ rows.T).clip(min=0))
    return float(distances[np.triu_indices(len(rows), k=1)].mean())
