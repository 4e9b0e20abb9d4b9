"""dlib's face network: what it says is what dlib says, anything else than its file is refused, no network is asked.

``golden/dlib_descriptors.npz`` holds what dlib 20.0.1 (``face_recognition_model_v1.compute_face_descriptor``) gives on
the pictures of :func:`chips`; the numbers of :func:`test_the_template_is_dlibs_mean_face` come from its
``get_face_chip_details``.
"""

from __future__ import annotations

import cmath
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serve_app.annotation.descriptor import FaceDescriptor, load_descriptor
from serve_app.models.dlib_checkpoint import read_dlib_face
from serve_app.models.dlib_face import FACE, convert_dlib_face
from serve_app.models.fetch import Limits
from serve_app.models.manifest import Model, UnusableFile, load_manifest
from serve_app.models.pull import PullError, convert_shipped, pull
from serve_app.models.store import Store

GOLDEN = Path(__file__).parent / "golden" / "dlib_descriptors.npz"
DAT = "dlib_face_recognition_resnet_model_v1.dat"


@pytest.fixture(scope="module")
def row() -> Model:
    return load_manifest().models["dlib-face"]


@pytest.fixture(scope="module")
def published(row: Model) -> Path:
    """The file inside the package."""
    return Store(Path("nowhere")).path(row, "checkpoint")


@pytest.fixture(scope="module")
def home(row: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights where the network has been converted."""
    home = tmp_path_factory.mktemp("home")
    convert_shipped(Store(home), row)
    return home


@pytest.fixture(scope="module")
def descriptor(row: Model, home: Path) -> FaceDescriptor:
    return load_descriptor(row, Store(home).locate(row), threads=1)


def chips() -> list[NDArray[np.uint8]]:
    """Pictures of 150x150 that anybody can draw again: colours that ramp, noise, black, white and a face."""
    from skimage.data import astronaut

    y, x = np.mgrid[:150, :150]
    ramp = np.stack([x * 255 // 149, y * 255 // 149, (x + y) * 255 // 298], -1).astype(np.uint8)
    noise = np.random.default_rng(7).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    plain = [np.full((150, 150, 3), level, np.uint8) for level in (0, 255)]
    return [ramp, noise, *plain, astronaut()[20:170, 150:300]]


def test_it_says_what_dlib_says(descriptor: FaceDescriptor) -> None:
    expected = np.load(GOLDEN, allow_pickle=False)["descriptors"]
    np.testing.assert_allclose(descriptor.run(chips()), expected, rtol=0, atol=1e-5)


def test_a_batch_says_what_each_face_says_alone(descriptor: FaceDescriptor) -> None:
    alone = np.concatenate([descriptor.run([chip]) for chip in chips()])
    np.testing.assert_allclose(descriptor.run(chips()), alone, rtol=0, atol=1e-5)


def test_the_template_is_dlibs_mean_face(row: Model) -> None:
    """dlib's mean face, 40000 pixels large and turned by 0.3, and the rectangle that dlib cuts out of it for a chip."""
    left, top, right, bottom = 83196.88019113094, 75017.6380128919, 143195.7713563285, 135016.5291780895
    angle = 0.299998625790413
    eyes_nose_mouth = [
        106063.6 + 90919.2j, 126288.9 + 97175.6j, 112634.3 + 105497.5j, 100488.9 + 112819.6j, 118524.0 + 118398.5j,
    ]  # fmt: skip
    assert row.descriptor is not None
    assert row.descriptor.template is not None
    centre, scale = complex(left + right, top + bottom) / 2, (right - left) / 150
    for (x, y), point in zip(row.descriptor.template, eyes_nose_mouth, strict=True):
        cut = centre + (complex(x, y) - 75 - 75j) * scale * cmath.exp(1j * angle)
        assert abs(cut - point) / scale < 0.02


def test_what_ships_with_a_package_is_converted_once(row: Model, tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.state(row) == "missing"
    convert_shipped(store, row)
    weights = store.locate(row)["weights"]
    made = weights.stat().st_mtime_ns
    convert_shipped(store, row)
    assert weights.stat().st_mtime_ns == made
    assert {one.file: one.origin for one in pull(store, [row])} == {"checkpoint": "package", "weights": "present"}
    weights.write_bytes(weights.read_bytes()[:-1])
    assert {one.file: one.origin for one in pull(store, [row])} == {"checkpoint": "package", "weights": "converted"}


def test_what_is_fetched_waits_for_a_pull(tmp_path: Path) -> None:
    fetched = load_manifest().models["slowfast-r50-8x8"]
    convert_shipped(Store(tmp_path), fetched)
    assert Store(tmp_path).state(fetched) == "missing"


def test_a_package_that_is_missing_is_named(row: Model, tmp_path: Path) -> None:
    file = row.files["checkpoint"].model_copy(update={"package": f"no_such_package:models/{DAT}"})
    wrong = row.model_copy(update={"files": {**row.files, "checkpoint": file}})
    with pytest.raises(PullError, match="missing; install the Python package no_such_package again"):
        pull(Store(tmp_path), [wrong], limits=Limits(seconds=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 512}, "it gives 128 numbers for 150 pixels"),
        ({"side": 160}, "it gives 128 numbers for 150 pixels"),
        ({"mean": (104.298, 117.001, 122.782)}, "it was trained on pixels less"),
    ],
)
def test_a_row_that_describes_another_network_is_refused(
    row: Model, published: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    assert row.descriptor is not None
    with pytest.raises(UnusableFile, match=message):
        convert_dlib_face({"checkpoint": published}, row.descriptor.model_copy(update=change), tmp_path)
    assert not (tmp_path / FACE).exists()


def test_every_shorter_file_is_refused(published: Path, tmp_path: Path) -> None:
    whole, cut = published.read_bytes(), tmp_path / DAT
    for length in (0, 1, 2, 17, 30, 300, 330, 345, 4000, 19_300, 19_660, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"{DAT} is not dlib.s face network: (it ends early|no .*), at byte"):
            read_dlib_face(cut)


CHANGES = [
    (0, b"\x01\x02", "version of the loss 2, expected 1"),
    (0, b"\x00", "no integer"),
    (0, b"\x0f", "no integer"),
    (2, b"\x08" + b"\xff" * 7 + b"\x7f", "no loss_metric_2"),
    (4, b"L", "no loss_metric_2"),
    (17, b"\x01\x01\x02\xff\x7f", "no finite number"),
    (29, b"\x01\x03", "version of a layer 3, expected 2"),
]


@pytest.mark.parametrize(("at", "bytes_", "message"), CHANGES, ids=[message for _, _, message in CHANGES])
def test_other_bytes_are_refused(published: Path, tmp_path: Path, at: int, bytes_: bytes, message: str) -> None:
    data = bytearray(published.read_bytes()[:30_000])
    data[at : at + len(bytes_)] = bytes_
    wrong = tmp_path / DAT
    wrong.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_dlib_face(wrong)


def test_no_byte_of_the_header_can_do_worse_than_be_refused(published: Path, tmp_path: Path) -> None:
    head = published.read_bytes()[:30_000]
    wrong = tmp_path / DAT
    for at in range(352):
        wrong.write_bytes(head[:at] + bytes([head[at] ^ 0xFF]) + head[at + 1 :])
        with pytest.raises(ValueError, match="is not dlib's face network"):
            read_dlib_face(wrong)


def test_a_shape_that_is_not_the_networks_is_refused_before_anything_is_allocated(
    published: Path, tmp_path: Path
) -> None:
    data = published.read_bytes()[:30_000]
    at = data.index(b"con_4") + len(b"con_4") + 2
    wrong = tmp_path / DAT
    wrong.write_bytes(data[:at] + b"\x08" + b"\xff" * 7 + b"\x7f" + data[at + 3 :])
    with pytest.raises(ValueError, match=r"a tensor \[9223372036854775807, 1, 1, 1\], expected \[4736, 1, 1, 1\]"):
        read_dlib_face(wrong)


def test_a_weight_that_is_no_number_is_refused(published: Path, tmp_path: Path) -> None:
    data = bytearray(published.read_bytes())
    data[400:404] = b"\x00\x00\xc0\x7f"
    wrong = tmp_path / DAT
    wrong.write_bytes(data)
    with pytest.raises(ValueError, match="a weight that is no finite number"):
        read_dlib_face(wrong)


def test_what_follows_the_network_is_refused(published: Path, tmp_path: Path) -> None:
    longer = tmp_path / DAT
    shutil.copyfile(published, longer)
    with longer.open("ab") as stream:
        stream.write(b"\x00")
    with pytest.raises(ValueError, match="more follows"):
        read_dlib_face(longer)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    huge = tmp_path / DAT
    with huge.open("wb") as stream:
        stream.truncate(65 << 20)
    with pytest.raises(ValueError, match="larger than"):
        read_dlib_face(huge)
