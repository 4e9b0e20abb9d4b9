"""Training: the loss falls, an interrupted run goes on exactly, and what is exported computes the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit

from serve_app.models.embedded import clip, detector
from serve_app.models.embedded.corpus import Corpus, corpus, make
from serve_app.models.embedded.export import as_stored, export
from serve_app.models.embedded.fit import Progress, fit
from serve_app.models.embedded.motion_job import CONFIG, MotionJob
from serve_app.models.embedded.recipes import LARGE, MOTION_MIX, RECIPES, ClipJob, Job, Recipe, ShapesJob
from serve_app.models.embedded.scenes import CLIP_MIX, DETECTOR_MIX
from serve_app.models.embedded.train import train
from serve_app.models.sessions import open_session

TINY_CLIP = clip.ClipConfig(
    dim=32,
    image_size=64,
    context_length=24,
    vision={"layers": (1, 1, 1, 1), "width": 8, "head_width": 32},
    text={"width": 32, "heads": 2, "layers": 1},
)
TINY_SHAPES = detector.DetectorConfig(image_size=64, widths=(8, 16, 16, 32), depths=(0, 1, 1), neck=16)
TINY_MOTION = replace(CONFIG, stem=8, widths=(4, 4, 8, 8))
STEPS = 12


def _recipe(name: str) -> Recipe:
    job = {
        "clip-embedded": lambda scenes, seed: ClipJob(scenes, seed, TINY_CLIP, clip.Twins(8)),
        "shapes-embedded": lambda scenes, seed: ShapesJob(scenes, seed, TINY_SHAPES, calibration=12),
        "motion-embedded": lambda scenes, seed: MotionJob(scenes, seed, TINY_MOTION, calibration=36),
    }[name]
    small = {
        "side": 64,
        "scenes": 24,
        "steps": STEPS,
        "batch": 16,
        "rate": 1e-2,
        "save_every": 5,
        "warm_up": 3,
        "finish": None,
    }
    if name == "motion-embedded":
        small |= {"side": 192, "batch": 4}
    return replace(RECIPES[name], job=job, threads=1, **small)


@pytest.fixture(scope="module")
def scenery() -> dict[str, Corpus]:
    return {
        "clip-embedded": make(0, 0, 24, 64, CLIP_MIX),
        "shapes-embedded": make(0, 0, 24, 64, DETECTOR_MIX),
        "motion-embedded": make(0, 0, 24, 192, MOTION_MIX),
    }


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_an_interrupted_run_goes_on_exactly(name: str, scenery: dict[str, Corpus], tmp_path: Path) -> None:
    recipe = _recipe(name)

    def fresh() -> Job:
        return recipe.job(scenery[name], 0)

    whole = fresh()
    fit(whole, recipe, 0, tmp_path / "whole.pt", None, None)

    def interrupt(progress: Progress) -> None:
        if progress.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(fresh(), recipe, 0, tmp_path / "part.pt", None, interrupt)
    seen: list[int] = []
    resumed = fresh()
    fit(resumed, recipe, 0, tmp_path / "part.pt", None, lambda progress: seen.append(progress.step))
    assert seen == list(range(6, STEPS + 1)), "it goes on from the last checkpoint, at step 5"
    for name_, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name_]), name_


# The recipes' own networks and scenes, only fewer of these and shorter.
FINISH, SHAPES_FINISH, MOTION_FINISH = (
    RECIPES[name].finish for name in ("clip-embedded", "shapes-embedded", "motion-embedded")
)
assert FINISH is not None
assert SHAPES_FINISH is not None
assert MOTION_FINISH is not None
SHORT = {
    "clip-embedded": {
        "scenes": 40,
        "steps": 12,
        "batch": 16,
        "rate": 2e-3,
        "warm_up": 2,
        "finish": replace(FINISH, steps=2),
    },
    "shapes-embedded": {
        "job": lambda scenes, seed: ShapesJob(scenes, seed, detector.DetectorConfig(), calibration=12),
        "scenes": 24,
        "steps": 40,
        "batch": 8,
        "rate": 5e-3,
        "warm_up": 3,
        "finish": replace(SHAPES_FINISH, steps=2, scenes=12),
    },
    "motion-embedded": {
        "job": lambda scenes, seed: MotionJob(scenes, seed, calibration=36),
        "scenes": 24,
        "steps": 4,
        "batch": 8,
        "finish": replace(MOTION_FINISH, steps=2),
    },
}
# Of its first loss, what a short run may still have at most. Clips are new in every step, and hundreds of steps pass
# before that shows: that the network learns is tested beside its job.
LEFT = {"clip-embedded": 0.95, "shapes-embedded": 0.95, "motion-embedded": 1.1}


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_two_trainings_from_scratch_make_the_same_bytes_and_learn(name: str, tmp_path: Path) -> None:
    recipe = replace(RECIPES[name], threads=1, **SHORT[name])
    made: list[dict[str, bytes]] = []
    for run in ("one", "two"):
        out, losses = tmp_path / run, []

        def listen(progress: Progress, losses: list[float] = losses) -> None:
            if progress.phase == "training" and progress.loss is not None:
                losses.append(progress.loss)

        report = train(
            name, out, lambda name, folder: {"mAP50": 0.5}, work=out / "work", recipe=recipe, progress=listen
        )
        assert losses[recipe.steps - 1] < LEFT[name] * losses[0]  # before the finish, which may see other scenes
        assert report.figures == {"mAP50": 0.5}
        made.append({file: (out / file).read_bytes() for file in report.files})
        assert "| mAP50 | 0.500 |" in (out / f"{name}.md").read_text(encoding="utf-8")
    assert made[0] == made[1]


@pytest.mark.parametrize("name", sorted(LARGE))
def test_a_larger_recipe_trains_by_the_same_code(name: str, tmp_path: Path) -> None:
    small = {"scenes": 6, "steps": 1, "batch": 4, "threads": 1}
    weights = []
    for recipe in (replace(RECIPES[name], **small), replace(LARGE[name], **small)):
        job = recipe.job(make(0, 0, 6, recipe.side, recipe.mix), 0)
        assert fit(job, recipe, 0, tmp_path / f"{len(weights)}.pt", None, None).step == 1
        weights.append(sum(weight.numel() for weight in job.model.parameters()))
    assert weights[1] > 4 * weights[0]


def test_the_finish_goes_on_from_the_first_run(scenery: dict[str, Corpus], tmp_path: Path) -> None:
    steps: list[int] = []

    def listen(progress: Progress) -> None:
        if progress.phase == "training":
            steps.append(progress.step)
            if len(steps) == 9:
                raise KeyboardInterrupt

    first = _recipe("clip-embedded")
    recipe = replace(first, steps=6, save_every=2, finish=replace(FINISH, steps=4))
    made = []
    for interrupted in (False, True):
        work, out = tmp_path / f"work{interrupted}", tmp_path / f"out{interrupted}"
        kept = {"work": work, "recipe": recipe}
        if interrupted:
            with pytest.raises(KeyboardInterrupt):
                train("clip-embedded", out, lambda name, folder: {}, progress=listen, **kept)
            assert steps == [1, 2, 3, 4, 5, 6, 1, 2, 3]
        report = train("clip-embedded", out, lambda name, folder: {}, **kept)
        assert report.steps == 10
        made.append((out / "clip_image.onnx").read_bytes())
    assert made[0] == made[1]


def test_a_checkpoint_of_another_recipe_is_not_used(scenery: dict[str, Corpus], tmp_path: Path) -> None:
    recipe = replace(_recipe("shapes-embedded"), steps=2)
    fit(recipe.job(scenery["shapes-embedded"], 0), recipe, 0, tmp_path / "run.pt", None, None)
    seen: list[int] = []
    other = replace(recipe, batch=8)
    job = other.job(scenery["shapes-embedded"], 0)
    fit(job, other, 0, tmp_path / "run.pt", None, lambda progress: seen.append(progress.step))
    assert seen == [1, 2]


def test_scenes_kept_on_disk_are_those_made_in_memory(tmp_path: Path) -> None:
    made = make(3, 0, 5, 48, DETECTOR_MIX)
    reported: list[tuple[int, int]] = []
    for _ in range(2):  # built, then read
        kept = corpus(tmp_path, 3, 5, 48, DETECTOR_MIX, progress=lambda done, every: reported.append((done, every)))
        assert np.array_equal(kept.pixels, made.pixels)
        assert np.array_equal(kept.boxes, made.boxes)
        assert kept.captions.tolist() == made.captions.tolist()


def test_exported_weights_are_halves_and_compute_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3, bias=False), torch.nn.ReLU(), torch.nn.Conv2d(64, 64, 1))
    model = as_stored(model)
    path = tmp_path / "tiny.onnx"
    assert export(model, torch.rand(2, 3, 8, 8), path, "images", "predictions") < 1e-3
    single = sum(weight.numel() * 4 for weight in model.parameters())
    assert path.stat().st_size < 0.6 * single
    three = torch.rand(3, 3, 8, 8)
    found = open_session(path, 1).run(None, {"images": three.numpy()})[0]
    with torch.no_grad():
        assert np.abs(found - model(three).numpy()).max() < 1e-5


def test_folding_a_normalisation_changes_nothing_but_the_last_digits() -> None:
    torch.manual_seed(0)
    convolution, norm = torch.nn.Conv2d(3, 32, 3), torch.nn.BatchNorm2d(32)
    for values, low, high in ((norm.running_mean, -1, 1), (norm.running_var, 0.5, 2), (norm.weight, 0.5, 2)):
        torch.nn.init.uniform_(values, low, high)  # type: ignore[arg-type]
    model = torch.nn.Sequential(convolution, norm, torch.nn.ReLU()).eval()
    folded, x = as_stored(model), torch.rand(2, 3, 9, 9)
    with torch.no_grad():
        assert 0 < (folded(x) - model(x)).abs().max() < 5e-3
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules())
    assert isinstance(model[1], torch.nn.BatchNorm2d), "the model that is trained stays as it is"


def test_an_unknown_recipe_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="clip-embedded, motion-embedded, shapes-embedded"):
        train("clip-huge", tmp_path, lambda name, folder: {})


def test_the_detector_says_its_threshold_and_its_calibration(scenery: dict[str, Corpus], tmp_path: Path) -> None:
    job = _recipe("shapes-embedded").job(scenery["shapes-embedded"], 0)
    [path] = job.export(tmp_path)
    session = open_session(path, 1)
    notes = {name: float(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert notes.keys() == {"threshold", "nms_iou", "slope", "intercept"}
    assert 0 <= notes["threshold"] <= 1
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        logits = as_stored(job.model).raw(x)[0].transpose(1, 2)
    found = session.run(None, {"images": x.numpy()})[0]
    assert found[:, 4:] == pytest.approx(expit(notes["slope"] * logits.numpy() + notes["intercept"]), abs=1e-4)
