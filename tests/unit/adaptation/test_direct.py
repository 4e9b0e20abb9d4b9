"""What is made of a video at once, looked at by other decoders."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from serve_app.adaptation import direct
from serve_app.adaptation.direct import DirectLimits, Made
from serve_app.errors import Problem
from serve_app.media.tracks import VideoTrack
from serve_app.media.video import Limits
from tests.made_videos import corners, noise, write_sound, write_video


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds: each second another grey, a thirteenth lighter than the one before, with some noise to see."""
    pattern = noise(1, (640, 360))[0].astype(int) // 8
    pictures = [(pattern + 20 * (number // 25)).clip(0, 255).astype(np.uint8) for number in range(250)]
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", pictures, rate=25, g="25")


def picture(made: Made) -> Image.Image:
    return Image.open(io.BytesIO(made.data))


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_a_thumbnail_is_no_larger_than_asked(film: Path, kind: direct.Still) -> None:
    made = asyncio.run(direct.thumbnail(film, 320, kind))
    assert made.media_type == f"image/{kind}"
    assert (picture(made).format or "").lower() == kind
    assert picture(made).size == (320, 180)
    assert picture(asyncio.run(direct.thumbnail(film, 4096, kind))).size == (640, 360), "never larger than the source"


def test_a_thumbnail_is_upright(tmp_path: Path) -> None:
    file = write_video(tmp_path / "turned.mp4", [corners((320, 240))] * 5, turn={"degrees": 90})
    made = asyncio.run(direct.thumbnail(file, 320, "png"))
    with av.open(str(file)) as container:
        frame = next(container.decode(video=0))
        upright = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    shown = np.asarray(picture(made).convert("RGB")).astype(int)
    assert shown.shape == upright.shape
    assert np.abs(shown - upright).mean() < 6


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_a_summary_has_pieces_from_all_over_the_film(film: Path, kind: direct.Moving) -> None:
    made = asyncio.run(direct.summary(film, 160, kind))
    assert made.media_type == f"image/{kind}"
    moving = picture(made)
    assert moving.size == (160, 90)
    greys, seconds = [], 0.0
    for number in range(getattr(moving, "n_frames", 1)):
        moving.seek(number)
        greys.append(float(np.asarray(moving.convert("L")).mean()))
        seconds += moving.info["duration"] / 1000
    assert seconds == pytest.approx(3, abs=0.35)
    # Each piece lies across the beginning of a second: 1, 3, 5, 7 and 9, and so shows two of the ten greys.
    steps = [round((grey - greys[0]) / 20) for grey in greys]
    assert steps == sorted(steps)
    assert set(steps) == set(range(10))


def test_a_short_film_is_shown_whole(tmp_path: Path) -> None:
    file = write_video(tmp_path / "short.mp4", noise(30, (320, 240)), rate=25)
    moving = picture(asyncio.run(direct.summary(file, kind="gif")))
    assert getattr(moving, "n_frames", 1) == 12


@pytest.mark.parametrize(
    ("kind", "media_type", "codec"),
    [("mp3", "audio/mpeg", "mp3float"), ("m4a", "audio/mp4", "aac"), ("opus", "audio/ogg", "opus"),
     ("wav", "audio/wav", "pcm_s16le")],
)  # fmt: skip
def test_the_sound(tmp_path: Path, kind: direct.Sound, media_type: str, codec: str) -> None:
    file = write_sound(tmp_path / "sound.m4a")
    made = asyncio.run(direct.sound(file, kind))
    assert made.media_type == media_type
    with av.open(io.BytesIO(made.data)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == codec
        seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert seconds == pytest.approx(1, abs=0.08)


def test_sound_that_fits_is_left_as_it_is(tmp_path: Path) -> None:
    file = write_sound(tmp_path / "sound.m4a")

    def packets(source: object) -> list[bytes]:
        with av.open(source) as container:  # type: ignore[call-overload]
            return [bytes(each) for each in container.demux(audio=0) if each.size]

    assert packets(io.BytesIO(asyncio.run(direct.sound(file, "m4a")).data)) == packets(str(file))


def test_pieces_are_within_the_film() -> None:
    pieces = direct.pieces_of(100.0)
    assert [round(start + length / 2, 6) for start, length in pieces] == [10, 30, 50, 70, 90]
    assert {length for _, length in pieces} == {0.6}
    assert direct.pieces_of(3.0) == direct.pieces_of(None) == [(0.0, 3.0)]


def test_sizes_are_bounded_by_the_longer_side() -> None:
    tall = VideoTrack(0, "h264", 1080, 1920, 25, None)  # type: ignore[arg-type]
    assert direct.fitted(tall, 320) == (180, 320)
    assert direct.fitted(tall, 9999) == (1080, 1920)


def test_what_lacks_what_is_asked_for_is_told(film: Path, tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "sound.m4a")
    for work in (direct.sound(film), direct.thumbnail(sound), direct.summary(sound)):
        with pytest.raises(Problem) as told:
            asyncio.run(work)
        assert told.value.code == "unprocessable"


def test_bounds(film: Path) -> None:
    with pytest.raises(Problem) as told:
        asyncio.run(direct.summary(film, limits=DirectLimits(deadline_s=0.01)))
    assert told.value.code == "deadline"
    with pytest.raises(Problem) as told:
        asyncio.run(direct.thumbnail(film, limits=DirectLimits(Limits(max_duration_s=1))))
    assert told.value.code == "too_large"
