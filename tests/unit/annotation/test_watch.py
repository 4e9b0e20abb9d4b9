"""The pass over frames that are made here: which scenes, which frames, which clips."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from serve_app.annotation import watch as module
from serve_app.annotation.clip_ring import ClipRing
from serve_app.annotation.watch import (
    Clip,
    Clips,
    Done,
    Event,
    Limits,
    Opened,
    Plan,
    Progress,
    Scene,
    Second,
    Still,
    watch_frames,
)  # fmt: skip
from serve_app.errors import Problem
from serve_app.media.frames import Frame, Turn
from serve_app.media.video import VideoInfo


class Told:
    """A detector that is told where scenes begin, and says so ``latency`` frames late."""

    def __init__(self, begins: Sequence[int], latency: int) -> None:
        self.latency = latency
        self._begins = sorted(begins)
        self._pushed = 0

    def push(self, thumbnail: NDArray[np.uint8]) -> list[int]:
        assert thumbnail.shape == (50, 50)
        self._pushed += 1
        return self._until(self._pushed - 1 - self.latency)

    def finish(self) -> list[int]:
        return self._until(self._pushed - 1)

    def _until(self, last: int) -> list[int]:
        found = [index for index in self._begins if index <= last]
        self._begins = self._begins[len(found) :]
        return found


@dataclass
class Made:
    """Frames whose grey is their index (modulo 256)."""

    times: Sequence[float]
    last_s: float = 0.04
    size: tuple[int, int] = (8, 6)
    errors: int = 0
    complete: bool = True

    def __post_init__(self) -> None:
        self.info = VideoInfo("video/mp4", "h264", *self.size, None, self.times[0], None, len(self.times))

    def __iter__(self) -> Iterator[Frame]:
        ends = [*self.times[1:], self.times[-1] + self.last_s]
        for index, (time_s, end_s) in enumerate(zip(self.times, ends, strict=True)):
            pixels = np.full((self.size[1], self.size[0], 3), index % 256, np.uint8)
            image = av.VideoFrame.from_ndarray(pixels, "rgb24")
            yield Frame(index, time_s, end_s - time_s, image, Turn(), *self.size)


def regular(count: int, rate: float = 25.0, start_s: float = 0.0) -> list[float]:
    return [start_s + index / rate for index in range(count)]


def watch(
    monkeypatch: pytest.MonkeyPatch, source: Made, begins: Sequence[int] = (), latency: int = 3, **plan: Any
) -> list[Event]:
    monkeypatch.setitem(module.DETECTORS, "told", lambda: Told(begins, latency))
    return list(watch_frames(source, Plan(detector="told", **plan)))


def of(kind: type[Any], events: Sequence[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def grey(picture: bytes) -> int:
    return picture[-1]


def starts(events: Sequence[Event]) -> list[int]:
    return [scene.start_frame for scene in of(Scene, events)]


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as context:
        yield context


def test_scenes_begin_where_the_detector_says(patch: pytest.MonkeyPatch) -> None:
    events = watch(patch, Made(regular(100), last_s=0.5), [1, 30, 31, 99])
    assert of(Scene, events) == [
        Scene(0, 0.0, 0.04, 0, 1),
        Scene(1, 0.04, 30 / 25, 1, 30),
        Scene(2, 30 / 25, 31 / 25, 30, 31),
        Scene(3, 31 / 25, 99 / 25, 31, 99),
        Scene(4, 99 / 25, 99 / 25 + 0.5, 99, 100),
    ]
    assert isinstance(events[0], Opened)
    assert isinstance(events[-1], Done)
    assert (events[-1].frames, events[-1].duration_s) == (100, pytest.approx(99 / 25 + 0.5))


def test_long_scenes_are_cut_to_the_frame(patch: pytest.MonkeyPatch) -> None:
    assert starts(watch(patch, Made(regular(762)))) == [0, 250, 500, 750]
    assert starts(watch(patch, Made(regular(762)), [100])) == [0, 100, 350, 600]
    # At 30000/1001 frames a second, 299 frames are 9.977 s and 300 are 10.01 s.
    assert starts(watch(patch, Made(regular(700, 30000 / 1001), 1001 / 30000))) == [0, 299, 598]
    assert starts(watch(patch, Made(regular(50)), max_scene_s=0.4)) == [0, 10, 20, 30, 40]


def test_a_frame_that_is_shown_longer_than_a_scene_may_be_is_one(patch: pytest.MonkeyPatch) -> None:
    events = watch(patch, Made([0, 1, 2, 60, 61, 62], 100))
    assert [(scene.start_frame, scene.end_frame) for scene in of(Scene, events)] == [(0, 2), (2, 3), (3, 5), (5, 6)]
    assert of(Scene, events)[-1].end_s == 162


def test_a_scene_and_what_is_of_it_come_together(patch: pytest.MonkeyPatch) -> None:
    events = watch(patch, Made(regular(60)), [20, 40], clips=Clips(4, 6, 6), seconds=False)
    kinds = [type(event).__name__ for event in events if not isinstance(event, Progress)]
    assert kinds == ["Opened", *["Scene", "Still", "Clip"] * 3, "Done"]


def test_one_frame(patch: pytest.MonkeyPatch) -> None:
    events = watch(patch, Made([5.0]), latency=31, clips=Clips(4, 6, 6))
    assert of(Scene, events) == [Scene(0, 5.0, 5.04, 0, 1)]
    assert [still.frame for still in of(Still, events)] == [0]
    assert [second.timestamp_s for second in of(Second, events)] == [5.0]
    assert [clip.pixels.shape for clip in of(Clip, events)] == [(4, 6, 6, 3)]


@settings(max_examples=40)
@given(
    gaps=st.lists(st.sampled_from([0.01, 0.04, 0.3, 1.7]), min_size=1, max_size=60),
    begins=st.sets(st.integers(1, 60)),
    latency=st.sampled_from([0, 1, 5, 31]),
    max_scene_s=st.sampled_from([0.5, 2.0, 10.0]),
    seed=st.integers(-5, 5),
)
def test_scenes_part_any_video(
    gaps: list[float], begins: set[int], latency: int, max_scene_s: float, seed: int
) -> None:
    times = [3.0, *itertools.accumulate(gaps[:-1], initial=3.0)][1:]
    begins = {index for index in begins if index < len(times)}
    plan: dict[str, Any] = {"max_scene_s": max_scene_s, "seed": seed, "clips": Clips(3, 6, 6, 0.8)}
    with pytest.MonkeyPatch.context() as context:
        events = watch(context, Made(times, gaps[-1]), sorted(begins), latency, **plan)
        prompt = watch(context, Made(times, gaps[-1]), sorted(begins), 0, **plan)
    scenes: list[Scene] = of(Scene, events)
    assert scenes == of(Scene, prompt), "a late detector changes nothing"
    assert of(Still, events) == of(Still, prompt)
    assert [scene.index for scene in scenes] == list(range(len(scenes)))
    assert [scene.start_frame for scene in scenes] == [0, *(scene.end_frame for scene in scenes[:-1])]
    assert scenes[-1].end_frame == len(times)
    assert begins <= {scene.start_frame for scene in scenes}
    for scene, still in zip(scenes, of(Still, events), strict=True):
        assert scene.start_s == times[scene.start_frame]
        assert scene.end_s == [*times, times[-1] + gaps[-1]][scene.end_frame]
        assert scene.end_s - scene.start_s <= max_scene_s + 1e-6 or scene.end_frame == scene.start_frame + 1
        assert scene.start_frame <= still.frame < scene.end_frame
        assert (still.scene, still.timestamp_s) == (scene.index, times[still.frame])
        assert grey(still.picture) == still.frame
        clips = [clip for clip in of(Clip, events) if clip.scene == scene.index]
        assert (clips[0].start_s, clips[-1].end_s) == (scene.start_s, scene.end_s)
        assert all(before.end_s == after.start_s for before, after in itertools.pairwise(clips))
        colours = np.concatenate([clip.pixels[:, 0, 0, 0] for clip in clips])
        assert colours.min() >= scene.start_frame
        assert colours.max() < scene.end_frame


def test_each_frame_of_a_scene_and_of_a_second_is_as_likely(patch: pytest.MonkeyPatch) -> None:
    stills: Counter[int] = Counter()
    seconds: Counter[int] = Counter()
    for seed in range(600):
        events = watch(patch, Made(regular(10, 5.0), 0.2), [4], seed=seed)
        stills.update(still.frame for still in of(Still, events))
        seconds.update(second.frame for second in of(Second, events))
    for counts, groups in ((stills, [range(4), range(4, 10)]), (seconds, [range(5), range(5, 10)])):
        for group in groups:
            expected = 600 / len(group)
            chi_squared = sum((counts[index] - expected) ** 2 / expected for index in group)
            assert sum(counts[index] for index in group) == 600
            assert chi_squared < 26, f"{counts}: beyond the 0.9999 quantile of up to 5 degrees of freedom (25.7)"


def test_the_seed_alone_decides(patch: pytest.MonkeyPatch) -> None:
    def frames(seed: int) -> list[int]:
        events = watch(patch, Made(regular(200)), [50], seed=seed)
        return [event.frame for event in events if isinstance(event, Still | Second)]

    assert frames(7) == frames(7)
    assert len({tuple(frames(seed)) for seed in range(10)}) == 10


def test_one_frame_for_each_second_that_has_any(patch: pytest.MonkeyPatch) -> None:
    times = [1.46, 1.9, 2.0, 2.5, 2.99, 7.0, 8.5]
    seconds = of(Second, watch(patch, Made(times)))
    assert [int(second.timestamp_s) for second in seconds] == [1, 2, 7, 8]
    assert all(times[second.frame] == second.timestamp_s for second in seconds)
    assert all(grey(second.picture) == second.frame for second in seconds)


def test_nothing_is_sent_that_was_not_asked_for(patch: pytest.MonkeyPatch) -> None:
    events = watch(patch, Made(regular(40)), [20], stills=False, seconds=False)
    assert {type(event) for event in events} <= {Opened, Progress, Scene, Done}


def test_large_frames_wait_in_less_memory(patch: pytest.MonkeyPatch) -> None:
    source = Made(regular(60), size=(400, 200))
    before = watch(patch, source, [30], latency=31, max_side=100)
    patch.setattr(module, "HELD_BYTES", 33 * 400 * 200)
    after = watch(patch, source, [30], latency=31, max_side=100)
    for one, other in zip(of(Still, before), of(Still, after), strict=True):
        assert other.picture.startswith(b"P6\n100 50\n255\n")
        assert (one.frame, one.scale, other.scale) == (other.frame, 4.0, 4.0)
        assert abs(grey(one.picture) - grey(other.picture)) <= 2


@pytest.mark.parametrize("count", [1, 2, 5, 31, 32, 33, 250, 255, 256, 257, 900, 3000])
def test_clips_are_uniform_samples(count: int) -> None:
    samples, painted, ring = 16, [], ClipRing(16)
    for index in range(count):
        ring.push(index / 25, lambda index=index: painted.append(index) or np.full((1, 1, 3), index, np.int64))
        assert len(ring._kept) <= 8 * samples
    [clip] = ring.windows(0.0, count / 25, 1, samples)
    exact = np.linspace(0, count - 1, samples)
    assert np.abs(clip[:, 0, 0, 0] - exact).max() <= max(0.5, count / samples / 8) + 1e-9
    assert (clip[0, 0, 0, 0], clip[-1, 0, 0, 0]) == (0, count - 1)


def test_windows_part_a_scene(patch: pytest.MonkeyPatch) -> None:
    [*clips] = of(Clip, watch(patch, Made(regular(250)), clips=Clips(5, 6, 6, 3.0), stills=False, seconds=False))
    assert [(clip.start_s, clip.end_s) for clip in clips] == [(0, 2.5), (2.5, 5.0), (5.0, 7.5), (7.5, 10.0)]
    # 62.5 frames a window; uniform from its first to its last.
    exact = [[part * 62.5 + 61.5 * sample / 4 for sample in range(5)] for part in range(4)]
    assert np.abs(np.array([clip.pixels[:, 0, 0, 0] for clip in clips]) - exact).max() <= 1.0
    assert starts(watch(patch, Made(regular(50)), clips=Clips(5, 6, 6, 2.0))) == [0]


def test_clips_are_the_middle_of_the_frame(patch: pytest.MonkeyPatch) -> None:
    class Ramp(Made):
        def __iter__(self) -> Iterator[Frame]:
            ramp = np.broadcast_to(np.linspace(0, 239, 240, dtype=np.uint8)[None, :, None], (120, 240, 3))
            yield Frame(0, 0.0, 0.04, av.VideoFrame.from_ndarray(ramp.copy(), "rgb24"), Turn(), 240, 120)

    [clip] = of(Clip, watch(patch, Ramp([0.0], size=(240, 120)), clips=Clips(2, 60, 40)))
    # The shorter side 120 becomes 60, so columns 80 to 160 of 240 are left.
    row = clip.pixels[1, 20, :, 0].astype(float)
    assert np.abs(row - (80.5 + 2 * np.arange(40))).max() < 3


class Clock:
    """Time that passes only where a test lets it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def passing(patch: pytest.MonkeyPatch, decode_s: float, receive_s: float, count: int, **limits: float) -> list[Event]:
    clock = Clock()

    class Slow(Made):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                clock.now += decode_s
                yield frame

    patch.setitem(module.DETECTORS, "told", lambda: Told([], 3))
    events = []
    plan = Plan(detector="told", limits=Limits(**limits))  # type: ignore[arg-type]
    for event in watch_frames(Slow(regular(count)), plan, clock):
        events.append(event)
        clock.now += receive_s
    return events


def test_progress_is_told_five_times_a_second(patch: pytest.MonkeyPatch) -> None:
    events = passing(patch, 0.01, 0.0, 500)
    told = of(Progress, events)
    assert 20 <= len(told) <= 25
    assert told[0] == Progress(20, 500, pytest.approx(19 / 25))
    assert events[-1].decode_s == pytest.approx(5.0)  # type: ignore[union-attr]


def test_only_the_work_counts_against_the_limit(patch: pytest.MonkeyPatch) -> None:
    events = passing(patch, 0.01, 1000.0, 500, max_decode_s=5.1)
    assert events[-1].decode_s == pytest.approx(5.0)  # type: ignore[union-attr]
    with pytest.raises(Problem, match=r"4\.9 s") as caught:
        passing(patch, 0.01, 0.0, 500, max_decode_s=4.9)
    assert caught.value.code == "unprocessable"


@pytest.mark.parametrize(
    "values", [{"detector": "none"}, {"max_scene_s": 0.0}, {"max_side": 0}]
)  # fmt: skip
def test_impossible_plans_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no video"):
        Plan(**values)


@pytest.mark.parametrize("values", [(0, 6, 6), (4, 6, 7), (4, 6, 0), (4, 6, 6, 0.0), (4, 6, 6, -1.0)])
def test_impossible_clips_are_refused(values: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="no clips"):
        Clips(*values)
