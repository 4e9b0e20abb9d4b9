"""Printed text: the geometry on made maps, the reading on drawn words and on real memes."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from serve_app.annotation import ocr
from serve_app.annotation.labels import Label
from serve_app.annotation.ocr import Line, Prepared, TextReader, load_reader
from serve_app.errors import Problem
from serve_app.models.manifest import load_manifest
from serve_app.models.store import Store

Png = Callable[..., bytes]
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> TextReader:
    model = load_manifest().models["rapidocr"]
    opened = load_reader(model, Store(tmp_path_factory.mktemp("home")).locate(model), threads=1)
    opened.warm()
    return opened


def drawn(*words: str, size: tuple[int, int] = (640, 360), turn: int = 0) -> Image.Image:
    """A white page with the words below each other, in Pillow's own font."""
    page = Image.new("RGB", size, WHITE)
    pen = ImageDraw.Draw(page)
    for row, word in enumerate(words):
        pen.text((40, 40 + 90 * row), word, BLACK, ImageFont.load_default(40))
    return page.rotate(turn, expand=True, fillcolor=WHITE)


def encoded(picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def read(reader: TextReader, data: bytes) -> list[Label]:
    prepared = reader.prepare(data)
    return reader.finish(reader.run([prepared])[0], prepared)


def letters(text: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", text.upper())


def test_lines_are_read_from_above_with_boxes_around_their_ink(reader: TextReader) -> None:
    page = drawn("Hello World", "second line", "42 km")
    labels = read(reader, encoded(page))
    assert [letters(label.label) for label in labels] == ["HELLOWORLD", "SECONDLINE", "42KM"]
    assert all(label.confidence > 0.9 for label in labels)
    ink = np.asarray(page.convert("L")) < 128
    for row, label in enumerate(labels):
        below, behind = np.nonzero(ink[90 * row + 30 : 90 * row + 120])
        edges = behind.min(), below.min() + 90 * row + 30, behind.max(), below.max() + 90 * row + 30
        assert label.box == pytest.approx(edges, abs=16)
        assert label.box[0] <= edges[0] + 3
        assert label.box[2] >= edges[2] - 3


def test_boxes_are_in_pixels_of_the_full_upright_picture(reader: TextReader) -> None:
    small = read(reader, encoded(drawn("Hello World")))[0].box
    large = read(reader, encoded(drawn("Hello World").resize((2560, 1440))))[0].box
    assert small is not None
    assert large == pytest.approx([4 * side for side in small], abs=24)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(drawn("Hello World").transpose(Image.Transpose.ROTATE_90), exif=exif)
    assert read(reader, turned)[0].box == pytest.approx(small, abs=4)


def test_a_line_that_runs_up_is_read(reader: TextReader) -> None:
    assert [letters(label.label) for label in read(reader, encoded(drawn("Hello World", turn=270)))] == ["HELLOWORLD"]


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (300, 5), (3000, 40), (640, 480)])
def test_nothing_is_read_where_nothing_is_written(reader: TextReader, size: tuple[int, int]) -> None:
    assert read(reader, encoded(Image.new("RGB", size, (90, 120, 60)))) == []


def test_what_is_read_does_not_depend_on_the_company(reader: TextReader) -> None:
    pages = [drawn("Hello World"), drawn(), drawn("a much longer line of text", "no", size=(900, 300))]
    prepared = [reader.prepare(encoded(page)) for page in pages]
    together = [reader.finish(*pair) for pair in zip(reader.run(prepared), prepared, strict=True)]
    alone = [reader.finish(reader.run([one])[0], one) for one in prepared]
    assert [[label.label for label in labels] for labels in together] == [
        [label.label for label in labels] for labels in alone
    ]
    assert [len(labels) for labels in together] == [1, 0, 2]
    assert reader.run([]) == []


def test_the_tensor_is_bounded_and_fits_the_network(reader: TextReader, png: Png) -> None:
    for width, height in ((1, 1), (4000, 30), (30, 4000), (2000, 2000)):
        tensor = reader.prepare(png(np.zeros((height, width, 3), np.uint8))).tensor
        assert tensor.shape[0] == 3
        assert all(0 < side <= ocr.WORKING_SIDE and side % ocr.STEP == 0 for side in tensor.shape[1:])
    assert reader.prepare(png(np.full((50, 50, 3), 255, np.uint8))).tensor.max() == 1


def test_broken_pictures_are_refused(reader: TextReader) -> None:
    with pytest.raises(Problem):
        reader.prepare(b"\x89PNG\r\n\x1a\n broken")


def test_a_core_grows_to_the_line_it_was_shrunk_from() -> None:
    # A line of w x h is shrunk by d = (1 - .4^2) * area / perimeter in training; unclipping by 1.6 nearly undoes it.
    probability = np.zeros((100, 300), np.float32)
    probability[40:60, 50:250] = 0.9
    probability[5:7, 5:7] = 0.9
    probability[80:95, 20:120] = 0.4
    (corners,) = ocr._lines(probability)
    grown = 1.6 * 200 * 20 / (2 * (200 + 20))
    assert corners[0] == pytest.approx((50 - grown, 40 - grown), abs=2)
    assert corners[2] == pytest.approx((250 + grown, 60 + grown), abs=2)


def test_corners_of_a_slanted_core_go_clockwise_from_the_upper_left() -> None:
    probability = np.zeros((200, 300), np.float32)
    slanted = cv2.boxPoints(((150, 100), (160, 24), 12.0))
    cv2.fillPoly(probability, [slanted.astype(np.int32)], [1.0])
    (corners,) = ocr._lines(probability)
    along, down = corners[1] - corners[0], corners[3] - corners[0]
    assert np.degrees(np.arctan2(along[1], along[0])) == pytest.approx(12, abs=2)
    assert along[0] * down[1] - along[1] * down[0] > 0


def test_too_many_lines_are_cut_to_the_surest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "MAX_LINES", 3)
    probability = np.zeros((400, 100), np.float32)
    for row in range(8):
        probability[20 + 45 * row : 30 + 45 * row, 20:80] = 0.6 + 0.04 * row
    kept = ocr._lines(probability)
    assert sorted(int(corners[:, 1].mean() - 20) // 45 for corners in kept) == [5, 6, 7]


def test_two_columns_are_read_row_by_row() -> None:
    def line(x: float, y: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return np.array([[x, y], [x + 0.3, y], [x + 0.3, y + 0.05], [x, y + 0.05]], np.float32)

    places = [(0.6, 0.11), (0.1, 0.1), (0.1, 0.3), (0.6, 0.29)]
    ordered = ocr._in_reading_order([line(*place) for place in places])
    assert [(round(float(one[0, 0]), 2), round(float(one[0, 1]), 2)) for one in ordered] == [
        (0.1, 0.1), (0.6, 0.11), (0.1, 0.3), (0.6, 0.29),
    ]  # fmt: skip


def test_a_path_without_repetitions_and_blanks(reader: TextReader) -> None:
    at = {character: reader._characters.index(character) for character in "lo"}
    path = [0, at["l"], at["l"], 0, at["l"], at["o"], 0]
    row = np.zeros((len(path), len(reader._characters)), np.float32)
    row[np.arange(len(path)), path] = [1, 0.9, 0.5, 1, 0.6, 0.3, 1]
    assert reader._decode(row) == ("llo", pytest.approx((0.9 + 0.6 + 0.3) / 3))
    assert reader._decode(row[:1]) == ("", 0.0)


@pytest.mark.parametrize(
    ("text", "confidence", "counts"),
    [("ab", 0.5, True), ("ab", 0.49, False), ("O", 0.89, False), ("2.", 0.9, True), ("***", 1, False), ("", 1, False)],
)
def test_what_counts_as_a_line(text: str, confidence: float, counts: bool) -> None:
    assert ocr._counts(Line(text, confidence, np.zeros((4, 2), np.float32))) is counts


def test_a_network_with_other_characters_is_refused(reader: TextReader) -> None:
    with pytest.raises(ValueError, match="characters"):
        TextReader(reader._detector, reader._detector)


def test_the_words_of_memes_are_read(reader: TextReader, shared: Path) -> None:
    """The words that were laid over the photographs stand in the manifest of the shared media."""
    rows = (shared / "media" / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()
    truth = {row.split("\t")[0]: row.split("overlaid text: ")[1].split(";")[0] for row in rows if "MEME;" in row}
    assert len(truth) == 8
    for name, text in truth.items():
        seen = letters("".join(label.label for label in read(reader, (shared / "media" / name).read_bytes())))
        assert all(letters(word) in seen for word in text.split(" / ")), (name, seen)


def test_the_library_reads_the_same(reader: TextReader, shared: Path) -> None:
    """RapidOCR's own pipeline on the same networks: our sizes, crops and paddings differ by a pixel or so."""
    from rapidocr import RapidOCR

    library = RapidOCR(params={
        "Global.log_level": "critical", "Global.use_cls": False, "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    })  # fmt: skip
    for name in ("macro_358083", "macro_525891"):
        data = (shared / "media" / "images" / "memes_derived" / f"{name}.jpg").read_bytes()
        ours, theirs = read(reader, data), library(data)
        assert [label.label for label in ours] == list(theirs.txts)
        for label, corners in zip(ours, theirs.boxes, strict=True):
            assert label.box == pytest.approx([*corners.min(axis=0), *corners.max(axis=0)], abs=3)


def test_prepared_keeps_the_full_size(reader: TextReader) -> None:
    prepared = reader.prepare(encoded(drawn(size=(3200, 800))))
    assert isinstance(prepared, Prepared)
    assert (prepared.width, prepared.height) == (3200, 800)
    assert prepared.pixels.shape == (400, ocr.WORKING_SIDE, 3)
