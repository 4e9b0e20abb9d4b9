"""The shipped action model: what its row says, clips that no training drew, real photographs and real videos."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from serve_app.annotation.watch import Clip, Plan
from serve_app.annotation.watch_process import watch
from serve_app.evaluation.motion import Reader, answers, clip_figures
from serve_app.evaluation.photographs import read_photographs
from serve_app.models.embedded.motion import CAMERA_LABELS, LABELS
from serve_app.models.embedded.motion_job import MEAN, STD
from serve_app.models.embedded.motion_render import CROP
from serve_app.models.embedded.motion_world import world_over
from serve_app.models.manifest import load_manifest

PATH = Path(__file__).parents[4] / "serve_app/models/embedded/weights/motion.onnx"
ROW = load_manifest().models["motion-embedded"]

# Figures of the shipped weights less what another training of the same recipe may lose, and what a sample may miss.
LEAST = {"top-1": 0.9, "right of the named": 0.94, "named at the threshold": 0.75}
MOST = {"expected calibration error": 0.1, "clips of two motions named as neither": 0.1}
OVER_REAL = 0.8

# What a person sees in real files: seconds of the file, and the motion that goes on there.
SEEN = {
    "talking_head.mp4": {0.5: "static"},
    "flower.mp4": {2.5: "object growing", 4.5: "object growing"},
    "city_pan_60fps.mp4": {3.0: "tilt down", 9.0: "pan left"},
}


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(ROW, {"weights": PATH}, threads=1)


def test_the_row_says_what_the_file_says(reader: Reader) -> None:
    row = ROW.video
    assert row is not None
    assert row.threshold == reader.stored.threshold
    assert tuple(row.labels) == LABELS  # type: ignore[arg-type]
    assert (row.mean, row.std, row.crop) == ((MEAN,) * 3, (STD,) * 3, CROP)


def test_the_file_is_small() -> None:
    assert PATH.stat().st_size < 1_500_000


def test_clips_held_out_are_named(reader: Reader) -> None:
    found = clip_figures(reader, 180)
    assert {name: found[name] for name, least in LEAST.items() if not found[name] >= least} == {}
    assert {name: found[name] for name, most in MOST.items() if not found[name] <= most} == {}


def test_an_answer_does_not_depend_on_the_batch(reader: Reader) -> None:
    clips = np.random.default_rng(0).integers(0, 255, (5, 16, CROP, CROP, 3)).astype(np.uint8)
    together = reader.read(clips)
    assert together.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert np.concatenate([reader.read(clip[None]) for clip in clips]) == pytest.approx(together, abs=1e-4)


def test_a_camera_that_moves_over_real_photographs_is_named(reader: Reader, shared: Path, tmp_path: Path) -> None:
    for path in sorted((shared / "media" / "images").glob("coco_*.jpg")):
        (tmp_path / path.name).symlink_to(path)
    photographs = list(read_photographs(tmp_path).pictures.values())
    found = answers(reader, world_over(photographs, 60), 100, CAMERA_LABELS)
    assert found.right.mean() >= OVER_REAL


async def _clips(path: Path, reader: Reader) -> list[Clip]:
    plan = Plan(stills=False, seconds=False, clips=reader.recognizer.clips)
    return [event async for event in watch(str(path), plan) if isinstance(event, Clip)]


@pytest.mark.parametrize("name", SEEN)
def test_real_videos_show_what_a_person_sees(name: str, reader: Reader, shared: Path) -> None:
    clips = asyncio.run(_clips(shared / "media" / "video" / name, reader))
    for moment, label in SEEN[name].items():
        [clip] = [clip for clip in clips if clip.start_s <= moment < clip.end_s]
        [row] = reader.read(clip.pixels[None])
        assert [one.label for one in reader.recognizer.finish(row)] == [label]
