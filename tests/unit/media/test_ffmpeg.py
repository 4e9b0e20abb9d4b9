"""FFmpeg as a process: its progress, its failures, and its end."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from serve_app.errors import Problem
from serve_app.media import ffmpeg
from serve_app.media.confinement import ChildLimits

LIMITS = ChildLimits(memory_mb=4096, cpu_s=60, file_mb=64)
HEAD = ("-nostdin", "-hide_banner", "-v", "error", "-nostats", "-progress", "pipe:1", "-y")
PICTURES = ("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=4")
ENDLESS = ("-re", "-f", "lavfi", "-i", "testsrc2=size=32x32:rate=25")


def command(*words: str) -> list[str]:
    return [ffmpeg.binary(), *HEAD, *words]


def test_progress_is_told_by_the_outputs_clock(tmp_path: Path) -> None:
    told: list[float] = []
    made = tmp_path / "made.mp4"
    asyncio.run(ffmpeg.run(command(*PICTURES, "-c:v", "libx264", str(made)), LIMITS, told.append))
    assert made.stat().st_size > 1000
    assert told == sorted(told)
    assert told[-1] == pytest.approx(4, abs=0.2)


def test_what_the_binary_can_do_is_known() -> None:
    assert {"libx264", "libvpx-vp9", "libsvtav1", "libkvazaar", "aac", "libopus", "webvtt"} <= ffmpeg.encoders()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("-f", "mov", "-i", "/dev/null", "out.mp4"), "undecodable_media", "failed"),
        (("-no-such-option", "1"), "undecodable_media", "Unrecognized option"),
    ],
)
def test_a_failure_is_told_in_ffmpegs_words(words: tuple[str, ...], code: str, text: str) -> None:
    with pytest.raises(Problem, match=text) as told:
        asyncio.run(ffmpeg.run(command(*words), LIMITS))
    assert told.value.code == code


def test_a_file_may_not_grow_beyond_its_limit(tmp_path: Path) -> None:
    raw = (*PICTURES, "-c:v", "rawvideo", "-f", "nut", str(tmp_path / "raw.nut"))
    with pytest.raises(Problem) as told:
        asyncio.run(ffmpeg.run(command(*raw), ChildLimits(4096, 60, file_mb=1)))
    assert (tmp_path / "raw.nut").stat().st_size <= 1 << 20
    assert told.value.code in ("unavailable", "undecodable_media")


def test_a_full_disk_is_told() -> None:
    with pytest.raises(Problem, match="disk is full") as told:
        asyncio.run(ffmpeg.run(command(*PICTURES, "-c:v", "rawvideo", "-f", "nut", "/dev/full"), LIMITS))
    assert told.value.code == "unavailable"


def test_memory_and_time_are_bounded() -> None:
    with pytest.raises(Problem):
        asyncio.run(ffmpeg.run(command(*PICTURES, "-f", "null", "-"), ChildLimits(memory_mb=64)))
    spin = ("-f", "lavfi", "-i", "testsrc2=size=1920x1080", "-f", "null", "-")
    with pytest.raises(Problem, match="more processor time"):
        asyncio.run(ffmpeg.run(command(*spin), ChildLimits(4096, cpu_s=1)))


def test_a_run_that_makes_no_progress_is_given_up(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    holder = os.open(pipe, os.O_RDWR)  # somebody who opens it and never writes
    try:
        begun = time.monotonic()
        with pytest.raises(Problem, match="no progress for 1 s"):
            asyncio.run(ffmpeg.run(command("-f", "mpegts", "-i", str(pipe), "-f", "null", "-"), LIMITS, stall_s=1))
        assert time.monotonic() - begun < 1 + ffmpeg.TERM_S + 5
    finally:
        os.close(holder)


def test_a_cancelled_run_leaves_no_process() -> None:
    async def cancelled() -> None:
        running = asyncio.ensure_future(ffmpeg.run(command(*ENDLESS, "-f", "null", "-"), LIMITS, seen.append))
        while not seen:
            await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    seen: list[float] = []
    asyncio.run(cancelled())
    mine = [path for path in Path("/proc").glob("[0-9]*/stat") if _child_of_mine(path)]
    assert mine == []


def _child_of_mine(stat: Path) -> bool:
    try:
        name, _, rest = stat.read_text().rpartition(")")
    except OSError:
        return False
    return "ffmpeg" in name and int(rest.split()[1]) == os.getpid()
