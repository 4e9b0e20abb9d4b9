"""Real videos; the truth is the manifest's, and the per-frame list that came with the multi-stream file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serve_app.errors import Problem
from serve_app.media.frames import Painter
from serve_app.media.video import Video

FRAMES = {
    "av1_testpattern.mkv": (640, 360, 125),
    "bracelet_10bit_rot.mp4": (1080, 1920, 9),
    "city_pan_60fps.mp4": (320, 240, 932),
    "h264_10bits.mp4": (200, 200, 30),
    "handwriting_rot90_1.mp4": (288, 352, 23),
    "nasa_multistream.mp4": (320, 180, 325),
    "phone_portrait_4k60.mp4": (2160, 3840, 18),
    "psd_counter.mp4": (1920, 1080, 30),
    "psd_fades.mp4": (480, 320, 250),
    "slowmo_vfr.mp4": (1280, 720, 7),
    "talking_head.flv": (1080, 720, 30),
    "talking_head_fragmented.mp4": (1080, 720, 30),
    "talking_head_sideways.mp4": (720, 1080, 30),
    "var_fps.mp4": (128, 128, 300),
}
"""Upright size and number of frames: the manifest's, or counted by ffmpeg 9.0 (-f framehash) beside the project."""

QUARTERS = {
    "handwriting_rot90_1.mp4": [[151, 142, 145], [170, 165, 171], [157, 155, 165], [163, 162, 166]],
    "rotated_90.mov": [[115, 106, 96], [117, 107, 98], [83, 74, 66], [98, 87, 79]],
    "phone_portrait_4k60.mp4": [[174, 168, 165], [165, 160, 158], [174, 168, 163], [172, 166, 163]],
}
"""Mean RGB of the four quarters of the first frame, row by row, as ffmpeg 9.0 turns it (-frames:v 1)."""

BROKEN = {
    "corrupted.mp4": (28, 50),
    "derived_flower_60pct.mp4": (80, 95),
    "empty_track.mp4": (30, 30),
    "mdat_too_long.mp4": (30, 30),
    "unordered.mov": (4, 4),
    "encrypted_altref.webm": None,
    "invalid-bitstream.webm": None,
}
"""How many frames at least and at most can be had."""


@pytest.mark.parametrize("name", FRAMES)
def test_size_and_number_of_frames(shared: Path, name: str) -> None:
    video = Video(str(shared / "media" / "video" / name))
    frames = list(video)
    assert (video.info.width, video.info.height, len(frames)) == FRAMES[name]
    assert (video.errors, video.complete) == (0, True)
    times = [frame.time_s for frame in frames]
    assert times == sorted(set(times))


def test_times_of_the_first_of_two_streams(shared: Path) -> None:
    truth = json.loads((shared / "media" / "text" / "nasa_stream0_frames.json").read_text())
    frames = list(Video(str(shared / "media" / "video" / "nasa_multistream.mp4")))
    assert [frame.time_s for frame in frames] == pytest.approx([float(frame["pts_time"]) for frame in truth], abs=1e-6)
    durations = [float(frame["duration_time"]) for frame in truth]
    assert [frame.duration_s for frame in frames] == pytest.approx(durations, abs=1e-6)


@pytest.mark.parametrize("name", QUARTERS)
def test_turned_clips_stand_upright_as_ffmpeg_turns_them(shared: Path, name: str) -> None:
    frame = next(iter(Video(str(shared / "media" / "video" / name))))
    picture = np.asarray(Image.open(io.BytesIO(Painter().picture(frame, 400)[0])))
    assert np.abs(quarters(picture) - QUARTERS[name]).max() < 3
    luma = np.array(QUARTERS[name]) @ [0.299, 0.587, 0.114]  # ITU-R BT.601
    assert np.abs(quarters(Painter().thumbnail(frame, 50)) - luma).max() < 3


def quarters(pixels: np.ndarray) -> np.ndarray:
    height, width = (side // 2 for side in pixels.shape[:2])
    parts = [pixels[height * y : height * (y + 1), width * x : width * (x + 1)] for y in (0, 1) for x in (0, 1)]
    return np.array([part.astype(float).mean((0, 1)) for part in parts])


@pytest.mark.parametrize("name", BROKEN)
def test_broken_videos_give_what_they_have(shared: Path, name: str) -> None:
    expected = BROKEN[name]
    path = str(shared / "media" / "broken" / name)
    if expected is None:
        with pytest.raises(Problem, match=r"damaged or encrypted") as caught:
            Video(path)
        assert caught.value.code == "undecodable_media"
        return
    video = Video(path)
    count = len(list(video))
    assert expected[0] <= count <= expected[1]
    assert video.complete == (name in ("empty_track.mp4", "mdat_too_long.mp4", "unordered.mov"))
