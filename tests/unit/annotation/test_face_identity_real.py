"""Detector, alignment and dlib's descriptor together tell real people apart, at the threshold of the shipped row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from serve_app.annotation.descriptor import FaceDescriptor, Prepared, load_descriptor
from serve_app.annotation.faces import FaceDetector, find_faces, load_faces
from serve_app.annotation.labels import FoundFace
from serve_app.models.manifest import Descriptor, Manifest, load_manifest
from serve_app.models.pull import convert_shipped
from serve_app.models.store import Store

Vector = NDArray[np.float32]
PICTURES = (
    "barack_obama/obama", "barack_obama/obama2", "barack_obama/obama_720p_letterboxed",
    "barack_obama/obama_partial_face", "joe_biden/biden", "multi/two_people_obama_biden", "unknown/coral_face",
)  # fmt: skip


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest()


@pytest.fixture(scope="module")
def spec(manifest: Manifest) -> Descriptor:
    assert manifest.models["dlib-face"].descriptor is not None
    return manifest.models["dlib-face"].descriptor


@pytest.fixture(scope="module")
def descriptor(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> FaceDescriptor:
    row, store = manifest.models["dlib-face"], Store(tmp_path_factory.mktemp("home"))
    convert_shipped(store, row)
    return load_descriptor(row, store.locate(row), threads=1)


@pytest.fixture(scope="module")
def prepared(shared: Path, manifest: Manifest, descriptor: FaceDescriptor) -> dict[str, list[Prepared]]:
    """The faces of each picture from left to right."""
    row = manifest.models["mtcnn"]
    detector = load_faces(row, Store(Path("nowhere")).locate(row), threads=1)
    assert isinstance(detector, FaceDetector)
    pictures = {name: (shared / "media" / "faces" / f"{name}.jpg").read_bytes() for name in PICTURES}
    return {name.partition("/")[2]: descriptor.prepare(data, found(detector, data)) for name, data in pictures.items()}


def found(detector: FaceDetector, data: bytes) -> list[FoundFace]:
    searched = detector.prepare(data)
    (faces,) = detector.run([searched.tensor])
    assert not isinstance(faces, Exception)
    return sorted(find_faces(detector, faces, searched.geometry), key=lambda face: face.box)


@pytest.fixture(scope="module")
def vectors(prepared: dict[str, list[Prepared]], descriptor: FaceDescriptor) -> dict[str, list[Vector]]:
    return {name: [vector(descriptor, face) for face in faces] for name, faces in prepared.items()}


def vector(descriptor: FaceDescriptor, face: Prepared) -> Vector:
    return descriptor.finish(descriptor.run([face.tensor])[0])


@pytest.fixture(scope="module")
def people(vectors: dict[str, list[Vector]]) -> dict[str, Vector]:
    """A gallery: one picture of Biden, the mean of two of Obama."""
    mean = np.mean([vectors["obama"][0], vectors["obama2"][0]], 0)
    return {"obama": mean / np.linalg.norm(mean), "biden": vectors["biden"][0]}


def nearest(face: Vector, people: dict[str, Vector]) -> tuple[str, float]:
    distances = {name: float(np.linalg.norm(face - prototype)) for name, prototype in people.items()}
    name = min(distances, key=lambda name: distances[name])
    return name, distances[name]


def test_every_face_is_there(vectors: dict[str, list[Vector]]) -> None:
    counts = {name: len(faces) for name, faces in vectors.items()}
    assert counts == {
        "obama": 1, "obama2": 1, "obama_720p_letterboxed": 1, "obama_partial_face": 1, "biden": 1,
        "two_people_obama_biden": 2, "coral_face": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("picture", "number", "name"),
    [
        ("two_people_obama_biden", 0, "obama"),
        ("two_people_obama_biden", 1, "biden"),
        ("obama_720p_letterboxed", 0, "obama"),
    ],
)
def test_known_people_are_known_in_other_pictures(
    vectors: dict[str, list[Vector]], people: dict[str, Vector], spec: Descriptor, picture: str, number: int, name: str
) -> None:
    who, distance = nearest(vectors[picture][number], people)
    assert who == name
    assert distance < 0.75 * spec.threshold(1)


def test_strangers_are_unknown(vectors: dict[str, list[Vector]], people: dict[str, Vector], spec: Descriptor) -> None:
    assert min(nearest(face, people)[1] for face in vectors["coral_face"]) > spec.threshold(1)


def test_two_people_are_further_apart_than_the_threshold(vectors: dict[str, list[Vector]], spec: Descriptor) -> None:
    left, right = vectors["two_people_obama_biden"]
    assert np.linalg.norm(left - right) > spec.threshold(1) + 0.1
    assert np.linalg.norm(vectors["obama"][0] - vectors["obama2"][0]) < spec.threshold(1) - 0.1


def test_half_a_face_is_nearer_to_its_own_than_to_others(
    vectors: dict[str, list[Vector]], people: dict[str, Vector]
) -> None:
    assert nearest(vectors["obama_partial_face"][0], people)[0] == "obama"


def test_kept_crops_tell_the_same(
    prepared: dict[str, list[Prepared]], vectors: dict[str, list[Vector]], descriptor: FaceDescriptor
) -> None:
    """A gallery may be described again from its crops alone."""
    for name in ("obama", "obama2", "biden", "two_people_obama_biden"):
        for face, before in zip(prepared[name], vectors[name], strict=True):
            (again,) = descriptor.prepare(face.kept.picture, [face.kept.face])
            assert np.linalg.norm(vector(descriptor, again) - before) < 0.1
