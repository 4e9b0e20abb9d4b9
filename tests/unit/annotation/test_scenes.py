"""Where scenes begin: closed forms, real clips with known cuts, and what must change nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from serve_app.annotation.scenes import DEFAULT, DETECTORS, SIZE
from serve_app.annotation.scenes_adaptive import SIDE, blend, shifted_correlation
from serve_app.annotation.scenes_correlation import CorrelationDetector, centred, correlation
from serve_app.errors import Problem
from serve_app.evaluation.scenes import split_files

Thumbnail = NDArray[np.uint8]
every_detector = pytest.mark.parametrize("name", sorted(DETECTORS))


def found(name: str, thumbnails: Iterable[Thumbnail]) -> list[int]:
    detector = DETECTORS[name]()
    return [start for thumbnail in thumbnails for start in detector.push(thumbnail)] + detector.finish()


def wave(degrees: float, deviation: float = 40.0) -> Thumbnail:
    """A grey wave, two periods high: waves of phases a and b correlate at cos(a - b), by trigonometry."""
    rows = np.cos(np.arange(SIZE) * 4 * np.pi / SIZE - np.radians(degrees))
    grey = np.rint(128 + deviation * np.sqrt(2) * rows).astype(np.uint8)
    return np.broadcast_to(grey[:, None], (SIZE, SIZE)).copy()


def flat(level: int) -> Thumbnail:
    return np.full((SIZE, SIZE), level, np.uint8)


def scene(seed: int, length: int) -> list[Thumbnail]:
    """A picture of soft blobs that drifts a little and has a little noise; pictures of other seeds are unlike it."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(30, 225, (8, 8))
    spots = np.arange(SIZE) * 7 / (SIZE + 5)
    frames = []
    for number in range(length):
        at = spots + 0.2 * np.sin(number / 100) ** 2
        low = at.astype(int)
        part = (at - low)[:, None]
        rows = coarse[low] * (1 - part) + coarse[low + 1] * part
        both = rows[:, low] * (1 - part[:, 0]) + rows[:, low + 1] * part[:, 0]
        frames.append((both + random.normal(0, 1.5, both.shape)).clip(0, 255).astype(np.uint8))
    return frames


def mixed(first: Thumbnail, second: Thumbnail, share: float) -> Thumbnail:
    return np.rint(first * (1 - share) + second * share).astype(np.uint8)


def joined(first: list[Thumbnail], second: list[Thumbnail], length: int) -> list[Thumbnail]:
    """The last ``length`` frames of the first dissolve into the first ones of the second, linearly."""
    shares = np.arange(1, length + 1) / (length + 1)
    blended = [mixed(a, b, s) for a, b, s in zip(first[-length:], second, shares, strict=False)]
    return first[:-length] + blended + second[length:]


def faded(first: list[Thumbnail], level: int, second: list[Thumbnail], length: int, still: int) -> list[Thumbnail]:
    return joined(joined(first, [flat(level)] * (2 * length + still), length), second, length)


@pytest.mark.parametrize("degrees", [0, 30, 60, 90, 180])
def test_waves_correlate_at_the_cosine_of_their_phase(degrees: float) -> None:
    got = correlation(centred(wave(10)), centred(wave(10 + degrees)))
    assert got == pytest.approx(np.cos(np.radians(degrees)), abs=4e-3)


def test_flat_pictures_correlate_with_each_other_and_with_nothing_else() -> None:
    assert correlation(centred(flat(0)), centred(flat(255))) == 1
    assert abs(correlation(centred(flat(0)), centred(wave(0)))) < 0.03


@pytest.mark.parametrize(("degrees", "cuts"), [(57, []), (60, [6])])
def test_the_plain_threshold_is_on_the_mean_of_two_correlations(degrees: float, cuts: list[int]) -> None:
    """(1 + cos 57) / 2 = .772 and (1 + cos 60) / 2 = .75: thresholds between and around them tell which is meant."""
    detector = CorrelationDetector(threshold=0.76)
    clip = [wave(0)] * 6 + [wave(degrees)] * 6
    assert [cut for frame in clip for cut in detector.push(frame)] + detector.finish() == cuts


def test_one_dip_is_one_boundary_at_its_lowest_correlation() -> None:
    """Correlations cos 50, cos 80, cos 55 in a row: one dip of the average, deepest at the second change."""
    clip = [wave(0)] * 8 + [wave(50)] + [wave(130)] + [wave(185)] * 8
    assert found("correlation", clip) == [9]


@every_detector
def test_a_cut_is_its_first_frame(name: str) -> None:
    assert found(name, scene(1, 40) + scene(2, 25) + scene(3, 33)) == [40, 65]


@every_detector
@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_too_short_to_have_scenes(name: str, length: int) -> None:
    assert found(name, scene(1, length)) == []
    assert found(name, [flat(0)] * length) == []


@every_detector
def test_a_cut_close_to_the_beginning_and_to_the_end(name: str) -> None:
    assert found(name, scene(1, 2) + scene(2, 30)) == [2]
    assert found(name, scene(1, 30) + scene(2, 1)) == [30]


@every_detector
def test_flat_frames_of_any_grey_begin_nothing(name: str) -> None:
    assert found(name, [flat(level) for level in (0, 0, 255, 255, 128, 0, 7, 0, 90)] * 10) == []


@every_detector
def test_a_picture_after_a_flat_leader_begins_a_scene_where_it_jumps_out_of_it(name: str) -> None:
    assert found(name, [flat(0)] * 30 + scene(1, 60)) == [30]


@every_detector
def test_noise_is_no_sequence_of_scenes(name: str) -> None:
    random = np.random.default_rng(5)
    assert len(found(name, random.integers(0, 256, (300, SIZE, SIZE), np.uint8))) <= 1


@every_detector
def test_the_light_changes_nothing(name: str) -> None:
    bright = scene(1, 40) + scene(2, 40)
    dim = [np.rint(frame * 0.4).astype(np.uint8) for frame in bright]
    assert found(name, dim) == found(name, bright) == [40]
    dimming = [mixed(frame, flat(0), 0.6 * number / 80) for number, frame in enumerate(bright)]
    assert found(name, dimming) == [40]


@every_detector
def test_each_is_told_once_in_order_and_no_later_than_promised(name: str) -> None:
    clip = [frame for seed in range(12) for frame in scene(seed, 7 + 9 * seed)]
    clip += joined(scene(20, 90), scene(21, 90), 30) + faded(scene(22, 60), 255, scene(23, 60), 10, 200)
    detector = DETECTORS[name]()
    told = [(now, start) for now, frame in enumerate(clip) for start in detector.push(frame)]
    assert len(told) >= 12
    starts = [start for _, start in told]
    assert starts == sorted(set(starts))
    assert 0 not in starts
    assert all(0 <= now - start <= detector.latency for now, start in told)
    assert detector.latency <= 64


@every_detector
def test_what_lies_further_back_than_the_reach_is_forgotten(name: str) -> None:
    """The same frames give the same boundaries, however many went before."""
    tail = scene(2, 60) + scene(3, 60)
    for before in (200, 1000):
        assert found(name, scene(1, before) + tail) == [before, before + 60]


@pytest.mark.parametrize("length", [1, 4, 12, 30, 60])
def test_a_dissolve_turns_in_its_middle(length: int) -> None:
    """``length`` blended frames after frame 99 - length: the new picture outweighs the old from the middle on."""
    clip = joined(scene(1, 100), scene(2, 100), length)
    (turn,) = found("adaptive", clip)
    assert abs(turn - (100 - length / 2)) <= 1


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("still", [0, 10, 120])
def test_a_fade_begins_a_scene_where_the_new_picture_rises(level: int, still: int) -> None:
    """The last frames of 80 fade out over 10, then ``still`` flat ones, then 10 of the new picture fade in."""
    (start,) = found("adaptive", faded(scene(1, 80), level, scene(2, 80), 10, still))
    assert abs(start - (80 + still)) <= 2


@pytest.mark.parametrize("level", [0, 255])
def test_a_fade_out_and_in_of_the_same_picture_joins_nothing(level: int) -> None:
    first, second = scene(1, 80), scene(1, 80)
    assert found("adaptive", faded(first, level, second, 10, 10)) == []


@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_flash_is_no_scene(length: int) -> None:
    clip = scene(1, 60)
    clip[30 : 30 + length] = [mixed(frame, other, 0.9) for frame, other in zip(clip, scene(9, length), strict=False)]
    assert found("adaptive", clip) == []
    assert found("correlation", clip) != []  # which is where the plain method fails


def test_a_whip_pan_is_no_scene() -> None:
    """Over a wide picture, at rest, then five pixels a frame: no two frames 20 apart share a pixel."""
    random = np.random.default_rng(3)
    coarse = np.kron(random.uniform(20, 235, (10, 80)), np.ones((5, 5)))
    wide = coarse.astype(np.uint8)
    lefts = [0] * 30 + list(range(0, 300, 10)) + [300] * 30
    clip = [wide[:, left : left + SIZE] for left in lefts]
    assert found("adaptive", clip) == []
    assert found("correlation", clip) != []


def test_shifts_are_found_and_unlike_pictures_stay_unlike() -> None:
    random = np.random.default_rng(0)
    wide = random.normal(0, 50, (SIDE, 2 * SIDE))
    here, there = wide[:, :SIDE].ravel(), wide[:, 9 : 9 + SIDE].ravel()
    assert shifted_correlation(here, there) == pytest.approx(1, abs=1e-6)
    assert shifted_correlation(there, here) == pytest.approx(1, abs=1e-6)
    assert shifted_correlation(here, random.normal(0, 50, SIDE * SIDE)) < 0.4


def test_blends_by_hand() -> None:
    old, new = np.array([2.0, 0, 0]), np.array([0, 2.0, 0])
    shares, residual = blend(old, new, np.array([[1.5, 0.5, 0], [1.0, 1.0, 2.0], [0, 4.0, 0]]))
    assert shares == pytest.approx([0.25, 0.5, 1.0])
    assert residual == pytest.approx([0, 4 / 8, 4 / 8])


CUTS = {"nasa_multistream.mp4": [202], "psd_testvideo_scenes.mp4": [30, 180]}
"""The manifest's hard cuts; where it gives none there is none."""
GRADUAL = {
    "nasa_multistream.mp4": [(126, 140)],
    "psd_testvideo_scenes.mp4": [(207, 245), (320, 361), (391, 425), (540, 565), (665, 695)],
}
"""Dissolves and fades that the manifest does not name or names as "around": first and last frames, by eye,
with what the detector said in view: they guard against change and do not show how good it is."""


@pytest.fixture(scope="module")
def real(shared: Path) -> dict[str, dict[str, list[int]]]:
    paths = sorted(path for path in (shared / "media" / "video").iterdir() if path.suffix != ".txt")
    splits = {path.name: found for path, found in split_files(paths, sorted(DETECTORS))}
    assert len(splits) >= 20
    assert not [name for name, found in splits.items() if isinstance(found, Problem)]
    return {name: found.boundaries for name, found in splits.items() if not isinstance(found, Problem)}


def test_the_plain_method_finds_every_hard_cut_of_real_clips_and_nothing_else(
    real: dict[str, dict[str, list[int]]],
) -> None:
    assert {name: found["correlation"] for name, found in real.items() if found["correlation"]} == CUTS


def test_the_better_one_finds_them_too_and_the_dissolves_and_fades(real: dict[str, dict[str, list[int]]]) -> None:
    for name, boundaries in real.items():
        gradual = [start for start in boundaries["adaptive"] if start not in CUTS.get(name, [])]
        assert set(CUTS.get(name, [])) <= set(boundaries["adaptive"]), name
        spans = GRADUAL.get(name, [])
        assert len(gradual) == len(spans), name
        assert all(first <= start <= last for start, (first, last) in zip(gradual, spans, strict=True)), name


def test_the_default_is_a_detector() -> None:
    assert DEFAULT in DETECTORS
