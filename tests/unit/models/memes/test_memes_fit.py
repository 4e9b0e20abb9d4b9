"""The training: it learns, goes on exactly where it stopped, and keeps its own pictures' statistics."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml

from serve_app.models.memes.export import export_memes
from serve_app.models.memes.fit import Progress, Recipe, Trained, fit, normalised, probabilities, statistics, varied
from serve_app.models.memes.pools import MEME, PART, WITH_TEXT, Pools
from serve_app.models.memes.scenarios import Examples, Scenario, synthesise
from serve_app.models.memes.train import Report, held_out
from serve_app.models.memetector import ATTENTION, INPUT, SCORE, MemeTectorConfig

SMALL = MemeTectorConfig(
    side=20, patch=5, dim=16, depth=2, heads=2, key_dim=8, mlp=32, attended=(0, 1), dense=(16, 8), dropout=0.0
)
RECIPE = Recipe(epochs=12, batch=16, rate=5e-3, config=SMALL, threads=1, save_every=5)


def test_it_learns_what_makes_these_memes_and_tells_it_held_out(pools: Pools, tmp_path: Path) -> None:
    seen: list[Progress] = []
    trained = fit(pools, Scenario(0.5, 0.5), RECIPE, 0, tmp_path / "run.pt", seen.append)
    assert seen[-1].step == seen[-1].steps == trained.steps
    assert [one.step for one in seen if one.accuracy is not None] == list(range(7, 85, 7))
    accuracies = held_out(trained, pools, 0, [Scenario(0), Scenario(1, 1), Scenario(0.5, 0.5)])
    assert list(accuracies) == ["0.00,0.00", "1.00,1.00", "0.50,0.50"]
    assert min(accuracies.values()) >= 0.9


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(pools: Pools, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=2)
    whole = fit(pools, Scenario(0.5, 0.5), recipe, 3, tmp_path / "whole.pt")

    class Interrupted(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.step == 7:
            raise Interrupted

    with pytest.raises(Interrupted):
        fit(pools, Scenario(0.5, 0.5), recipe, 3, tmp_path / "run.pt", stop)
    steps: list[int] = []
    resumed = fit(pools, Scenario(0.5, 0.5), recipe, 3, tmp_path / "run.pt", lambda one: steps.append(one.step))
    assert steps[0] == 8
    weights = zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, two) for (_, one), two in weights)


def test_a_checkpoint_of_another_training_is_not_taken_up(pools: Pools, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=1)
    fit(pools, Scenario(0.5, 0.5), recipe, 3, tmp_path / "run.pt")
    steps: list[int] = []
    fit(pools, Scenario(1, 1), recipe, 3, tmp_path / "run.pt", lambda one: steps.append(one.step))
    assert steps[0] == 1


def test_minutes_end_a_run(pools: Pools, tmp_path: Path) -> None:
    trained = fit(pools, Scenario(0.5, 0.5), dataclasses.replace(RECIPE, minutes=1e-6), 0, tmp_path / "run.pt")
    assert trained.steps == 1


def test_statistics_are_those_of_the_training_pictures(pools: Pools) -> None:
    examples = synthesise(Scenario(0.5, 0.5), pools, "train", 0)
    mean, std = statistics(pools, examples)
    pixels = pools.pick(examples.kinds, examples.numbers).reshape(-1, 3).astype(float)
    np.testing.assert_allclose(mean, pixels.mean(axis=0))
    np.testing.assert_allclose(std, pixels.std(axis=0))
    x = normalised(pools.pick(examples.kinds, examples.numbers), mean, std)
    assert abs(float(x.mean())) < 1e-4
    assert abs(float(x.std()) - 1) < 1e-3


def test_batches_mix_the_classes(pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorted by class, a batch of 16 of these 102 would be pure."""
    picked: list[set[int]] = []
    original = Pools.pick

    def pick(self: Pools, kinds: np.ndarray, numbers: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        picked.append(set(kinds.tolist()))
        return original(self, kinds, numbers)

    monkeypatch.setattr(Pools, "pick", pick)
    fit(pools, Scenario(0.5, 0.5), dataclasses.replace(RECIPE, minutes=1e-6), 0, tmp_path / "run.pt")
    assert {MEME, PART, WITH_TEXT} <= picked[-1]


def test_words_move_with_a_mirrored_picture() -> None:
    pixels = np.zeros((40, 20, 20, 3), np.uint8)
    words = np.zeros((40, 4, 4), np.float32)
    pixels[:, :5, :5], words[:, 0, 0] = 200, 1
    changed, moved = varied(np.random.default_rng(0), pixels, words)
    brightest = changed.reshape(40, 4, 5, 4, 5, 3).mean(axis=(2, 4, 5)).reshape(40, -1).argmax(axis=1)
    assert np.array_equal(brightest, moved.reshape(40, -1).argmax(axis=1))
    assert set(brightest.tolist()) == {0, 3}
    assert pixels[:, :5, :5].min() == 200
    assert words[:, 0, 0].min() == 1


def test_the_export_agrees_with_torch_and_says_its_statistics(pools: Pools, tmp_path: Path) -> None:
    trained = fit(pools, Scenario(1, 1), dataclasses.replace(RECIPE, epochs=2), 0, tmp_path / "run.pt")
    path = tmp_path / "memes.onnx"
    assert export_memes(trained, path) < 1e-3
    said = "net:\n    files:\n      weights:\n" + Report(path, 7, "ab" * 32, trained, {}).row()
    row = yaml.safe_load(said)["net"]
    assert row["files"]["weights"] == {"sha256": "ab" * 32, "bytes": 7}
    assert row["meme"]["side"] == 20
    np.testing.assert_allclose(row["meme"]["mean"], trained.mean, atol=1e-3)
    session = onnxruntime.InferenceSession(str(path))
    pixels = pools.pixels[MEME][:5]
    scores, attention = session.run([SCORE, ATTENTION], {INPUT: normalised(pixels, trained.mean, trained.std).numpy()})
    np.testing.assert_allclose(scores, probabilities(trained, pixels), atol=2e-3)
    assert attention.shape == (5, 2, 4, 4)
    said = session.get_modelmeta().custom_metadata_map
    np.testing.assert_allclose([float(one) for one in said["mean"].split(",")], trained.mean, atol=1e-3)
    np.testing.assert_allclose([float(one) for one in said["std"].split(",")], trained.std, atol=1e-3)


def test_scenarios_without_pictures_are_left_out_of_the_held_out_figures(pools: Pools, tmp_path: Path) -> None:
    none = Pools((*pools.pixels[:3], pools.pixels[3][:0]), pools.parted, pools.text)
    trained = fit(none, Scenario(1, 1), dataclasses.replace(RECIPE, epochs=1), 0, tmp_path / "run.pt")
    found = held_out(trained, none, 0)
    assert set(found) == {"0.00,0.00", "0.33,1.00", "0.67,1.00", "1.00,1.00"}


def test_figures_agree_with_counting(pools: Pools, tmp_path: Path) -> None:
    trained: Trained = fit(pools, Scenario(1, 1), dataclasses.replace(RECIPE, epochs=1), 0, tmp_path / "run.pt")
    examples: Examples = synthesise(Scenario(1, 1), pools, "test", 0)
    sure = probabilities(trained, pools.pick(examples.kinds, examples.numbers))
    counted = float(((sure >= 0.5) == examples.is_meme).mean())
    assert held_out(trained, pools, 0, [Scenario(1, 1)]) == {"1.00,1.00": counted}
