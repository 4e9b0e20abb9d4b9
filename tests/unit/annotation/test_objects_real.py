"""Real networks on real photographs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from serve_app.annotation.labels import Label
from serve_app.annotation.objects import ObjectDetector
from serve_app.models.manifest import Detector, load_manifest
from serve_app.models.sessions import open_session

Detect = Callable[[Path], list[Label]]


RTMDET = Detector(
    input=(320, 320), resize="letterbox", pad=114, colour="bgr", mean=(103.53, 116.28, 123.675),
    std=(57.375, 57.12, 58.395), layout="dets_labels", labels=["person"], threshold=0.4, nms_iou=0.6,
)  # fmt: skip
ULTRALIGHT = Detector(
    input=(480, 640), resize="stretch", colour="rgb", mean=(127, 127, 127), std=(128, 128, 128),
    layout="scores_boxes", labels=["face"], threshold=0.7, nms_iou=0.3,
)  # fmt: skip


def shipped(name: str) -> Detector:
    detector = load_manifest().models[name].detector
    assert detector is not None
    return detector


def detect_with(network: Path, spec: Detector) -> Detect:
    if not network.is_file():
        pytest.skip(f"no network at {network}")
    assert isinstance(spec.labels, list)
    detector = ObjectDetector(spec, spec.labels, open_session(network, 1))

    def detect(path: Path) -> list[Label]:
        prepared = detector.prepare(path.read_bytes())
        return detector.finish(detector.run([prepared.tensor])[0], prepared.geometry)

    return detect


def photographs(shared: Path) -> Iterator[tuple[Path, set[str]]]:
    """The COCO photographs and the classes that their annotators saw."""
    for line in (shared / "media" / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines():
        path, _, _, _, truth = line.split("\t")[:5]
        if path.startswith("images/coco_"):
            names = truth.split("|")[0].removeprefix("COCO labels:").split(";")
            yield shared / "media" / path, {re.sub(r" x\d+$", "", name.strip()) for name in names}


def test_fastestdet_on_coco_photographs(shared: Path) -> None:
    detect = detect_with(shared / "weights" / "fastestdet" / "FastestDet.onnx", shipped("fastestdet"))
    right = claimed = present = 0
    for path, truth in photographs(shared):
        seen = {label.label for label in detect(path)}
        right, claimed, present = right + len(seen & truth), claimed + len(seen), present + len(truth)
    assert right / claimed > 0.65
    assert right / present > 0.45


def test_rtmdet_finds_people(shared: Path) -> None:
    detect = detect_with(shared / "weights" / "rtmdet_nano_person" / "end2end.onnx", RTMDET)
    images = shared / "media" / "images"
    (astronaut,) = detect(images / "astronaut.png")
    x1, y1, x2, y2 = astronaut.box or (0, 0, 0, 0)
    assert x1 < 181 < 268 < x2  # she fills the picture from the hair down; the face is at 181..268, 62..172
    assert y1 < 62 < 172 < y2 <= 512
    right = [("person" in truth) == bool(detect(path)) for path, truth in photographs(shared)]
    assert np.mean(right) > 0.75


def test_ultralight_finds_faces(shared: Path) -> None:
    network = shared / "weights" / "ultralight_face" / "version-RFB-640.onnx"
    detect = detect_with(network, ULTRALIGHT)
    faces = shared / "media" / "faces"
    assert len(detect(faces / "barack_obama" / "obama.jpg")) == 1
    assert len(detect(faces / "multi" / "two_people_obama_biden.jpg")) == 2
    assert detect(shared / "media" / "images" / "gecko-320-213.jpg") == []
