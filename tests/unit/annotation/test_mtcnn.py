"""The cascade against facenet-pytorch's on the same pictures: the same faces, to a small part of a pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import torch
from facenet_pytorch import MTCNN
from numpy.typing import NDArray
from PIL import Image

import serve_app.annotation.mtcnn as mtcnn
from serve_app.annotation.faces import MIN_FACE
from serve_app.annotation.mtcnn import Cascade, Found
from serve_app.annotation.pyramid import PIECE, piece
from serve_app.media import images
from serve_app.models import public
from serve_app.models.sessions import open_session

Pixels = NDArray[np.uint8]
Reference = Callable[[Pixels], Found]
PHOTOGRAPHS = Path(skimage.__file__).parent / "data"
WEIGHTS = Path(public.__file__).parent


def cascade(**options: Any) -> Cascade:
    pnet, rnet, onet = (open_session(WEIGHTS / f"{name}.onnx", 1) for name in ("pnet", "rnet", "onet"))
    return Cascade(pnet, rnet, onet, MIN_FACE, **options)


@pytest.fixture(scope="module")
def ours() -> Cascade:
    return cascade()


@pytest.fixture(scope="module")
def reference() -> Reference:
    """facenet-pytorch on one picture, its faces best first."""
    torch.set_num_threads(1)  # its many small calls cost more on two cores
    theirs = MTCNN(keep_all=True, min_face_size=MIN_FACE, device=torch.device("cpu")).eval()

    def find(pixels: Pixels) -> Found:
        boxes, scores, landmarks = theirs.detect(pixels, landmarks=True)
        if boxes is None:
            return Found(np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2)))
        order = np.argsort(-np.asarray(scores, np.float32), kind="stable")
        return Found(*(np.asarray(each, np.float32)[order] for each in (boxes, scores, landmarks)))

    return find


@pytest.fixture(scope="module")
def astronaut() -> Pixels:
    return np.asarray(Image.open(PHOTOGRAPHS / "astronaut.png").convert("RGB"))


def same(found: Found, expected: Found, pixels: float = 0.01) -> None:
    assert found.corners.shape == expected.corners.shape
    np.testing.assert_allclose(found.corners, expected.corners, atol=pixels)
    np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=pixels)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


def scaled(pixels: Pixels, width: int, height: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((width, height)))


@pytest.mark.parametrize("size", [(512, 512), (301, 277), (700, 433), (80, 80), (121, 64)])
def test_the_same_faces_at_any_size(
    ours: Cascade, reference: Reference, astronaut: Pixels, size: tuple[int, int]
) -> None:
    picture = scaled(astronaut, *size)
    expected = reference(picture)
    assert len(expected.corners) or min(size) < 100
    same(ours.run([picture])[0], expected)


@pytest.mark.parametrize("cut", [(60, 190, 180, 400), (95, 185, 300, 301), (60, 215, 211, 333), (0, 100, 150, 251)])
def test_the_same_faces_cut_by_the_border(
    ours: Cascade, reference: Reference, astronaut: Pixels, cut: tuple[int, int, int, int]
) -> None:
    top, left, bottom, right = cut
    picture = np.ascontiguousarray(astronaut[top:bottom, left:right])
    expected = reference(picture)
    assert len(expected.corners) == 1
    same(ours.run([picture])[0], expected)


def test_a_crowd_in_one_picture(ours: Cascade, reference: Reference, astronaut: Pixels) -> None:
    face = astronaut[40:200, 150:300]
    sides = [25, 38, 57, 86, 129, 190]
    crowd = np.full((400, 640, 3), 90, np.uint8)
    left = 0
    for side in sides:
        crowd[10 : 10 + side, left : left + side] = scaled(face, side, side)
        crowd[205 : 205 + side, left : left + side] = scaled(face[:, ::-1], side, side)
        left += side + 8
    expected = reference(crowd)
    assert len(expected.corners) >= 8
    same(ours.run([crowd])[0], expected)


def test_each_picture_of_a_mixed_batch_gets_its_own_faces(ours: Cascade, astronaut: Pixels) -> None:
    plain = np.full((100, 300, 3), 128, np.uint8)
    noise = np.random.default_rng(3).integers(0, 256, (150, 90, 3), np.uint8)
    batch = [scaled(astronaut, 256, 200), plain, astronaut, plain[:19], noise, scaled(astronaut, 90, 120), astronaut]
    together = ours.run(batch)
    for found, picture in zip(together, batch, strict=True):
        same(found, ours.run([picture])[0], 1e-3)
    assert [len(found.corners) for found in together] == [1, 0, 1, 0, 0, 1, 1]


@pytest.mark.parametrize("options", [{"threads": 3}, {"on_gpu": True}, {"threads": 2, "on_gpu": True}])
def test_threads_and_larger_calls_change_nothing(ours: Cascade, astronaut: Pixels, options: dict[str, Any]) -> None:
    batch = [scaled(astronaut, 300, 200), astronaut, scaled(astronaut, 131, 170), np.zeros((12, 9, 3), np.uint8)]
    for found, expected in zip(cascade(**options).run(batch), ours.run(batch), strict=True):
        same(found, expected, 1e-3)


def test_no_pictures(ours: Cascade) -> None:
    assert ours.run([]) == []


def test_large_batches_go_in_passes(ours: Cascade, astronaut: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    whole = Cascade._pass

    def watched(self: Cascade, pictures: list[Pixels]) -> list[Found]:
        sizes.append(len(pictures))
        return whole(self, pictures)

    monkeypatch.setattr(mtcnn, "PASS_PIXELS", 30_000)
    monkeypatch.setattr(Cascade, "_pass", watched)
    small = scaled(astronaut, 100, 100)
    found = ours.run([small, small, small, small, astronaut, small])
    assert sizes == [3, 1, 1, 1]
    assert [len(each.corners) for each in found] == [1] * 6


def test_what_noise_may_cost_is_bounded(ours: Cascade, monkeypatch: pytest.MonkeyPatch, astronaut: Pixels) -> None:
    seen: list[int] = []
    whole = Cascade._look

    def watched(self: Cascade, network: Any, tables: Any, boxes: Any, *rest: Any) -> Any:
        seen.append(len(boxes.picture))
        return whole(self, network, tables, boxes, *rest)

    monkeypatch.setattr(Cascade, "_look", watched)
    ours.run([astronaut, astronaut])
    free = seen[0]
    monkeypatch.setattr(mtcnn, "MOST_PROPOSALS", 5)
    seen.clear()
    ours.run([astronaut, astronaut])
    assert free > 20
    assert all(count <= 10 for count in seen)


def test_tiles_have_few_shapes() -> None:
    pieces = {piece(windows) for windows in range(1, 2000)}
    assert pieces == {16, 32, 48, 64, 80, 96}
    assert all(piece(windows) * -(-windows // PIECE) >= windows for windows in range(1, 2000))


REAL = ["faces/**/*.jpg", "images/astronaut.png", "images/coco_000000256353.jpg", "images/coco_000000000790.jpg"]


@pytest.mark.parametrize("pattern", REAL)
def test_the_same_faces_on_real_pictures(ours: Cascade, reference: Reference, shared: Path, pattern: str) -> None:
    paths = sorted((shared / "media").glob(pattern))
    assert paths
    pictures = [images.decode(path.read_bytes(), max_side=400).pixels for path in paths]
    expected = [reference(picture) for picture in pictures]
    assert sum(len(each.corners) for each in expected) >= 1
    for found, wanted in zip(ours.run(pictures), expected, strict=True):
        same(found, wanted)
