"""Decoding of generated pictures: colours, orientation, limits, and what broken bytes get."""

from __future__ import annotations

import io
import struct
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media_pictures import encode, every_format, scene
from numpy.typing import NDArray
from PIL import Image

from serve_app.errors import Problem
from serve_app.media import images

FILES = every_format()
GREY = {"grey16", "pgm16"}


def stored(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """How EXIF 2.32 stores a picture: orientation says which side of it row 0 and column 0 are."""
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    return np.ascontiguousarray(turned)


def exif(orientation: int) -> bytes:
    return b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def png_of(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def resized_header(jpeg: bytes, width: int, height: int) -> bytes:
    at = max(jpeg.find(b"\xff\xc0\0\x11"), jpeg.find(b"\xff\xc2\0\x11"))
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


def code_of(data: bytes, max_side: int | None = None) -> str:
    with pytest.raises(Problem) as caught:
        images.decode(data, max_side)
    return caught.value.code


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_its_picture(name: str) -> None:
    info, picture = images.inspect(FILES[name]), images.decode(FILES[name])
    assert (info.width, info.height) == (picture.width, picture.height) == (24, 20)
    assert picture.pixels.shape == (20, 24, 3)
    assert picture.pixels.dtype == np.uint8
    wanted = np.repeat(scene(24, 20)[..., :1], 3, axis=2) if name in GREY else scene(24, 20)
    if name == "palette":
        return  # one of its colours is transparent: see below
    assert np.abs(picture.pixels.astype(int) - wanted).mean() < (0 + 1e-9 if name in GREY | {"png", "ppm"} else 8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied(format: str, orientation: int) -> None:
    upright = scene()
    data = encode(stored(upright, orientation), format, exif=exif(orientation)[6 if format == "TIFF" else 0 :])
    info, picture = images.inspect(data), images.decode(data)
    assert (info.width, info.height) == (picture.width, picture.height) == (64, 48)
    assert np.abs(picture.pixels.astype(int) - upright).mean() < 6


def test_orientation_behind_the_pixels_of_a_png_counts_too() -> None:
    data = encode(stored(scene(), 6), "PNG")
    end = data.rindex(b"IEND") - 4
    data = data[:end] + chunk(b"eXIf", exif(6)[6:]) + data[end:]
    assert (images.inspect(data).width, images.inspect(data).height) == (64, 48)
    assert np.array_equal(images.decode(data).pixels, scene())


def test_broken_exif_does_not_spoil_the_pixels() -> None:
    for block in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 40, b"nonsense"):
        assert images.decode(encode(scene(), "JPEG", exif=block)).pixels.shape == (48, 64, 3)


def test_deep_grey_is_scaled_not_clipped() -> None:
    values = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    got = images.decode(encode(values, "PNG")).pixels[..., 0]
    assert np.abs(got - values / 257).max() <= 0.5
    twelve_bit = b"P5 2 1 4095\n" + np.array([0, 4095], ">u2").tobytes()
    assert images.decode(twelve_bit).pixels[0, :, 0].tolist() == [0, 255]
    floats = encode(Image.fromarray(np.array([[0.0, 0.5, 1.0, np.nan]], np.float32)), "TIFF")
    assert images.decode(floats).pixels[0, :, 0].tolist() == [0, 128, 255, 0]


def test_transparency_is_laid_over_white() -> None:
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert images.decode(encode(half, "PNG")).pixels[0, 0].tolist() == [127, 127, 127]
    assert images.decode(encode(half.convert("LA"), "PNG")).pixels[0, 0].tolist() == [127, 127, 127]
    assert images.decode(encode(half, "WEBP", lossless=True)).pixels[0, 0].tolist() == [127, 127, 127]
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 0, 0, 0, 200, 0])
    palette.putpixel((1, 0), 1)
    for format in ("PNG", "GIF"):
        assert images.decode(encode(palette, format, transparency=1)).pixels[0].tolist() == [[200, 0, 0], [255] * 3]
    by_alpha = encode(palette, "PNG", transparency=b"\xff\x80")
    assert images.decode(by_alpha).pixels[0].tolist() == [[200, 0, 0], [127, 227, 127]]
    keyed = encode(Image.new("RGB", (2, 2), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert images.decode(keyed).pixels.min() == 255
    deep = encode(np.array([[100, 101]], np.uint16), "PNG", transparency=100)
    assert images.decode(deep).pixels[0, :, 0].tolist() == [255, 0]


def test_adobe_cmyk_is_not_inverted() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.abs(images.decode(encode(red, "JPEG")).pixels.astype(int) - [255, 0, 0]).max() < 8


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_of_an_animation_the_first_frame(format: str) -> None:
    first, second = Image.new("RGB", (32, 32), (250, 0, 0)), Image.new("RGB", (32, 32), (0, 0, 250))
    data = encode(first, format, save_all=True, append_images=[second])
    assert np.abs(images.decode(data).pixels.astype(int) - [250, 0, 0]).max() < 16


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("max_side", [1, 100, 333, 1000, 1200, 5000])
def test_max_side_bounds_the_pixels_and_keeps_the_full_size(format: str, max_side: int) -> None:
    picture = images.decode(encode(scene(1200, 900), format), max_side)
    assert (picture.width, picture.height) == (1200, 900)
    side = min(1200, max_side)
    assert picture.pixels.shape == (max(1, round(side * 0.75)), side, 3)
    if side >= 100:
        small = np.asarray(Image.fromarray(scene(1200, 900)).resize(picture.pixels.shape[1::-1], Image.Resampling.BOX))
        assert np.abs(picture.pixels.astype(int) - small).mean() < 4


def test_a_huge_jpeg_is_decoded_at_a_fraction() -> None:
    picture = images.decode(encode(Image.linear_gradient("L").resize((9000, 8000)), "JPEG", quality=30))
    assert (picture.width, picture.height) == (9000, 8000)
    assert picture.pixels.shape == (4000, 4500, 3)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "undecodable_media"),
        (b"only words", "unsupported_media"),
        (bytes(1000), "unsupported_media"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp42isom", "unsupported_media"),
        (b"%PDF-1.4", "unsupported_media"),
        (b"P7\nWIDTH 1\nHEIGHT 1\n", "unsupported_media"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_media"),
        (b"\x89PNG\r\n\x1a\n", "undecodable_media"),
        (png_of(30000, 30000), "too_large"),
        (png_of(9000, 9000), "too_large"),
        (png_of(0, 5), "undecodable_media"),
        (b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";", "undecodable_media"),
        (b"P6 99999 99999 255\n", "too_large"),
        (b"P6 -5 5 255\n", "undecodable_media"),
        (resized_header(FILES["jpeg"], 20000, 20000), "too_large"),
        (resized_header(FILES["progressive"], 12000, 12000), "too_large"),
        (FILES["progressive"][:-2] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" * 200 + b"\xff\xd9", "too_large"),
        (FILES["jpeg"][: len(FILES["jpeg"]) // 2], "undecodable_media"),
        (FILES["png"][: len(FILES["png"]) // 2], "undecodable_media"),
    ],
)
def test_bad_input_gets_a_code(data: bytes, code: str) -> None:
    assert code_of(data) == code
    assert code_of(data, max_side=8) == code


def test_header_refusals_come_without_decoding() -> None:
    assert images.inspect(resized_header(FILES["jpeg"], 12000, 12000)).width == 12000
    with pytest.raises(Problem, match="too_large"):
        images.inspect(resized_header(FILES["progressive"], 12000, 12000))
    with pytest.raises(Problem, match="unsupported_media"):
        images.inspect(b"words")


def test_a_text_chunk_bomb_is_refused() -> None:
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000)))
    data = FILES["png"][:33] + bomb + FILES["png"][33:]
    assert code_of(data) == "undecodable_media"


@pytest.mark.parametrize(
    "data",
    [
        FILES["jpeg"][:2] + b"\xff\xee\0\2" * 1_000_000 + FILES["jpeg"][2:],
        FILES["jpeg"][:2] + b"\xff" * 4_000_000 + FILES["jpeg"][2:],
        FILES["png"][:33] + chunk(b"abCd", b"") * 300_000 + FILES["png"][33:],
        FILES["gif"][:13] + b"!\xfe" + b"\x01a" * 2_000_000 + b"\0" + FILES["gif"][13:],
        b"P6 #" + b"a" * 4_000_000 + b"\n1 1 255\nabc",
    ],
    ids=["segments", "filling", "chunks", "blocks", "comment"],
)
def test_headers_of_millions_of_pieces_are_refused_at_once(data: bytes) -> None:
    started = time.process_time()
    assert code_of(data) == "undecodable_media"
    assert time.process_time() - started < 0.5


def test_comments_and_filling_in_moderation_are_read() -> None:
    assert images.decode(b"P6 # made\n#by hand\r1 1\t255\nabc").pixels.tolist() == [[[97, 98, 99]]]
    filled = FILES["jpeg"][:2] + b"\xff" * 1000 + FILES["jpeg"][2:]
    assert np.array_equal(images.decode(filled).pixels, images.decode(FILES["jpeg"]).pixels)


def test_threads_share_nothing_and_warnings_stay_as_they_were() -> None:
    before = list(warnings.filters)
    odd = encode(scene(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    with ThreadPoolExecutor(8) as pool:
        shapes = set(pool.map(lambda _: images.decode(odd).pixels.shape, range(64)))
    assert shapes == {(48, 64, 3)}
    assert warnings.filters == before


def test_max_side_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        images.decode(FILES["png"], 0)


def survives(data: bytes) -> None:
    with suppress(Problem):
        assert max(images.decode(data, max_side=64).pixels.shape[:2]) <= 64


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_files_raise_nothing_but_problems(name: str, data: st.DataObject) -> None:
    damaged = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(0, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]) if data.draw(st.booleans()) else bytes(damaged))


def test_pixels_may_be_written_to() -> None:
    picture = images.decode(FILES["png"])
    picture.pixels[0, 0] = 7
    assert io.BytesIO(picture.pixels.tobytes()).read(3) == b"\x07\x07\x07"
