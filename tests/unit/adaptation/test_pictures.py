"""Pictures with a watermark, and without what a camera wrote."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from serve_app.adaptation.pictures import Format, marked, render
from serve_app.errors import Problem


def jpeg(size: tuple[int, int] = (400, 300), orientation: int = 1) -> bytes:
    """Red left half, blue right half, with what phones write: orientation, place, make and a thumbnail."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 2, 0] = 255
    pixels[:, size[0] // 2 :, 2] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker of cameras"
    exif.get_ifd(0x8825)[2] = (48.0, 12.0, 29.0)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", exif=exif, comment=b"our garden")
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("format", ["jpeg", "webp", "png"])
def test_nothing_that_a_camera_wrote_is_left(format: Format) -> None:
    data = jpeg()
    assert b"Maker of cameras" in data
    rendered = render(data, 200, format=format)
    assert (rendered.media_type, rendered.width, rendered.height) == (f"image/{format}", 200, 150)
    made = rendered.data
    assert (opened(made).format or "").lower() == format
    assert opened(made).size == (200, 150)
    assert dict(opened(made).getexif()) == {}
    assert b"Maker" not in made
    assert b"garden" not in made


def test_pictures_come_out_upright_and_never_larger() -> None:
    # Orientation 6: the stored left side is shown on top (Exif 2.32, 4.6.4).
    shown = np.asarray(opened(render(jpeg(orientation=6), 4000, format="png").data).convert("RGB"))
    assert shown.shape == (400, 300, 3)
    assert shown[10, 150, 0] > 200
    assert shown[390, 150, 2] > 200


@pytest.mark.parametrize("grey", [0, 30, 128, 225, 255])
@pytest.mark.parametrize("size", [(640, 480), (200, 900), (64, 64)])
def test_a_watermark_is_seen_everywhere_on_any_ground_and_hides_nothing(size: tuple[int, int], grey: int) -> None:
    plain = np.full((size[1], size[0], 3), grey, np.uint8)
    drawn = marked(plain, "mediaverse")
    change = np.abs(drawn.astype(int) - plain).max(axis=2)
    assert change.max() >= 20, "it is seen"
    assert change.max() <= 0.29 * 255, "what is below it is seen too"
    quarters = [part for half in np.array_split(change, 2) for part in np.array_split(half, 2, axis=1)]
    assert min(float((part > 8).mean()) for part in quarters) > 0.04, "in every quarter"


def test_the_words_can_be_read_by_others_code() -> None:
    """The letters, turned back, are read by an OCR that knows nothing of us."""
    from rapidocr import RapidOCR

    drawn = marked(np.full((600, 900, 3), 90, np.uint8), "LIGHTHOUSE")
    level = Image.fromarray(drawn).rotate(-30, Image.Resampling.BICUBIC).crop((250, 150, 650, 450))
    texts = RapidOCR()(np.asarray(level)[..., ::-1]).txts or ()
    assert any("LIGHTHOUSE" in text.replace(" ", "").upper() for text in texts), texts


def test_what_is_no_picture_is_told() -> None:
    with pytest.raises(Problem) as told:
        render(b"no picture", 100)
    assert told.value.code == "unsupported_media"
