"""Generated clips: what moves how, measured by optical flow and by centroids, which know nothing of the generator."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.registration import optical_flow_ilk, phase_cross_correlation

from serve_app.models.embedded.backgrounds import noise
from serve_app.models.embedded.corpus import make
from serve_app.models.embedded.motion import (
    BACKWARDS,
    CAMERA_LABELS,
    LABELS,
    MOTIONS,
    SUBJECT_LABELS,
    TRANSPOSED,
    Shot,
    draw,
    shoot,
)
from serve_app.models.embedded.motion_paths import FRAMES
from serve_app.models.embedded.motion_render import CROP, render, targets
from serve_app.models.embedded.motion_world import CUTS, SIDE, SPRITE, UNSEEN_CUTS, World, busy_share, training_world
from serve_app.models.embedded.recipes import MOTION_MIX

Clip = NDArray[np.uint8]


@pytest.fixture(scope="module")
def cloud() -> World:
    """Clouds to look at."""
    rng = np.random.default_rng(3)
    pictures = np.stack([noise(rng, SIDE, 4) for _ in range(4)])
    return World(pictures, np.zeros((1, SPRITE, SPRITE, 4), np.uint8), np.arange(4), np.arange(1))


@pytest.fixture(scope="module")
def bar() -> World:
    """A white bar, twice as long as high, before black."""
    sprite = np.zeros((1, SPRITE, SPRITE, 4), np.uint8)
    sprite[:, 8:24] = 255
    return World(np.zeros((1, SIDE, SIDE, 3), np.uint8), sprite, np.arange(1), np.arange(1))


def pure(label: str, seed: int, world: World) -> tuple[Shot, Clip]:
    """A clip of the motion alone: no hand, nothing else about, no noise."""
    rng = np.random.default_rng(seed)
    shot = Shot(np.eye(len(LABELS))[LABELS.index(label)])
    MOTIONS[label](rng, shot)
    return shot, render(rng, [shot], world, spoilt=False)[0]


def flow(clip: Clip) -> tuple[float, float, float, float]:
    """The mean motion between neighbouring frames: to the right, down, its divergence, and its turn clockwise."""
    grey = clip.mean(axis=3) / 255
    fields = [optical_flow_ilk(*grey[at : at + 2], radius=9, num_warp=5) for at in (6, 9)]
    down, right = np.median(fields, axis=0)[:, 8:-8, 8:-8]
    spread = np.gradient(right, axis=1) + np.gradient(down, axis=0)
    turn = np.gradient(down, axis=1) - np.gradient(right, axis=0)
    return float(right.mean()), float(down.mean()), float(spread.mean()), float(turn.mean())


def seen(clip: Clip) -> str:
    """The direction of the camera that the flow tells: along an axis, or in or out."""
    right, down, spread, _ = flow(clip)
    strength = {"x": abs(right), "y": abs(down), "z": abs(spread) * CROP / 4}
    axis = max(strength, key=lambda name: strength[name])
    if axis == "x":
        return "pan left" if right > 0 else "pan right"
    if axis == "y":
        return "tilt up" if down > 0 else "tilt down"
    return "zoom in" if spread > 0 else "zoom out"


@pytest.mark.parametrize("label", ["pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out"])
def test_the_flow_of_a_camera_move_says_its_direction(label: str, cloud: World) -> None:
    for seed in range(3):
        _, clip = pure(label, seed, cloud)
        assert seen(clip) == label
        assert seen(clip[::-1]) == LABELS[BACKWARDS[LABELS.index(label)]]
        assert seen(clip.swapaxes(1, 2)) == LABELS[TRANSPOSED[LABELS.index(label)]]


def test_a_pan_moves_the_picture_as_far_as_the_camera(cloud: World) -> None:
    for label in ("pan left", "tilt down"):
        shot, clip = pure(label, 1, cloud)
        first, later = clip[4].mean(axis=2), clip[8].mean(axis=2)
        way = np.array([shot.y[8] - shot.y[4], shot.x[8] - shot.x[4]]) * CROP
        inner = (slice(14, -14), slice(14, -14))
        errors = {back: np.abs(ndimage.shift(later, back * way, order=1) - first)[inner].mean() for back in (1, 0, -1)}
        assert errors[1] < 0.3 * min(errors[0], errors[-1])


def test_a_roll_turns_the_picture_the_other_way(cloud: World) -> None:
    for seed in range(4):
        shot, clip = pure("roll", seed, cloud)
        turn = flow(clip)[3] / 2  # the curl of a rotation is twice its angle
        assert np.sign(turn) == -np.sign(shot.turn[-1] - shot.turn[0])


def test_a_shaking_camera_goes_to_and_fro(cloud: World) -> None:
    for seed in range(3):
        _, clip = pure("shake", seed, cloud)
        grey = clip.mean(axis=3)
        steps = np.array([phase_cross_correlation(grey[at], grey[at + 1], normalization=None)[0] for at in range(15)])
        main = steps[:, np.abs(steps).sum(axis=0).argmax()]
        assert (np.diff(np.sign(main[main != 0])) != 0).sum() >= 3
        assert abs(main.sum()) < 0.6 * np.abs(main).sum()


def test_flickering_light_changes_no_shapes(cloud: World) -> None:
    for seed in range(3):
        _, clip = pure("flicker", seed, cloud)
        level = clip.astype(float).mean(axis=(1, 2, 3))
        assert np.abs(np.diff(level)).max() > 0.07 * level.max()
        bright, dark = clip[level.argmax()].mean(axis=2).ravel(), clip[level.argmin()].mean(axis=2).ravel()
        if dark.std() > 4:
            assert np.corrcoef(bright, dark)[0, 1] > 0.9


def test_a_camera_on_a_stand_shows_one_frame_again_and_again(cloud: World) -> None:
    _, clip = pure("static", 0, cloud)
    assert clip.shape == (FRAMES, CROP, CROP, 3)
    assert (clip == clip[0]).all()
    assert clip[0].std() > 5


def moments(clip: Clip) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """By frame: the bar's centroid [T, 2] (x, y) in sides of the view, its area in squared sides, and the direction of
    its long axis in radians."""
    weight = clip.mean(axis=3) / 255
    line = (np.arange(CROP) + 0.5) / CROP
    area = weight.mean(axis=(1, 2))
    x, y = (weight * line).mean(axis=(1, 2)) / area, (weight * line[:, None]).mean(axis=(1, 2)) / area
    dx, dy = line - x[:, None, None], line[:, None] - y[:, None, None]
    xx, yy, xy = ((weight * each).mean(axis=(1, 2)) for each in (dx**2, dy**2, dx * dy))
    return np.stack([x, y], axis=1), area, 0.5 * np.arctan2(2 * xy, xx - yy)


WHOLE = {"object moving left": (0, -1), "object moving right": (0, 1), "object moving up": (1, -1),
         "object moving down": (1, 1)}  # fmt: skip


def whole_bars(label: str, world: World) -> list[tuple[Shot, Clip]]:
    """Clips whose bar is small and in the middle enough never to leave the view."""
    found = []
    for seed in range(60):
        shot, clip = pure(label, seed, world)
        layer = shot.layers[0]
        reach = np.abs(np.stack([layer.x, layer.y])).max(axis=0) + 0.6 * layer.size
        if reach.max() < 0.5:
            found.append((shot, clip))
    assert found
    return found[:4]


@pytest.mark.parametrize("label", WHOLE)
def test_an_object_moves_where_its_label_says(label: str, bar: World) -> None:
    axis, direction = WHOLE[label]
    for shot, clip in whole_bars(label, bar):
        centre, _, _ = moments(clip)
        way = centre[-1] - centre[0]
        layer = shot.layers[0]
        assert way == pytest.approx([np.ptp(v) * np.sign(v[-1] - v[0]) for v in (layer.x, layer.y)], abs=0.03)
        assert way[axis] * direction > 0.14
        assert abs(way[1 - axis]) < 0.5 * abs(way[axis])


@pytest.mark.parametrize(("label", "least", "most"), [("object growing", 1.6, 10), ("object shrinking", 0.1, 0.62)])
def test_an_object_grows_or_shrinks_by_its_area(label: str, least: float, most: float, bar: World) -> None:
    for shot, clip in whole_bars(label, bar):
        _, area, _ = moments(clip)
        size = shot.layers[0].size
        assert least < area[-1] / area[0] < most
        assert area[-1] / area[0] == pytest.approx((size[-1] / size[0]) ** 2, rel=0.12)


def test_an_object_rotates_by_its_long_axis(bar: World) -> None:
    for shot, clip in whole_bars("object rotating", bar):
        _, _, axis = moments(clip)
        turned = np.unwrap(axis, period=np.pi)
        turn = shot.layers[0].turn
        assert turned[-1] - turned[0] == pytest.approx(turn[-1] - turn[0], abs=0.1)
        assert abs(turn[-1] - turn[0]) > np.radians(40)


def test_a_bouncing_object_comes_down_and_goes_up_again(bar: World) -> None:
    for _, clip in whole_bars("object bouncing", bar):
        height = moments(clip)[0][:, 1]
        down = np.sign(np.diff(height))
        assert np.ptp(height) > 0.1
        assert (down[:-1] > down[1:]).any(), "down, and then up"
        assert (np.diff(down) != 0).sum() >= 2


def test_every_label_has_its_motion_and_its_opposite() -> None:
    assert tuple(MOTIONS) == LABELS == CAMERA_LABELS + SUBJECT_LABELS
    for table in (BACKWARDS, TRANSPOSED):
        assert (table[table] == np.arange(len(LABELS))).all()


def test_labels_come_equally_often_and_two_motions_share_the_truth() -> None:
    rng = np.random.default_rng(0)
    single = targets(draw(rng, 3 * len(LABELS), mixed=0))
    assert (single.sum(axis=0) == 3).all()
    double = targets(draw(rng, 40, mixed=1))
    assert double.sum(axis=1) == pytest.approx(np.ones(40))
    assert (np.sort(double, axis=1)[:, -2:] == 0.5).all()


def test_the_same_numbers_give_the_same_clips() -> None:
    world = training_world(5, make(5, 0, 6, SIDE, MOTION_MIX).pixels, 12)
    assert all(len(part) for part in (world.busy, world.turnable))
    made = []
    for seed in (1, 1, 2):
        rng = np.random.default_rng(seed)
        made.append(render(rng, [shoot(rng, label) for label in LABELS], world))
    assert made[0].dtype == np.uint8
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])
    assert (world.sprites[..., :3] <= world.sprites[..., 3:].astype(int) + 2).all(), "premultiplied"


def test_plain_pictures_are_no_place_for_a_moving_camera() -> None:
    plain = np.full((1, SIDE, SIDE, 3), 90, np.uint8)
    half = plain.copy()
    half[:, :, : SIDE // 2] = np.random.default_rng(0).integers(0, 255, (1, SIDE, SIDE // 2, 1))
    assert busy_share(plain) == 0
    assert busy_share(half) == pytest.approx(0.5)


def test_evaluation_cuts_out_what_no_training_does() -> None:
    assert not set(CUTS) & set(UNSEEN_CUTS)
