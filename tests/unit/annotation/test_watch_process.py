"""The pass in its child process: real files end, nothing outlives, memory is bounded."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from serve_app.annotation.watch import Clip, Clips, Done, Event, Limits, Opened, Plan, Progress, Scene, Second, Still
from serve_app.annotation.watch_process import probe, watch
from serve_app.errors import Problem
from serve_app.media.video import VideoInfo
from tests.made_videos import noise, repeat_video, write_sound, write_video

SMALL = Plan(max_side=320, clips=Clips(8, 64, 64))
SCENES = Plan(stills=False, seconds=False)


async def collect(file: str | int, plan: Plan) -> list[Event]:
    return [event async for event in watch(file, plan)]


def events_of(file: str | int | Path, plan: Plan = SMALL) -> list[Event]:
    return asyncio.run(collect(file if isinstance(file, int) else str(file), plan))


def of(kind: type[Any], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def children() -> set[int]:
    """The decoders of this process; other tests leave their service or database beside them."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found.update(map(int, (task / "children").read_text().split()))
    return {pid for pid in found if _runs_module(pid)}


def _runs_module(pid: int) -> bool:
    """A process between fork and exec still has its parent's command line, and counts."""
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"watch_process" in command or command == Path("/proc/self/cmdline").read_bytes()
    return False


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "video.mp4", noise(75, (96, 64)) + noise(75, (96, 64), seed=1), g="25")


def test_events_cross_the_border_whole(video: Path) -> None:
    events = events_of(video, Plan(clips=Clips(8, 32, 24, 1.5)))
    assert isinstance(events[0], Opened)
    assert events[0].info == VideoInfo("video/mp4", "h264", 96, 64, 6.0, 0.0, 25.0, 150)
    assert of(Scene, events) == [Scene(0, 0.0, 3.0, 0, 75), Scene(1, 3.0, 6.0, 75, 150)]
    assert [second.timestamp_s // 1 for second in of(Second, events)] == list(range(6))
    for picture in of(Still, events) + of(Second, events):
        assert picture.picture.startswith(b"P6\n96 64\n255\n")
        assert len(picture.picture) == 13 + 96 * 64 * 3
        assert picture.scale == 1.0
    clips: list[Clip] = of(Clip, events)
    assert [(clip.scene, clip.start_s, clip.end_s) for clip in clips] == [
        (0, 0.0, 1.5), (0, 1.5, 3.0), (1, 3.0, 4.5), (1, 4.5, 6.0)
    ]  # fmt: skip
    assert {(clip.pixels.shape, str(clip.pixels.dtype)) for clip in clips} == {((8, 24, 24, 3), "uint8")}
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.frames, done.expected, done.errors, done.complete) == (150, 150, 0, True)
    assert done.duration_s == pytest.approx(6.0)
    assert 0 < done.decode_s < 60
    assert children() == set()


def test_the_same_seed_gives_the_same_frames(video: Path) -> None:
    def chosen(seed: int) -> list[Any]:
        return [event for event in events_of(video, Plan(seed=seed)) if isinstance(event, Still | Second)]

    first = chosen(3)
    assert chosen(3) == first
    assert [event.frame for event in chosen(4)] != [event.frame for event in first]


def test_an_unlinked_file_by_its_descriptor(video: Path) -> None:
    with video.open("rb") as file:
        video.unlink()
        file.seek(10)
        assert isinstance(events_of(file.fileno(), SCENES)[-1], Done)
        assert asyncio.run(probe(file.fileno(), Limits())).frames == 150
        assert file.tell() == 10


def test_probe_tells_size_and_refuses(video: Path, tmp_path: Path) -> None:
    info = asyncio.run(probe(str(video), Limits()))
    assert info == VideoInfo("video/mp4", "h264", 96, 64, 6.0, 0.0, 25.0, 150)
    with pytest.raises(Problem) as caught:
        asyncio.run(probe(str(video), Limits(max_duration_s=5)))
    assert caught.value.code == "too_large"
    for megabytes in (20, 60, 150):  # too little for Python, for its modules, and for FFmpeg's libraries
        with pytest.raises(Problem, match=f"more than the {megabytes} MB of memory") as caught:
            asyncio.run(probe(str(video), Limits(max_memory_mb=megabytes)))
        assert caught.value.code == "undecodable_media"
    with pytest.raises(Problem, match="sound and no video"):
        asyncio.run(probe(str(write_sound(tmp_path / "sound.mp4")), Limits()))
    with pytest.raises(FileNotFoundError):
        asyncio.run(probe(str(tmp_path / "none.mp4"), Limits()))
    assert children() == set()


def test_every_real_file_ends(shared: Path) -> None:
    """In ``Done`` or a ``Problem``, whatever it is, two at a time."""
    paths = [path for folder in ("video", "broken") for path in sorted((shared / "media" / folder).glob("*.*"))]
    gate = asyncio.Semaphore(2)
    plan = Plan(max_side=160, stills=True, seconds=False)

    async def end(path: Path) -> tuple[str, str]:
        async with gate:
            try:
                async with asyncio.timeout(100):
                    last = (await collect(str(path), plan))[-1]
            except Problem as problem:
                return path.name, problem.code
            assert isinstance(last, Done), path
            return path.name, "done"

    async def end_all() -> dict[str, str]:
        return dict(await asyncio.gather(*map(end, paths)))

    ends = asyncio.run(end_all())
    good = [path.name for path in paths if path.parent.name == "video" and path.suffix != ".txt"]
    good += ["corrupted.mp4", "derived_flower_60pct.mp4", "empty_track.mp4", "mdat_too_long.mp4", "unordered.mov"]
    assert {name for name, how in ends.items() if how == "done"} == set(good)
    undecodable = {name for name, how in ends.items() if how == "undecodable_media"}
    assert {"encrypted_altref.webm", "invalid-bitstream.webm"} <= undecodable
    assert set(ends.values()) == {"done", "undecodable_media", "unsupported_media"}
    assert children() == set()


def test_hard_cuts_of_real_clips_to_the_frame(shared: Path) -> None:
    videos = shared / "media" / "video"
    nasa = events_of(videos / "nasa_multistream.mp4", SCENES)
    assert (202, pytest.approx(8.080)) in [(scene.start_frame, scene.start_s) for scene in of(Scene, nasa)]
    done = nasa[-1]
    assert isinstance(done, Done)
    assert (done.frames, done.errors) == (325, 0)


@pytest.mark.parametrize("how", ["close", "cancel"])
def test_leaving_kills_the_decoder(video: Path, tmp_path: Path, how: str) -> None:
    long = repeat_video(video, tmp_path / "long.mp4", 60)

    async def leave() -> float:
        events: Any = watch(str(long), Plan())
        async for _ in events:
            break
        assert len(children()) == 1
        began = time.monotonic()
        if how == "close":
            await events.aclose()
        else:
            task = asyncio.create_task(drain(events))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        took = time.monotonic() - began
        assert children() == set()
        return took

    async def drain(events: AsyncIterator[Event]) -> None:
        async for _ in events:
            pass

    assert asyncio.run(leave()) < 1.0


def test_a_receiver_that_pauses_stops_the_decoder(video: Path, tmp_path: Path) -> None:
    long = repeat_video(video, tmp_path / "long.mp4", 30)
    plan = Plan(clips=Clips(32, 64, 64, 1.0))

    async def pause() -> tuple[float, int]:
        events: Any = watch(str(long), plan)
        async for event in events:
            if isinstance(event, Scene):
                break
        [pid] = children()
        await asyncio.sleep(1.5)
        before = cpu_s(pid)
        await asyncio.sleep(0.5)
        spent = cpu_s(pid) - before
        frames = 0
        async for event in events:
            frames = event.frames if isinstance(event, Progress | Done) else frames
        return spent, frames

    spent, frames = asyncio.run(pause())
    assert spent < 0.1
    assert frames == 4_500


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_memory_does_not_grow_with_duration(tmp_path: Path) -> None:
    once = write_video(tmp_path / "once.mp4", noise(250, (320, 240)), g="25")
    peaks = [peak_mb(once), peak_mb(repeat_video(once, tmp_path / "six.mp4", 6))]
    assert peaks[1] <= 1.15 * peaks[0], peaks


def peak_mb(path: Path) -> float:
    """The largest resident set of the child, as the kernel kept it."""

    async def run() -> float:
        peak = 0.0
        async for event in watch(str(path), Plan(clips=Clips(32, 128, 128, 2.5))):
            if isinstance(event, Opened):
                [pid] = children()
            with contextlib.suppress(FileNotFoundError, StopIteration):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                peak = int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
        return peak

    return asyncio.run(run())


def test_the_file_is_read_and_decoded_once(shared: Path) -> None:
    """The child reads little more than the file's bytes; every frame of it was decoded, and none twice."""
    path = shared / "media" / "video" / "psd_testvideo_scenes.mp4"

    async def run() -> tuple[int, Done]:
        read = 0
        async for event in watch(str(path), Plan(max_side=64)):
            if isinstance(event, Opened):
                [pid] = children()
            if isinstance(event, Done):
                return read, event
            with contextlib.suppress(FileNotFoundError):
                read = int(Path(f"/proc/{pid}/io").read_text().splitlines()[0].split()[1])
        raise AssertionError

    read, done = asyncio.run(run())
    assert done.frames == 720
    assert read < 1.5 * path.stat().st_size + start_up_bytes()


def start_up_bytes() -> int:
    """What a child reads before it opens a video."""
    script = "import av, numpy, serve_app.annotation.watch_process; print(open('/proc/self/io').read())"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return int(out.splitlines()[0].split()[1])


def test_the_decoder_dies_with_the_process_that_watches(video: Path, tmp_path: Path) -> None:
    long = repeat_video(video, tmp_path / "long.mp4", 100)
    script = (
        "import asyncio, os, sys\n"
        "from serve_app.annotation.watch import Plan\n"
        "from serve_app.annotation.watch_process import watch\n"
        "async def main():\n"
        "    async for event in watch(sys.argv[1], Plan()):\n"
        "        print(open(f'/proc/self/task/{os.getpid()}/children').read(), flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(long)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        [pid] = map(int, parent.stdout.readline().split())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    until = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()
