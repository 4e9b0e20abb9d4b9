"""The training of the action model: how it begins, that it learns, and what its file says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from serve_app.models.embedded.corpus import make
from serve_app.models.embedded.export import as_stored
from serve_app.models.embedded.motion import LABELS, shoot
from serve_app.models.embedded.motion_job import MotionJob, fading, normalised, predicted, turned_about
from serve_app.models.embedded.motion_paths import FRAMES
from serve_app.models.embedded.motion_render import CROP, render, targets
from serve_app.models.embedded.motion_world import SIDE
from serve_app.models.embedded.recipes import MOTION_MIX
from serve_app.models.sessions import open_session


@pytest.fixture(scope="module")
def job() -> MotionJob:
    return MotionJob(make(0, 0, 12, SIDE, MOTION_MIX), 0, calibration=36)


def test_clips_are_brought_to_the_network_as_the_row_says() -> None:
    clips = np.zeros((1, 2, 3, 4, 3), np.uint8)
    clips[0, 1, 2, 3] = [0, 127, 255]
    x = normalised(clips)
    assert x.shape == (1, 3, 2, 3, 4)
    assert x[0, :, 1, 2, 3].tolist() == pytest.approx([-2, (127 / 255 - 0.5) / 0.25, 2])


def test_a_clip_turned_about_has_the_label_of_what_it_then_shows(job: MotionJob) -> None:
    rng = np.random.default_rng(0)
    labels = ["pan left", "zoom in", "object bouncing", "object growing", "roll"] * 4
    shots = [shoot(rng, label) for label in labels]
    clips, target = render(rng, shots, job.world), targets(shots)
    turned, told = turned_about(rng, clips, target)
    for clip, other, label, row in zip(clips, turned, labels, told, strict=True):
        transposed = not np.array_equal(other, clip[::-1])
        if transposed:
            assert np.array_equal(other, clip[::-1].swapaxes(1, 2))
        becomes = {
            "pan left": "tilt down" if transposed else "pan right",
            "zoom in": "zoom out",
            "object growing": "object shrinking",
        }
        assert not (transposed and label == "object bouncing")
        assert LABELS[row.argmax()] == becomes.get(label, label)


def test_what_fades_is_still_static_and_what_dissolves_is_nothing(job: MotionJob) -> None:
    clips, target = fading(np.random.default_rng(2), 24, job.world)
    single = target.max(axis=1) == 1
    assert 0 < single.sum() < 24
    assert (target[single].argmax(axis=1) == LABELS.index("static")).all()
    assert target[~single] == pytest.approx(1 / len(LABELS))
    for clip in clips[single]:
        ends = np.stack([clip[0], clip[-1]]).astype(float)
        plain = ends.std(axis=(1, 2, 3)) < 1
        assert plain.sum() >= 1
        assert ends[plain].mean() in (0, 255)


def test_the_fast_stem_begins_as_detectors_of_direction() -> None:
    """A grating that drifts one pixel a frame excites the filters of its direction, and hardly those against it."""
    stem = MotionJob(make(0, 0, 2, SIDE, MOTION_MIX), 3).model.get_parameter(
        "blocks.0.multipathway_blocks.1.conv.weight"
    )
    x, t = torch.arange(CROP)[None, None, :], torch.arange(FRAMES)[:, None, None]
    wave = torch.cos(2 * torch.pi / 5 * (x - t)).expand(FRAMES, CROP, CROP)
    clip = wave.expand(1, 3, FRAMES, CROP, CROP).float()
    with torch.no_grad():
        energy = torch.nn.functional.conv3d(clip, stem)[0].square().mean(dim=(1, 2, 3))
    right, left = energy[[0, 8]].sum(), energy[[4, 12]].sum()
    assert right > 10 * left


def test_it_learns_a_few_clips_by_heart() -> None:
    fresh = MotionJob(make(1, 0, 12, SIDE, MOTION_MIX), 0)
    optimiser = torch.optim.AdamW(fresh.model.parameters(), lr=5e-3)
    losses = []
    for _ in range(16):
        loss = fresh.loss(0, 0, 8)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


def test_the_file_says_its_threshold_and_computes_what_was_trained(job: MotionJob, tmp_path: Path) -> None:
    [path] = job.export(tmp_path)
    assert path.stat().st_size < 1_500_000
    session = open_session(path, 1)
    notes = {name: float(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert notes.keys() == {"threshold", "temperature"}
    assert 0 <= notes["threshold"] <= 1
    rng = np.random.default_rng(1)
    clips = render(rng, [shoot(rng, label) for label in LABELS[:3]], job.world)
    [found] = session.run(["probabilities"], {"clip": np.ascontiguousarray(normalised(clips).numpy())})
    expected = (predicted(as_stored(job.model), clips) / notes["temperature"]).softmax(dim=1)
    assert found == pytest.approx(expected.numpy(), abs=2e-3)
    assert found.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)
