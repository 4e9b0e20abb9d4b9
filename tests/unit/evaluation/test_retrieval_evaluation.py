"""Recall, MRR, similarities and thresholds: against exhaustive counting, and where the answer is known on paper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import serve_app.evaluation.retrieval
from serve_app.evaluation.retrieval import FEWEST, Pair, Side, Spread, measure


def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def side(rows: NDArray[np.float64], groups: list[int]) -> Side:
    return Side(unit(rows), np.array(groups, np.int64))


def random_side(dice: np.random.Generator, count: int, groups: int) -> Side:
    return side(dice.normal(size=(count, 6)), dice.integers(0, groups, count).tolist())


def counted(queries: Side, targets: Side, same: bool, k: int, least: float) -> tuple[float, float, float]:
    """Recall@k, MRR and how many are left out of ten: query by query, as one would by hand."""
    recalls, reciprocals, left_out = [], [], 0
    for row, vector in enumerate(queries.vectors):
        listed = [
            (float(np.float32(vector @ other)), bool(targets.groups[at] == queries.groups[row]))
            for at, other in enumerate(targets.vectors)
            if not (same and at == row)
        ]
        listed.sort(key=lambda one: (-one[0], one[1]))  # of equals the wrong one first
        left_out += sum(score < least for score, _ in listed[:10])
        if not any(right for _, right in listed):
            continue
        kept = [right if score >= least else None for score, right in listed]
        recalls.append(any(kept[:k]))
        reciprocals.append(next((1 / place for place, right in enumerate(kept, 1) if right), 0.0))
    return float(np.mean(recalls)), float(np.mean(reciprocals)), left_out / len(queries.groups)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.integers(20, 60), st.integers(5, 40), st.integers(1, 400))
def test_it_counts_what_exhaustive_counting_counts(seed: int, same: bool, many: int, few: int, block: int) -> None:
    dice = np.random.default_rng(seed)
    targets = random_side(dice, many, 8)
    queries = targets if same else random_side(dice, few, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve_app.evaluation.retrieval, "BLOCK", block)
        pair = measure(queries, targets, same=same)
    assert pair.known
    for least in (-1.0, 0.0, 0.5, 0.9):
        for k in (1, 5, 10):
            recall, mrr, left_out = counted(queries, targets, same, k, least)
            assert pair.recall(k, least) == pytest.approx(recall, abs=1e-9)
        assert pair.mrr(least) == pytest.approx(mrr, abs=1e-9)
        assert pair.filtered(least)["filtered_of_10"] == pytest.approx(left_out, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_similarities_are_those_of_all_pairs(seed: int) -> None:
    dice = np.random.default_rng(seed)
    queries, targets = random_side(dice, 30, 4), random_side(dice, 50, 4)
    pair = measure(queries, targets)
    scores = queries.vectors.astype(float) @ targets.vectors.T.astype(float)
    right = queries.groups[:, None] == targets.groups
    for spread, expected in ((pair.similar, scores[right]), (pair.dissimilar, scores[~right])):
        figures = spread.figures()
        assert figures is not None
        assert figures["pairs"] == len(expected)
        assert figures["mean"] == pytest.approx(expected.mean(), abs=1e-6)
        assert figures["std"] == pytest.approx(expected.std(), abs=1e-5)
        for share in (0.05, 0.5, 0.95):
            exact = np.quantile(expected, share, method="inverted_cdf")
            assert exact - 0.0011 <= figures[f"q{share:g}"] <= exact + 1e-6


def test_each_finds_its_own_first() -> None:
    pair = measure(side(np.eye(12), list(range(12))), side(np.eye(12), list(range(12))))
    assert pair.figures() == {"recall@1": 1, "recall@5": 1, "recall@10": 1, "mrr": 1}
    assert pair.similar.figures() == pytest.approx(
        {"pairs": 12, "mean": 1, "std": 0} | {f"q{q:g}": 1 for q in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)}
    )
    assert pair.equal_error() == pytest.approx(0.5, abs=0.002)


def test_equals_count_against_it_and_any_of_the_captions_will_do() -> None:
    flat = side(np.ones((20, 4)), list(range(20)))
    assert measure(flat, flat).figures() == pytest.approx({"recall@1": 0, "recall@5": 0, "recall@10": 0, "mrr": 0.05})
    query = side(np.array([[1.0, 0.0]]), [7])
    captions = side(np.array([[0.0, 1.0], [1.0, 0.1], [1.0, 1.0], [0.3, 1.0]]), [7, 3, 7, 7])
    pair = measure(query, captions)  # the best of three captions of its own comes second
    assert pair.figures() == {"recall@1": 0, "recall@5": 1, "recall@10": 1, "mrr": 0.5}


def test_of_a_random_order_the_mean_place_is_the_middle() -> None:
    """N targets in random order: the right one is first in 1/N, and 1/place is H(N)/N in the mean."""
    dice, size = np.random.default_rng(1), 40
    pair = measure(
        side(dice.normal(size=(3000, 64)), dice.integers(0, size, 3000).tolist()),
        side(dice.normal(size=(size, 64)), list(range(size))),
    )
    harmonic = sum(1 / place for place in range(1, size + 1)) / size
    assert pair.recall(1) == pytest.approx(1 / size, abs=0.01)
    assert pair.recall(10) == pytest.approx(10 / size, abs=0.03)
    assert pair.mrr() == pytest.approx(harmonic, abs=0.015)


def answered(best: list[float], ranks: list[int]) -> Pair:
    return Pair(
        len(best), 100, np.array(ranks, np.int64), np.array(best, np.float32), Spread(), Spread(), Spread()
    )  # fmt: skip


def test_the_threshold_keeps_95_of_100_answers_and_no_higher_one_does() -> None:
    best = [0.3 + 0.005 * number for number in range(100)]
    pair = answered(best, [1] * 100)
    least = pair.threshold()
    assert least == pytest.approx(0.325, abs=0.0011)  # the sixth, rounded down: five are left out
    assert pair.recall(10, least) == pytest.approx(0.95)
    assert pair.recall(10, least + 0.002) < 0.95


def test_what_was_not_found_anyway_does_not_move_the_threshold() -> None:
    best, ranks = [0.5] * 40 + [0.1] * 60, [1] * 40 + [11] * 60
    assert answered(best, ranks).threshold() == 0.5


def test_of_few_answers_no_threshold_is_told() -> None:
    assert answered([0.5] * (FEWEST - 1), [1] * (FEWEST - 1)).threshold() is None
    assert answered([0.5] * FEWEST, [1] * FEWEST).threshold() == 0.5
    assert answered([-0.25] * FEWEST, [1] * FEWEST).threshold() == -0.25


def test_equal_error_lies_between_what_is_far_apart() -> None:
    similar, dissimilar = Spread(), Spread()
    similar.add(np.linspace(0.5, 0.9, 1000, dtype=np.float32))
    dissimilar.add(np.linspace(0.2, 0.6, 1000, dtype=np.float32))
    pair = Pair(1, 1, np.ones(1, np.int64), np.ones(1, np.float32), similar, dissimilar, Spread())
    assert pair.equal_error() == pytest.approx(0.55, abs=0.003)


def test_without_pairs_it_is_unknown() -> None:
    pictures = random_side(np.random.default_rng(0), 30, 1)
    alone = Side(pictures.vectors, np.arange(30, dtype=np.int64))
    pair = measure(alone, alone, same=True)
    assert not pair.known
    shown = pair.document()
    assert (shown["recall"], shown["threshold"], shown["similar"], shown["answerable"]) == (None, None, None, 0)
    assert shown["dissimilar"]["pairs"] == 30 * 29


def test_the_curve_runs_from_everything_to_nothing() -> None:
    dice = np.random.default_rng(3)
    pair = measure(random_side(dice, 50, 9), random_side(dice, 80, 9))
    curve = pair.curve()
    assert (curve[0]["filtered_of_10"], curve[-1]["filtered_of_10"]) == (0, 10)
    assert curve[0]["recall@10"] == pair.recall(10)
    assert curve[-1]["recall@10"] == curve[-1]["mrr"] == 0
    for figure, falling in (("filtered", False), ("recall@1", True), ("mrr", True)):
        values = [row[figure] for row in curve]
        assert values == sorted(values, reverse=falling)
