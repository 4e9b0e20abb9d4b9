"""The mixtures of the paper, and splits that leak nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from serve_app.errors import Problem
from serve_app.models.memes.pools import MEME, PART, WITH_TEXT, WITHOUT_TEXT, Pools
from serve_app.models.memes.scenarios import SCENARIOS, Scenario, available, split, synthesise


def test_there_are_thirteen() -> None:
    assert len(SCENARIOS) == len({one.name for one in SCENARIOS}) == 13
    assert SCENARIOS[0] == Scenario(0.0)
    assert {(one.web, one.text) for one in SCENARIOS[1:]} == {
        (web, text) for web in (0.33, 0.67, 1.0) for text in (0.0, 0.33, 0.67, 1.0)
    }


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        # Of 60 memes 51 are to be trained on, about 46 with a part; of each 40 others 34.
        (Scenario(1.0, 1.0), {MEME: 34, WITH_TEXT: 34}),
        (Scenario(1.0, 0.0), {MEME: 34, WITHOUT_TEXT: 34}),
        (Scenario(0.67, 1.0), {MEME: 50, PART: 16, WITH_TEXT: 34}),
        (Scenario(0.5, 0.5), {MEME: 51, PART: 26, WITH_TEXT: 13, WITHOUT_TEXT: 13}),
    ],
)
def test_counts_follow_the_shares(pools: Pools, scenario: Scenario, expected: dict[int, int]) -> None:
    examples = synthesise(scenario, pools, "train", 0)
    found = Counter(examples.kinds.tolist())
    assert set(found) == set(expected)
    assert all(abs(found[kind] - count) <= 1 for kind, count in expected.items())
    assert examples.is_meme.sum() == found[MEME]
    for kind in found:
        numbers = examples.numbers[examples.kinds == kind]
        assert len(set(numbers.tolist())) == len(numbers)


def test_only_parts_that_exist_are_taken(pools: Pools) -> None:
    examples = synthesise(Scenario(0), pools, "train", 0)
    assert pools.parted[examples.numbers[examples.kinds == PART]].all()
    assert (examples.kinds == PART).sum() == (examples.kinds == MEME).sum() > 40


def test_no_picture_is_learnt_from_and_tested_with_in_any_pair_of_scenarios(pools: Pools) -> None:
    """A meme and its part count as one picture."""

    def of(part: str) -> set[tuple[int, int]]:
        seen = set()
        for scenario in (Scenario(0), Scenario(0.5, 0.5), Scenario(1, 1), Scenario(1, 0)):
            examples = synthesise(scenario, pools, part, 7)
            origins = np.where(examples.kinds == PART, MEME, examples.kinds)
            seen |= set(zip(origins.tolist(), examples.numbers.tolist(), strict=True))
        return seen

    train, val, test = of("train"), of("val"), of("test")
    assert train
    assert val
    assert test
    assert train.isdisjoint(test | val)
    assert val.isdisjoint(test)


def test_a_split_is_85_5_10_the_same_for_a_seed_and_whole() -> None:
    parts = split(200, 1)
    assert {name: len(numbers) for name, numbers in parts.items()} == {"train": 170, "val": 10, "test": 20}
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(200))
    assert all(np.array_equal(one, split(200, 1)[name]) for name, one in parts.items())
    assert not np.array_equal(parts["test"], split(200, 2)["test"])


def test_each_kind_is_split_by_itself(pools: Pools) -> None:
    there = available(pools, "test", 0)
    assert not np.array_equal(there[WITH_TEXT], there[WITHOUT_TEXT])
    assert set(there[PART].tolist()) <= set(there[MEME].tolist())


def test_too_few_pictures_and_no_shares_are_said(pools: Pools) -> None:
    none = Pools((*pools.pixels[:3], pools.pixels[3][:0]), pools.parted, pools.text)
    assert len(synthesise(Scenario(1, 1), none, "train", 0)) == 68
    with pytest.raises(Problem, match="too few pictures"):
        synthesise(Scenario(1, 0), none, "train", 0)
    with pytest.raises(Problem, match="no shares"):
        Scenario(1.2, 0)
