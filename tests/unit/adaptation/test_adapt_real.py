"""Every real video and sound, and every broken file: the right streams, or a clear refusal. Never anything stuck."""

from __future__ import annotations

import asyncio
from pathlib import Path

import av
import numpy as np
import pytest

from serve_app.adaptation.adapt import Adapted, adapt
from serve_app.adaptation.ladder import Ladder
from serve_app.errors import Problem
from tests.conftest import shared_place

LOW = Ladder.model_validate({
    "rungs": {
        "low": {"container": "mp4", "height": 240, "fps": 30, "video": "avc1.4d400d", "mbit": 0.5},
        "aac": {"container": "mp4", "audio": "mp4a.40.2", "mbit": 0.1},
    },
    "presets": {"low": {"rungs": ["low", "aac"]}},
    "encoders": {
        "h264": {"encoder": "libx264", "crf": 23, "options": {"preset": "ultrafast"}},
        "aac": {"encoder": "aac"},
    },
})  # fmt: skip

UPRIGHT = {
    "bracelet_10bit_rot.mp4": (1080, 1920), "handwriting_rot90_1.mp4": (288, 352),
    "phone_portrait_4k60.mp4": (2160, 3840),
    "rotated_90.mov": (320, 568), "rotated_0.mov": (568, 320), "talking_head_sideways.mp4": (720, 1080),
    "flower.mp4": (960, 540), "psd_testvideo_scenes.mp4": (1280, 720), "city_10bit_pq.mp4": (1920, 1080),
}  # fmt: skip
"""The files' own upright sizes, as their manifest has them."""
SECONDS = {
    "flower.mp4": 5.06, "av1_testpattern.mkv": 5.0, "psd_fades.mp4": 10.0, "psd_testvideo_scenes.mp4": 24.0,
    "city_pan_60fps.mp4": 15.5, "psd_counter.mp4": 3.0, "var_fps.mp4": 14.93, "nasa_multistream.mp4": 13.0,
}  # fmt: skip
SOUND_SECONDS = {"bear.flac": 2.7, "bear.opus": 2.7, "bear_id3.mp3": 2.7, "sample.wav": 1.0, "nasa_44100.mp3": 13.0}
READABLE = ("corrupted.mp4", "derived_bear_50pct.flac", "derived_flower_60pct.mp4", "empty_track.mp4",
            "mdat_too_long.mp4", "unordered.mov")  # fmt: skip
"""Broken files of which something can be decoded."""
SILENT = ("av1_testpattern.mkv", "bear_vp9.webm", "psd_counter.mp4", "slowmo_vfr.mp4", "var_fps.mp4", "rotated_0.mov")


def files(folder: str) -> list[Path]:
    place = shared_place() / "media" / folder
    return sorted(path for path in place.glob("*") if path.is_file()) if place.is_dir() else []


def make(file: Path, to: Path) -> Adapted:
    return asyncio.run(adapt(file, to, "low", LOW))


@pytest.mark.parametrize("file", [path for path in files("video") if path.suffix != ".txt"], ids=lambda path: path.name)
def test_a_real_video(file: Path, tmp_path: Path) -> None:
    to = tmp_path / "out"
    made = make(file, to)
    (stream,) = made.outputs.videos
    source = made.plan.source.video
    assert source is not None
    if file.name in UPRIGHT:
        assert (source.width, source.height) == UPRIGHT[file.name]
    assert min(stream.out.width, stream.out.height) == min(240, 2 * (min(source.width, source.height) // 2))
    assert stream.out.width / stream.out.height == pytest.approx(source.width / source.height, rel=0.02)
    if file.name in SILENT:
        assert made.outputs.audios == ()
    with av.open(str(to / stream.file.path.name)) as video:
        frames = sum(1 for _ in video.decode(video=0))
    assert frames == round(float(stream.file.duration_s) * made.outputs.fps)
    if file.name in SECONDS:
        assert float(stream.file.duration_s) == pytest.approx(SECONDS[file.name], abs=0.15)


@pytest.mark.parametrize(
    "file", [*files("audio"), *(shared_place() / "media" / "video360").glob("*.m4a")], ids=lambda p: p.name
)
def test_a_real_sound(file: Path, tmp_path: Path) -> None:
    made = make(file, tmp_path / "out")
    assert made.outputs.videos == ()
    (stream,) = made.outputs.audios
    assert stream.file.codecs == "mp4a.40.2"
    if file.name in SOUND_SECONDS:
        assert float(stream.file.duration_s) == pytest.approx(SOUND_SECONDS[file.name], abs=0.15)


@pytest.mark.parametrize("file", [*files("broken"), *files("text")], ids=lambda path: path.name)
def test_a_broken_file_gives_what_can_be_read_or_a_clear_refusal(file: Path, tmp_path: Path) -> None:
    if file.name not in READABLE:
        with pytest.raises(Problem) as told:
            make(file, tmp_path / "out")
        assert told.value.code in ("unsupported_media", "undecodable_media", "too_large")
        assert list(tmp_path.iterdir()) == []
        return
    made = make(file, tmp_path / "out")
    for each in made.outputs.videos:
        with av.open(str(tmp_path / "out" / each.file.path.name)) as video:
            assert sum(1 for _ in video.decode(video=0)) > 0


def test_high_dynamic_range_is_mapped_and_not_washed_out(shared: Path, tmp_path: Path) -> None:
    """Of a film in PQ: mid-greys stand where those of other films do, and no colour is lost."""
    to = tmp_path / "out"
    made = make(shared / "media" / "video" / "city_10bit_pq.mp4", to)
    assert made.plan.source.video is not None
    assert made.plan.source.video.hdr == "pq"
    with av.open(str(to / "h264-240.mp4")) as video:
        frame = next(video.decode(video=0))
        assert (frame.color_trc, frame.color_primaries, frame.colorspace) == (1, 1, 1)  # BT.709, ITU-T H.273
        pixels = frame.to_ndarray(format="rgb24").astype(int)
    luma = pixels @ [0.2126, 0.7152, 0.0722]
    assert np.percentile(luma, 95) - np.percentile(luma, 5) > 100
