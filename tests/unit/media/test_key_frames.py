"""Which key frame stands for a video."""

from __future__ import annotations

import asyncio
from pathlib import Path

import cv2
import numpy as np
import pytest

from serve_app.errors import Problem
from serve_app.media.key_frames import best_time, looks_at
from serve_app.media.tracks import read_tracks
from serve_app.media.tracks_process import probe_best
from tests.made_videos import Pixels, noise, write_sound, write_video

SIZE = (320, 240)
GOP = 25


def seconds(*pictures: Pixels) -> list[Pixels]:
    """A second of each."""
    return [picture for picture in pictures for _ in range(GOP)]


def flat(grey: int) -> Pixels:
    return np.full((SIZE[1], SIZE[0], 3), grey, np.uint8)


def made(place: Path, pictures: list[Pixels]) -> Path:
    return write_video(
        place / "clip.mp4", pictures, rate=GOP, g=str(GOP), x264opts="keyint=25:min-keyint=25:scenecut=0"
    )


@pytest.fixture
def sharp() -> Pixels:
    return noise(1, SIZE)[0]


def test_neither_dark_nor_light_nor_flat_nor_blurred(tmp_path: Path, sharp: Pixels) -> None:
    blurred = cv2.GaussianBlur(sharp, (31, 31), 0)
    file = made(tmp_path, seconds(flat(0), blurred, flat(255), sharp, blurred, flat(128)))
    source = read_tracks(str(file))
    looks = {round(look.time_s): look for look in looks_at(str(file), source)}
    assert set(looks) == set(range(6))
    assert {second for second, look in looks.items() if look.shows} == {1, 3, 4}
    assert best_time(str(file), source) == pytest.approx(3)
    # Something that shows is better than a grain of dust on black, however sharp.
    dust = flat(0)
    dust[100:104, 100:104] = 255
    file = made(tmp_path, seconds(dust, blurred, dust))
    assert best_time(str(file), read_tracks(str(file))) == pytest.approx(1)


def test_a_black_video_has_a_frame_too(tmp_path: Path) -> None:
    file = made(tmp_path, seconds(flat(0), flat(0)))
    assert best_time(str(file), read_tracks(str(file))) in (0.0, 1.0)


def test_in_a_process_of_its_own(tmp_path: Path, sharp: Pixels) -> None:
    file = made(tmp_path, seconds(flat(0), sharp))
    source, best_s = asyncio.run(probe_best(str(file)))
    assert source == read_tracks(str(file))
    assert best_s == pytest.approx(1)
    _, none_s = asyncio.run(probe_best(str(write_sound(tmp_path / "sound.m4a"))))
    assert none_s == 0


def test_what_cannot_be_read_is_told(tmp_path: Path, sharp: Pixels) -> None:
    file = made(tmp_path, seconds(sharp))
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(Problem):
        asyncio.run(probe_best(str(file)))
