"""The suppression in rounds against torchvision's, and against the loop of facenet-pytorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from facenet_pytorch.models.utils.detect_face import nms_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision.ops import nms

import serve_app.annotation.suppression as suppression
from serve_app.annotation.suppression import REACH, suppress, suppress_windows

Floats = NDArray[np.float32]


def boxes(count: int, seed: int) -> tuple[Floats, Floats]:
    """Boxes in a small area, so that many overlap, and scores that differ."""
    dice = np.random.default_rng(seed)
    start, sides = dice.uniform(0, 60, (count, 2)), dice.uniform(5, 40, (count, 2))
    scores = (dice.permutation(count) + 1) / (count + 1)
    return np.concatenate([start, start + sides], axis=1).astype(np.float32), scores.astype(np.float32)


@settings(max_examples=60)
@given(st.integers(0, 120), st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.95]))
def test_it_keeps_what_torchvision_keeps(count: int, seed: int, limit: float) -> None:
    corners, scores = boxes(count, seed)
    expected = nms(torch.from_numpy(corners), torch.from_numpy(scores), limit).numpy()
    assert suppress(corners, scores, limit).tolist() == expected.tolist()


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_over_the_smaller_box_it_keeps_what_the_reference_keeps(count: int, seed: int) -> None:
    corners, scores = boxes(count, seed)
    expected = nms_numpy(corners, scores, 0.7, "Min")
    assert suppress(corners, scores, 0.7, "smaller").tolist() == expected.tolist()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    corners, scores = boxes(300, 5)
    whole = suppress(corners, scores, 0.4)
    monkeypatch.setattr(suppression, "BLOCK", 7)
    assert suppress(corners, scores, 0.4).tolist() == whole.tolist()


def test_a_box_without_area_stays_and_divides_nothing_by_zero() -> None:
    corners = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 9, 9]], np.float32)
    assert suppress(corners, np.array([0.9, 0.8, 0.7], np.float32), 0.5).tolist() == [0, 1, 2]


def test_a_dropped_box_drops_no_other() -> None:
    corners = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float32)
    assert suppress(corners, np.array([0.9, 0.8, 0.7], np.float32), 0.3).tolist() == [0, 2]


@pytest.mark.parametrize("scale", [1.0, 0.6, 0.4254, 0.0761])
def test_windows_on_a_lattice_are_boxes_like_others(scale: float) -> None:
    dice = np.random.default_rng(7)
    rows, columns = np.nonzero(dice.random((25, 30)) < 0.6)
    start = np.stack([columns, rows], axis=1).astype(np.float32) * 2 + 1
    corners = np.concatenate([np.floor(start / scale), np.floor((start + 11) / scale)], axis=1).astype(np.float32)
    scores = dice.permutation(len(rows)).astype(np.float32)
    found = suppress_windows(rows, columns, corners, scores, 0.5)
    assert 20 < len(found) < len(rows) / 2
    assert found.tolist() == suppress(corners, scores, 0.5).tolist()


def test_windows_further_apart_leave_each_other_alone() -> None:
    corners = np.array([[0, 0, 11, 11]] * 2, np.float32)
    scores = np.array([0.5, 0.6], np.float32)
    columns = np.zeros(2, np.int64)
    assert suppress_windows(np.array([0, REACH + 1]), columns, corners, scores, 0.5).tolist() == [1, 0]
    assert suppress_windows(np.array([0, REACH]), columns, corners, scores, 0.5).tolist() == [1]


def test_nothing_gives_nothing() -> None:
    none = np.empty(0, np.int64)
    corners, scores = np.empty((0, 4), np.float32), np.empty(0, np.float32)
    assert suppress(corners, scores, 0.5).tolist() == []
    assert suppress_windows(none, none, corners, scores, 0.5).tolist() == []
