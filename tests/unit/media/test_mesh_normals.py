"""Normals of meshes that come without: smooth where they should be, sharp at edges, in bounded time."""

from __future__ import annotations

import time

import numpy as np
import pytest
import trimesh

from serve_app.media.mesh_normals import crease_normals, face_normals, places
from tests import meshes


def test_a_box_is_flat_and_a_sphere_smooth() -> None:
    box = meshes.solid("box")
    flat = face_normals(box.vertices, box.faces)
    assert crease_normals(box.vertices, box.faces) == pytest.approx(np.repeat(flat[:, None], 3, axis=1))
    sphere = meshes.solid("sphere")
    normals = crease_normals(sphere.vertices, sphere.faces)
    assert normals == pytest.approx(sphere.vertices[sphere.faces], abs=0.01)


def test_smooth_normals_are_those_of_trimesh() -> None:
    torus = meshes.solid("torus", major_sections=64, minor_sections=48)
    expected = trimesh.geometry.weighted_vertex_normals(
        len(torus.vertices), torus.faces, torus.face_normals, torus.face_angles
    )
    assert crease_normals(torus.vertices, torus.faces) == pytest.approx(expected[torus.faces], abs=1e-6)


def test_a_cylinder_is_smooth_around_and_sharp_at_its_rims() -> None:
    cylinder = meshes.solid("cylinder", sections=32)
    normals = crease_normals(cylinder.vertices, cylinder.faces)
    lids = np.abs(cylinder.face_normals[:, 1]) > 0.9
    assert np.abs(normals[lids][:, :, 1]) == pytest.approx(1)
    around = cylinder.vertices[cylinder.faces[~lids]] * (1, 0, 1)
    assert normals[~lids] == pytest.approx(around / 0.5, abs=1e-6)


def test_edges_are_sharp_from_45_degrees_on() -> None:
    for sections, sharp in ((10, False), (8, True), (7, True)):
        prism = meshes.solid("cylinder", sections=sections)
        sides = np.abs(prism.face_normals[:, 1]) < 0.1
        normals = crease_normals(prism.vertices, prism.faces)[sides]
        flat = np.allclose(normals, prism.face_normals[sides][:, None], atol=1e-6)
        assert flat == sharp, sections


def test_corners_at_one_place_count_as_one_vertex() -> None:
    sphere = meshes.solid("sphere")
    soup = sphere.vertices[sphere.faces].reshape(-1, 3)
    faces = np.arange(len(soup)).reshape(-1, 3)
    assert crease_normals(soup, faces) == pytest.approx(crease_normals(sphere.vertices, sphere.faces))
    first, place = places(soup)
    assert len(first) == len(sphere.vertices)
    assert np.array_equal(soup[first][place], soup)


def test_zero_with_a_sign_is_zero() -> None:
    assert len(places(np.array([(0.0, 1, 2), (-0.0, 1, 2), (0, 1, 3)]))[0]) == 2


def test_a_fan_of_ten_thousand_faces_takes_no_longer() -> None:
    """Comparing the faces at its hub pairwise would take a hundred million comparisons."""
    cone = trimesh.creation.cone(radius=1, height=0.2, sections=10_000)
    start = time.process_time()
    normals = crease_normals(cone.vertices, cone.faces)
    assert time.process_time() - start < 2
    assert np.linalg.norm(normals, axis=2) == pytest.approx(1)


def test_triangles_without_area_spoil_nothing() -> None:
    vertices = np.array([(0.0, 0, 0), (1, 0, 0), (0, 1, 0), (2, 0, 0)])
    normals = crease_normals(vertices, np.array([(0, 1, 2), (0, 1, 3), (0, 0, 0)]))
    assert normals[0] == pytest.approx(np.tile((0, 0, 1), (3, 1)))
    assert np.isfinite(normals).all()
