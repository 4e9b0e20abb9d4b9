"""The thresholds of D3.2, section 3.6, and what may stand in ``min_score``."""

from __future__ import annotations

import math

import pytest

from serve_app.errors import Problem
from serve_app.retrieval.thresholds import resolve


@pytest.mark.parametrize(
    ("query", "result", "least"),
    [("text", "image", 0.24), ("image", "text", 0.23), ("text", "text", 0.60), ("image", "image", None),
     ("text", "video", None), ("text", "shape3d", 0.24), ("image", "shape3d", None)],
)  # fmt: skip
def test_auto_takes_the_reports_figures(query: str, result: str, least: float | None) -> None:
    assert resolve("auto", query, result) == least
    assert resolve(None, query, result) is None
    assert resolve(0.5, query, result) == 0.5


def test_a_model_brings_its_own_figures() -> None:
    own = {("text", "image"): 0.1}
    assert resolve("auto", "text", "image", own) == 0.1
    assert resolve("auto", "text", "text", own) is None
    assert resolve("auto", "text", "image", {}) is None
    assert resolve(-1, "text", "image", own) == -1.0


@pytest.mark.parametrize("value", ["best", "", math.nan, math.inf, True, [0.5]])
def test_anything_else_is_a_bad_request(value: object) -> None:
    with pytest.raises(Problem) as caught:
        resolve(value, "text", "image")  # type: ignore[arg-type]
    assert caught.value.code == "bad_request"
