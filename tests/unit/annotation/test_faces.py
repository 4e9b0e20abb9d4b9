"""MTCNN on real faces; the astronaut and the coffee come with scikit-image."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from serve_app.annotation.faces import Face, FaceDetector, find_faces, load_faces
from serve_app.annotation.labels import FoundFace, Label
from serve_app.annotation.objects import ObjectDetector
from serve_app.errors import Problem
from serve_app.media.images import Picture
from serve_app.models.manifest import Detector, load_manifest
from serve_app.models.sessions import open_session
from serve_app.models.store import Store

PHOTOGRAPHS = Path(skimage.__file__).parent / "data"
ASTRONAUT = (177, 70, 272, 170)
"""Her face in astronaut.png, read off the picture by eye: hairline to chin, cheek to cheek."""

LANDMARKS = [(203, 101), (247, 103), (224, 127), (204, 140), (245, 141)]
"""Pupils, tip of the nose and corners of the mouth in astronaut.png, read off it by eye on a grid of 10 pixels."""


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> FaceDetector:
    model = load_manifest().models["mtcnn"]
    loaded = load_faces(model, Store(tmp_path_factory.mktemp("home")).locate(model), threads=1)
    assert isinstance(loaded, FaceDetector)
    return loaded


def find(detector: FaceDetector, data: bytes) -> list[Label]:
    searched = detector.prepare(data)
    (faces,) = detector.run([searched.tensor])
    assert isinstance(faces, list)
    return detector.finish(faces, searched.geometry)


def overlap(one: tuple[float, ...] | None, other: tuple[float, ...]) -> float:
    assert one is not None
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)


def test_one_astronaut(detector: FaceDetector) -> None:
    data = (PHOTOGRAPHS / "astronaut.png").read_bytes()
    (label,) = find(detector, data)
    assert label.label == "unknown"
    assert label.confidence > 0.99
    assert overlap(label.box, ASTRONAUT) > 0.6


def test_landmarks_lie_in_the_face_in_their_order(detector: FaceDetector) -> None:
    pixels = np.asarray(Image.open(PHOTOGRAPHS / "astronaut.png").convert("RGB"))
    (faces,) = detector.run([pixels])
    assert isinstance(faces, list)
    left_eye, right_eye, nose, left_mouth, right_mouth = faces[0].landmarks
    x1, y1, x2, y2 = faces[0].box
    assert x1 < left_eye[0] < right_eye[0] < x2
    assert left_mouth[0] < right_mouth[0]
    assert y1 < max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1]) < y2


@pytest.mark.parametrize("name", ["coffee.png", "chelsea.png", "rocket.jpg", "page.png", "brick.png"])
def test_no_faces_where_there_are_none(detector: FaceDetector, name: str) -> None:
    assert find(detector, (PHOTOGRAPHS / name).read_bytes()) == []


def test_boxes_of_a_large_turned_picture_are_in_its_upright_pixels(detector: FaceDetector) -> None:
    with Image.open(PHOTOGRAPHS / "astronaut.png") as original:
        large = original.convert("RGB").resize((3072, 3072))
    exif = Image.Exif()
    exif[0x0112] = 8
    buffer = io.BytesIO()
    large.transpose(Image.Transpose.ROTATE_270).save(buffer, "JPEG", exif=exif, quality=90)
    (label,) = find(detector, buffer.getvalue())
    assert overlap(label.box, tuple(6 * side for side in ASTRONAUT)) > 0.6


@pytest.mark.parametrize("size", [(1, 1), (19, 500), (500, 19), (20, 20), (20, 2000), (21, 21), (40, 300)])
def test_tiny_and_flat_pictures_have_no_faces(detector: FaceDetector, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert detector.run([noise, np.zeros_like(noise), np.full_like(noise, 255)]) == [[], [], []]


def test_one_bad_picture_raises_for_itself_only(detector: FaceDetector) -> None:
    good = np.asarray(Image.open(PHOTOGRAPHS / "astronaut.png").convert("RGB"))
    first, bad, flat, last = detector.run([good, good[..., :1], good[:5], good[:300, 100:400]])
    assert isinstance(bad, ValueError)
    assert isinstance(first, list)
    assert isinstance(last, list)
    assert (len(first), flat, len(last)) == (1, [], 1)
    assert overlap(tuple(np.add(last[0].box, [100, 0, 100, 0])), tuple(first[0].box)) > 0.8


def test_boxes_are_clipped_to_the_picture(detector: FaceDetector) -> None:
    picture = Picture(np.zeros((50, 100, 3), np.uint8), 200, 100)
    marks = np.zeros((5, 2), np.float32)
    faces = [Face(np.array(box, np.float32), 0.95, marks) for box in ([-5, -5, 20, 60], [110, 0, 120, 10])]
    assert detector.finish(faces, picture) == [Label("unknown", 0.95, (0, 0, 40, 100))]


def test_damaged_crops_never_break_the_cascade(detector: FaceDetector) -> None:
    dice = np.random.default_rng(1)
    pixels = np.asarray(Image.open(PHOTOGRAPHS / "astronaut.png").convert("RGB"))
    crops = []
    for _ in range(60):
        top, left, height, width = dice.integers((20, 150, 20, 20), (120, 250, 90, 90))
        crops.append(np.ascontiguousarray(pixels[top : top + height, left : left + width]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(isinstance(faces, list) for faces in detector.run(crops))


def test_found_faces_have_their_landmarks_in_pixels_of_the_full_picture(detector: FaceDetector) -> None:
    with Image.open(PHOTOGRAPHS / "astronaut.png") as original:
        large = original.convert("RGB").resize((2048, 1536))
    buffer = io.BytesIO()
    large.save(buffer, "PNG")
    searched = detector.prepare(buffer.getvalue())
    (faces,) = detector.run([searched.tensor])
    assert isinstance(faces, list)
    (face,) = find_faces(detector, faces, searched.geometry)
    labels = detector.finish(faces, searched.geometry)
    assert labels == [Label("unknown", face.confidence, face.box)]
    assert np.abs(np.array(face.landmarks) / [4, 3] - LANDMARKS).max() < 5


def test_the_best_face_comes_first(detector: FaceDetector) -> None:
    picture = Picture(np.zeros((50, 100, 3), np.uint8), 100, 50)
    pixels = np.asarray(Image.open(PHOTOGRAPHS / "astronaut.png").convert("RGB"))
    two = np.concatenate([pixels, np.asarray(Image.fromarray(pixels).rotate(20))], axis=1)
    (faces,) = detector.run([two])
    assert isinstance(faces, list)
    confidences = [face.confidence for face in faces]
    assert len(confidences) == 2
    assert confidences == sorted(confidences, reverse=True)
    assert [face.confidence for face in detector.find(faces, Picture(two, 1024, 512))] == confidences
    assert detector.find([], picture) == []


def test_of_more_faces_the_best_are_kept(detector: FaceDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.asarray(Image.open(PHOTOGRAPHS / "astronaut.png").convert("RGB"))
    three = np.concatenate([np.asarray(Image.fromarray(pixels).rotate(turn)) for turn in (0, 15, 25)], axis=1)
    (faces,) = detector.run([three])
    assert isinstance(faces, list)
    monkeypatch.setattr("serve_app.annotation.faces.MAX_FACES", 2)
    (best,) = detector.run([three])
    assert isinstance(best, list)
    assert len(faces) == 3
    assert [face.confidence for face in best] == [face.confidence for face in faces[:2]]


def test_a_detector_without_landmarks_finds_faces_too(detector: FaceDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    label = Label("unknown", 0.8, (1, 2, 3, 4))
    monkeypatch.setattr(ObjectDetector, "finish", lambda self, outputs, geometry: [label])
    other = ObjectDetector.__new__(ObjectDetector)
    assert find_faces(other, [], None) == [FoundFace((1, 2, 3, 4), 0.8, ())]


def test_what_cannot_be_decoded_is_a_problem(detector: FaceDetector) -> None:
    with pytest.raises(Problem):
        detector.prepare(b"\xff\xd8\xff\xe0")


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("barack_obama/obama.jpg", 1),
        ("barack_obama/obama2.jpg", 1),
        ("barack_obama/obama_720p_letterboxed.jpg", 1),
        ("barack_obama/obama_partial_face.jpg", 1),
        ("joe_biden/biden.jpg", 1),
        ("multi/two_people_obama_biden.jpg", 2),
    ],
)
def test_real_people(detector: FaceDetector, shared: Path, path: str, count: int) -> None:
    labels = find(detector, (shared / "media" / "faces" / path).read_bytes())
    assert len(labels) == count
    assert all(label.confidence > 0.99 for label in labels)


def test_another_network_sees_the_astronaut_in_the_same_place(detector: FaceDetector, shared: Path) -> None:
    network = shared / "weights" / "ultralight_face" / "version-RFB-640.onnx"
    if not network.is_file():
        pytest.skip(f"no network at {network}")
    spec = Detector(
        input=(480, 640), resize="stretch", colour="rgb", mean=(127, 127, 127), std=(128, 128, 128),
        layout="scores_boxes", labels=["face"], threshold=0.7, nms_iou=0.3,
    )  # fmt: skip
    other = ObjectDetector(spec, ["face"], open_session(network, 1))
    paths = [PHOTOGRAPHS / "astronaut.png", *sorted((shared / "media" / "faces").rglob("obama*.jpg"))[:2]]
    for path in paths:
        prepared = other.prepare(path.read_bytes())
        (theirs,) = other.finish(other.run([prepared.tensor])[0], prepared.geometry)
        (ours,) = find(detector, path.read_bytes())
        assert overlap(ours.box, theirs.box or ()) > 0.5
