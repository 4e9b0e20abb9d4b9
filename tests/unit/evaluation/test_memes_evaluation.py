"""The crossed scenarios on generated pictures small enough to train in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serve_app.errors import Problem
from serve_app.evaluation.memes import CELL, MARGIN, crossed, plot
from serve_app.models.memes.fit import Progress, Recipe, fit
from serve_app.models.memes.pools import Pools
from serve_app.models.memes.scenarios import SCENARIOS, Scenario
from serve_app.models.memes.train import held_out
from serve_app.models.memetector import MemeTectorConfig

SMALL = MemeTectorConfig(
    side=20,
    patch=5,
    dim=16,
    depth=2,
    heads=2,
    key_dim=8,
    mlp=32,
    attended=(0, 1),
    dense=(16, 8),
    dropout=0.0,
    head_dropout=0.0,
)
RECIPE = Recipe(epochs=1, batch=32, rate=3e-3, config=SMALL, threads=1)
CHOSEN = (Scenario(0.0), Scenario(1.0, 1.0))


@pytest.fixture
def pools() -> Pools:
    """Memes have a white bar above, pictures with text one below."""
    rng = np.random.default_rng(0)
    memes = rng.integers(0, 120, (80, 20, 20, 3)).astype(np.uint8)
    parts = np.repeat(memes[:, 10:], 2, axis=1)
    memes[:, :5] = 255
    printed = rng.integers(0, 120, (80, 20, 20, 3)).astype(np.uint8)
    printed[:, 15:] = 255
    text = np.zeros((80, 4, 4), np.float32)
    text[:, 0] = 1
    return Pools((memes, parts, printed, parts[::-1]), np.ones(80, np.bool_), text)


def test_the_matrix_is_of_every_pair_and_an_interrupted_run_trains_nothing_twice(pools: Pools, tmp_path: Path) -> None:
    titles: list[str] = []

    @contextmanager
    def follow(title: str) -> Iterator[Callable[[Progress], None]]:
        titles.append(title)
        yield lambda step: None

    matrix = crossed(pools, CHOSEN, RECIPE, 0, tmp_path, follow)
    assert matrix.shape == (2, 2)
    for row, scenario in zip(matrix, CHOSEN, strict=True):  # what each has learnt is told of it, and of no other
        trained = fit(pools, scenario, RECIPE, 0, tmp_path / f"crossed-{scenario.name}-0.pt")
        assert row.tolist() == list(held_out(trained, pools, 0, CHOSEN).values())
    again = crossed(pools, (*CHOSEN[::-1],), RECIPE, 0, tmp_path, follow)
    assert titles == ["scenario 0.00,0.00", "scenario 1.00,1.00"]
    assert np.array_equal(again, matrix[::-1, ::-1])
    none = Pools((*pools.pixels[:2], pools.pixels[2][:0], pools.pixels[3]), pools.parted, pools.text)
    with pytest.raises(Problem, match=r"too few pictures to test 1\.00,1\.00"):
        crossed(none, CHOSEN, RECIPE, 1, tmp_path, follow)


def test_the_plot_has_a_cell_for_each_pair_darker_where_it_is_worse(tmp_path: Path) -> None:
    matrix = np.linspace(0.5, 1, 169).reshape(13, 13)
    plot(matrix, [one.name for one in SCENARIOS], tmp_path / "matrix.png")
    with Image.open(tmp_path / "matrix.png") as image:
        pixels = np.asarray(image.convert("L")).astype(int)
    assert pixels.shape == (MARGIN + 13 * CELL,) * 2
    corners = [pixels[MARGIN + 2 + CELL * at, MARGIN + 2 + CELL * at] for at in range(13)]
    assert all(worse < better for worse, better in pairwise(corners))
