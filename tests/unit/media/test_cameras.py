"""Cameras stand where their angles say, and frame what they are given."""

from __future__ import annotations

import numpy as np
import pytest

from serve_app.media import cameras
from serve_app.media.meshes import Mesh
from serve_app.media.rendering import Camera


def cloud(points: np.ndarray) -> Mesh:
    count = len(points) // 3 * 3
    return Mesh(points.astype(np.float32), np.arange(count, dtype=np.int32).reshape(-1, 3))


def test_the_ring_goes_from_z_over_x_around() -> None:
    eyes = [camera.eye for camera in cameras.ring(distance=2.0, elevation_deg=30.0, azimuths_deg=(0, 90, 180))]
    flat, high = 2 * np.sqrt(3) / 2, 1.0
    np.testing.assert_allclose(eyes, [(0, high, flat), (flat, high, 0), (0, high, -flat)], atol=1e-12)


def test_a_camera_sees_x_to_its_right_from_the_front() -> None:
    axes = cameras.basis(Camera((0, 0, 2)))
    np.testing.assert_allclose(axes.seen(np.array([[0.5, 0.25, 0.0]])), [[0.5, 0.25, 2.0]], atol=1e-12)
    assert axes.half == pytest.approx(np.tan(np.pi / 6))


@pytest.mark.parametrize("eye", [(0, 2, 0), (0, -3, 0)])
def test_a_camera_may_look_straight_down_or_up(eye: tuple[float, float, float]) -> None:
    rotation = cameras.basis(Camera(eye)).rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(rotation[0], (1, 0, 0), atol=1e-12)


@pytest.mark.parametrize("stretch", [(1, 1, 1), (5, 0.2, 1), (0.1, 3, 0.1), (1, 0, 1)])
@pytest.mark.parametrize("angles", [(35, 25), (0, 0), (200, -40), (0, 90)])
def test_a_framed_mesh_is_centred_and_spans_the_share_asked_for(
    stretch: tuple[float, float, float], angles: tuple[float, float]
) -> None:
    points = np.random.default_rng(3).normal(size=(300, 3)) * stretch
    camera = cameras.framed(cloud(points), *angles, field_deg=40.0, filled=0.8)
    axes = cameras.basis(camera)
    x, y, z = axes.seen(points).T
    assert z.min() > 0
    for across in (x / z / axes.half, y / z / axes.half):
        assert across.max() == pytest.approx(-across.min(), abs=1e-4)
    widest = max(np.ptp(x / z), np.ptp(y / z)) / (2 * axes.half)
    assert widest == pytest.approx(0.8, abs=1e-3)
