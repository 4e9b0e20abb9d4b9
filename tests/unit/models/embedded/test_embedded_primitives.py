"""Meshes of solids, and their portraits: what they are called is what they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from serve_app.media.meshes import Mesh
from serve_app.models.embedded.backgrounds import SURFACES
from serve_app.models.embedded.portraits import portrait
from serve_app.models.embedded.primitives import primitive, solid
from serve_app.models.embedded.scenes import DETECTOR_MIX, MESHES_MIX, generate
from serve_app.models.embedded.solids import EVERYDAY, SOLIDS

SIDE = 64


def _meshes(shape: str, count: int = 8) -> list[Mesh]:
    return [solid(np.random.default_rng([3, number]), shape, SURFACES) for number in range(count)]


def _sides(vertices: np.ndarray) -> np.ndarray:
    """Of a box, along its axes: half a side is the deviation of its corners there."""
    return 2 * np.sqrt(np.linalg.eigvalsh(np.cov(vertices.T, bias=True)))


@pytest.mark.parametrize("shape", [*SOLIDS, *EVERYDAY])
def test_meshes_are_normalised_and_whole(shape: str) -> None:
    for mesh in _meshes(shape):
        assert (mesh.vertices.dtype, mesh.faces.dtype) == (np.float32, np.int32)
        assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(1, abs=1e-5)
        assert mesh.vertices.min(axis=0) == pytest.approx(-mesh.vertices.max(axis=0), abs=1e-5)
        assert mesh.faces.min() >= 0
        assert mesh.faces.max() < len(mesh.vertices)
        if mesh.normals is not None:
            assert mesh.normals.shape == (len(mesh.faces), 3, 3)
            assert np.linalg.norm(mesh.normals, axis=2) == pytest.approx(1, abs=1e-5)
        assert (mesh.uvs is not None) == (mesh.materials[0].texture is not None)


def test_meshes_come_in_many_kinds() -> None:
    meshes = _meshes("cylinder", 40)
    assert {mesh.normals is None for mesh in meshes} == {True, False}
    assert {mesh.uvs is None for mesh in meshes} == {True, False}
    assert {mesh.colours is None for mesh in meshes} == {True, False}
    assert len({len(mesh.faces) for mesh in meshes}) > 8


def test_a_box_is_a_cube_up_to_one_to_two() -> None:
    ratios = []
    for number in range(60):
        vertices, _ = primitive(np.random.default_rng(number), "cube")
        low, _, high = _sides(vertices)
        ratios.append(high / low)
    assert 1.6 < max(ratios) <= 2 + 1e-6
    assert min(ratios) == pytest.approx(1, abs=1e-6)


def test_solids_are_what_they_are_called() -> None:
    for mesh in _meshes("sphere"):
        assert np.linalg.norm(mesh.vertices, axis=1).min() > 0.97
    for mesh in _meshes("torus"):
        assert np.linalg.norm(mesh.vertices, axis=1).min() > 0.2, "there is a hole in the middle"
    for mesh in _meshes("pyramid"):
        assert len(np.unique(mesh.vertices.round(5), axis=0)) in (5, 6), "a tip, four corners, perhaps their middle"
    for shape, most in (("cube", 8), ("cylinder", 100), ("cone", 52)):
        assert all(len(np.unique(mesh.vertices.round(5), axis=0)) <= most for mesh in _meshes(shape))


def test_one_in_three_stands_upright() -> None:
    upright = []
    for mesh in _meshes("cone", 90):
        lowest = np.isclose(mesh.vertices[:, 1], mesh.vertices[:, 1].min(), atol=1e-4)
        upright.append(lowest.sum() > 12)  # the whole rim of its base
    assert 0.2 < np.mean(upright) < 0.47


def test_a_portrait_lies_in_its_box() -> None:
    plain = 0
    for number in range(14):
        shown = portrait(np.random.default_rng(number), SIDE)
        x1, y1, x2, y2 = shown.box
        assert shown.shape in (*SOLIDS, *EVERYDAY)
        assert 0 <= x1 < x2 <= SIDE
        assert 0 <= y1 < y2 <= SIDE
        around = np.ones((SIDE, SIDE), bool)
        around[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = False
        outside = shown.pixels[around]
        if len(outside) and np.ptp(shown.pixels[[0, 0, -1, -1], [0, -1, 0, -1]], axis=0).max() == 0:
            plain += 1
            assert np.ptp(outside, axis=0).max() == 0
            inside = shown.pixels[~around].astype(int) - outside[0]
            assert np.abs(inside).max() > 20, "and the mesh shows"
    assert plain >= 7


def test_portraits_come_beside_the_scenes_and_change_none() -> None:
    mix = replace(MESHES_MIX, portraits=0.5)
    kinds = [np.random.default_rng([4, index]).random() for index in range(12)]
    for index, kind in enumerate(kinds):
        scene = generate(4, index, SIDE, mix)
        if kind >= 0.5:
            assert (len(scene.boxes), len(scene.labels)) == (1, 1)
        else:
            assert np.array_equal(scene.pixels, generate(4, index, SIDE, DETECTOR_MIX).pixels)
    assert {kind >= 0.5 for kind in kinds} == {True, False}
