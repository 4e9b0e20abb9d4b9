"""Every real picture and every broken file; FFmpeg's decoders (through PyAV) are the independent witness."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from serve_app.errors import Problem
from serve_app.media import images

BROKEN = {
    "avif_invalid_grid.avif": "undecodable_media",
    "avif_no_ispe.avif": "undecodable_media",
    "broken.png": "undecodable_media",
    "derived_cat_50pct.jpg": "undecodable_media",
    "gif_bomb_65535x66601.gif": "too_large",
    "negative_size.ppm": "unsupported_media",
    "png_decompression_dos.png": "undecodable_media",
    "truncated_image.png": "undecodable_media",
    "truncated_jpeg.jpg": "undecodable_media",
    "unknown_compression_method.png": "undecodable_media",
    "zero_width.gif": "undecodable_media",
    "empty.ply": "undecodable_media",
}
"""All other files there are not pictures, so they are ``unsupported_media``; one is a whole JPEG under a wrong name."""


def decode(path: Path, max_side: int | None = None) -> images.Picture:
    return images.decode(path.read_bytes(), max_side)


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def by_ffmpeg(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.asarray(next(container.decode(video=0)).to_ndarray(format="rgb24"))


def test_every_picture_has_the_size_that_ffmpeg_reads(shared: Path) -> None:
    folder = shared / "media" / "images"
    paths = [path for path in sorted(folder.rglob("*.*")) if path.is_file() and path.name != "dog_12096x9072.jpg"]
    paths += sorted((shared / "media" / "faces").rglob("*.jpg"))
    assert len(paths) > 60
    wrong = []
    for path in paths:
        info, picture = images.inspect(path.read_bytes()), decode(path)
        shape = (picture.height, picture.width, 3)
        if (info.width, info.height) != (picture.width, picture.height) or picture.pixels.shape != shape:
            wrong.append((path.name, info, picture.pixels.shape))
        if path.suffix != ".heic" and sorted(by_ffmpeg(path).shape[:2]) != sorted(shape[:2]):
            wrong.append((path.name, by_ffmpeg(path).shape, shape))
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("kodim03.png", 0),
        ("astronaut.png", 0),
        ("dog_train_0.bmp", 0),
        ("hopper.tif", 0),
        ("chelsea.png", 0),
        ("cat_720p.jpg", 1.5),
        ("parrot.jpg", 1.5),
        ("flower.webp", 2),
        ("fox_8bit.avif", 2),
        ("kodim03.avif", 2),
        ("derived/parrot_progressive.jpg", 2),
    ],
)
def test_pixels_agree_with_ffmpeg(shared: Path, name: str, tolerance: float) -> None:
    path = shared / "media" / "images" / name
    assert difference(decode(path).pixels, by_ffmpeg(path)) <= tolerance


def test_nine_orientations_of_a_landscape_are_one_picture(shared: Path) -> None:
    folder = shared / "media" / "images"
    upright = decode(folder / "exif_landscape_0.jpg").pixels
    assert upright.shape == (1200, 1800, 3)
    for orientation in range(1, 9):
        # The files differ in the number that is printed on them, and in compression.
        assert difference(decode(folder / f"exif_landscape_{orientation}.jpg").pixels, upright) < 6
        small = decode(folder / f"exif_landscape_{orientation}.jpg", 300)
        assert (small.width, small.height, small.pixels.shape) == (1800, 1200, (200, 300, 3))
        assert difference(small.pixels, decode(folder / "exif_landscape_0.jpg", 300).pixels) < 6


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("avif_rot1mir0.avif", (640, 427)),
        ("paris_exif_orientation_5.jpg", (302, 403)),
        ("dog_exif_extended_xmp_icc.jpg", (3024, 4032)),
        ("still_photo.heic", (1080, 1920)),
    ],
)
def test_turned_pictures_stand_upright(shared: Path, name: str, size: tuple[int, int]) -> None:
    picture = decode(shared / "media" / "images" / name)
    assert (picture.width, picture.height) == size
    assert picture.pixels.shape == (size[1], size[0], 3)


def test_sixteen_bits_of_grey_become_the_eight_bit_picture(shared: Path) -> None:
    folder = shared / "media" / "images"
    luma = np.array([0.299, 0.587, 0.114])
    for deep, flat in (("hopper_16bit.pgm", "hopper.tif"), ("derived/kodim03_gray16.png", "kodim03.png")):
        grey = decode(folder / deep).pixels
        assert np.abs(grey[..., 0] - decode(folder / flat).pixels @ luma).max() < 1.5
        assert np.array_equal(grey[..., 0], grey[..., 2])


def test_a_cmyk_jpeg_shows_red_on_black(shared: Path) -> None:
    pixels = decode(shared / "media" / "images" / "pil_sample_cmyk.jpg").pixels.reshape(-1, 3)
    assert np.median(pixels, axis=0).max() < 10
    assert pixels[pixels.sum(axis=1).argmax()].tolist() == pytest.approx([255, 15, 28], abs=10)


def test_a_110_megapixel_jpeg_is_read_at_a_fraction(shared: Path) -> None:
    path = shared / "media" / "images" / "derived" / "dog_12096x9072.jpg"
    picture = decode(path, 1280)
    assert (picture.width, picture.height, picture.pixels.shape) == (12096, 9072, (960, 1280, 3))
    original = decode(shared / "media" / "images" / "dog_exif_extended_xmp_icc.jpg", 1280).pixels
    assert difference(picture.pixels, np.rot90(original)) < 4


def test_every_broken_file_gets_its_code(shared: Path) -> None:
    found = {}
    for path in sorted((shared / "media" / "broken").rglob("*.*")):
        if not path.is_file():
            continue
        try:
            picture = decode(path)
            found[path.name] = f"{picture.width}x{picture.height}"
        except Problem as problem:
            found[path.name] = problem.code
    assert found.pop("derived_jpeg_named.png") == "660x480"
    assert {name: code for name, code in found.items() if code != "unsupported_media"} == {
        name: code for name, code in BROKEN.items() if code != "unsupported_media"
    }


@pytest.mark.parametrize(
    "name", ["chi.gif", "hopper.webp", "kodim03.avif", "colors-animated.avif", "i_trns.png", "hopper_16bit.pgm",
             "hopper.tif", "gecko-320-213.jpg", "pil_sample_cmyk.jpg", "transparent.webp", "still_photo.heic"],
)  # fmt: skip
def test_damaged_real_files_raise_nothing_but_problems(shared: Path, name: str) -> None:
    whole = (shared / "media" / "images" / name).read_bytes()
    dice = random.Random(name)
    for _ in range(12):
        damaged = bytearray(whole)
        for _ in range(dice.randrange(8)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        with suppress(Problem):
            images.decode(bytes(damaged[: dice.choice([len(damaged), dice.randrange(len(damaged))])]), 64)
