"""Least similarities under which a result is dropped, by the kinds of the query and of the result.

The figures are those of D3.2, section 3.6. They hold for the CLIP ViT-B/32 of the report and for no other model: cosine
similarities of another tower lie elsewhere. A model with figures of its own gives them as ``table``; one without
figures gives an empty one, and ``auto`` then drops nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from serve_app.errors import Problem

Thresholds = Mapping[tuple[str, str], float]
"""(modality of the query, modality of the result) -> least cosine similarity."""

REPORT: Thresholds = {
    ("text", "image"): 0.24,
    ("image", "text"): 0.23,
    ("text", "text"): 0.60,
    ("text", "shape3d"): 0.24,
}
"""For CLIP ViT-B/32 (openai). The report knows none from image to image.

None was measured for views of 3D assets; being pictures, they take those of images. None was measured for moments of
videos, so "auto" drops none of them; a number holds for them as for the others.
"""


def resolve(
    min_score: float | Literal["auto"] | None, query: str, result: str, table: Thresholds = REPORT
) -> float | None:
    """The least score to keep, or None where nothing is dropped.

    ``min_score`` is a number, which holds for every pair, "auto" for the figure of ``table``, or None for no threshold.
    Raises ``bad_request`` for anything else.
    """
    if min_score is None:
        return None
    if min_score == "auto":
        return table.get((query, result))
    if isinstance(min_score, bool) or not isinstance(min_score, int | float) or not math.isfinite(min_score):
        raise Problem("bad_request", f'min_score is a number or "auto", not {min_score!r}')
    return float(min_score)
