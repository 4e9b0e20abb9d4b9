"""Preprocessing against open_clip's own transform, tokens against a tokenizer made here, networks made here."""

from __future__ import annotations

import io
import math
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from open_clip.transform import image_transform
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from serve_app.errors import Problem
from serve_app.models.manifest import Clip, load_manifest
from serve_app.models.sessions import open_session
from serve_app.models.store import Store
from serve_app.retrieval.encoder import ImageTower, TextTower

SIZE = 224
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
LENGTH = 8
MODES = [(resize, how) for resize in ("shortest", "squash") for how in ("bicubic", "bilinear")]


def spec(resize: str = "shortest", interpolation: str = "bicubic") -> Clip:
    return Clip.model_validate(
        {"image_size": SIZE, "mean": MEAN, "std": STD, "interpolation": interpolation, "resize": resize}
        | {"context_length": LENGTH, "dim": 4}
    )


@cache
def picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise in octaves of falling size, as photographs have it, with edges down to a pixel."""
    dice = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 127.0, np.float32)
    for octave in range(10):
        small = dice.integers(0, 256, (2 + (height >> octave), 2 + (width >> octave), 3), np.uint8)
        grown = Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR)
        pixels += (np.asarray(grown, np.float32) - 127) * (0.02 * 1.4**octave)
    pixels[height // 3 : height // 2, width // 3 : width // 2] = (255, 0, 0)
    return pixels.clip(0, 255).astype(np.uint8)


def encoded(pixels: NDArray[np.uint8], how: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, how, **options)
    return stream.getvalue()


@cache
def png(width: int, height: int) -> bytes:
    return encoded(picture(width, height), "PNG", compress_level=1)


@cache
def jpeg(width: int, height: int) -> bytes:
    return encoded(picture(width, height), "JPEG", quality=92)


def difference(data: bytes, resize: str, interpolation: str) -> NDArray[np.float64]:
    """How far our tensor is from open_clip's, in steps of the 8-bit scale."""
    ours = ImageTower(spec(resize, interpolation), None).prepare(data)  # type: ignore[arg-type]
    transform = image_transform(
        SIZE, is_train=False, mean=MEAN, std=STD, interpolation=interpolation, resize_mode=resize
    )  # fmt: skip
    with Image.open(io.BytesIO(data)) as image:
        theirs = transform(image.convert("RGB")).numpy()
    assert ours.shape == theirs.shape == (3, SIZE, SIZE)
    assert ours.dtype == np.float32
    return np.abs(ours - theirs).astype(np.float64) * np.reshape(STD, (3, 1, 1)) * 255


@pytest.mark.parametrize(("resize", "interpolation"), MODES)
@pytest.mark.parametrize(
    ("width", "height"),
    [(224, 224), (225, 224), (224, 225), (300, 301), (447, 333), (640, 427), (100, 61), (37, 211), (1, 9), (1500, 300)],
)
def test_a_picture_becomes_what_open_clip_makes_of_it(width: int, height: int, resize: str, interpolation: str) -> None:
    found = difference(png(width, height), resize, interpolation)
    # The same filter on the same grid; the last bit may round the other way where the crop's edge is no whole number.
    assert found.max() < 2.01
    assert found.mean() < 0.01


@pytest.mark.parametrize(("resize", "interpolation"), MODES)
@pytest.mark.parametrize(("width", "height"), [(1001, 777), (701, 1002)])
def test_a_large_picture_loses_little_to_the_first_reduction(
    width: int, height: int, resize: str, interpolation: str
) -> None:
    found = difference(png(width, height), resize, interpolation)
    # It is reduced twice, to double the size and to the size: two filters blur where one does, by a step or so on
    # average; half a pixel beside the right grid would be ten times that.
    assert found.max() < 24
    assert found.mean() < 1


@pytest.mark.parametrize(("resize", "interpolation"), MODES)
def test_a_large_jpeg_may_decode_at_a_fraction_of_its_size(resize: str, interpolation: str) -> None:
    found = difference(jpeg(1403, 902), resize, interpolation)
    # libjpeg's reduction cuts frequencies where bicubic fades them out; only edges notice.
    assert found.max() < 32
    assert found.mean() < 3


@pytest.mark.parametrize(("resize", "interpolation"), MODES)
def test_real_photographs_too(shared: Path, resize: str, interpolation: str) -> None:
    names = ["chelsea.png", "kodim03.png", "cat_720p.jpg", "coco_000000000790.jpg", "plumeria.jpg"]
    for name in names:
        found = difference((shared / "media" / "images" / name).read_bytes(), resize, interpolation)
        assert found.max() < 24, name
        assert found.mean() < 1, name


def test_an_absurd_shape_costs_nothing() -> None:
    data = encoded(np.full((1, 60_000, 3), (0, 0, 255), np.uint8), "PNG")
    tensor = ImageTower(spec(), None).prepare(data)  # type: ignore[arg-type]
    blue = (np.array([0, 0, 1]) - MEAN) / STD
    np.testing.assert_allclose(tensor, np.broadcast_to(blue.reshape(3, 1, 1), tensor.shape), atol=1e-5)


@pytest.mark.parametrize(("data", "code"), [(b"", "undecodable_media"), (b"hello", "unsupported_media")])
def test_what_is_no_picture_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(Problem) as refused:
        ImageTower(spec(), None).prepare(data)  # type: ignore[arg-type]
    assert refused.value.code == code


START, END, PAD, UNKNOWN = 0, 1, 2, 3
WORDS = {"<start>": START, "<end>": END, "<pad>": PAD, "<unk>": UNKNOWN, "a": 4, "red": 5, "cube": 6}


@pytest.fixture
def texts(tmp_path: Path) -> TextTower:
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", START), ("<end>", END)]
    )
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH, pad_id=PAD, pad_token="<pad>")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    # Six numbers a text: how often each of the first tokens stands in it, by a one-hot table, not normalised.
    network = _network(
        [
            helper.make_node("Gather", ["table", "tokens"], ["rows"]),
            helper.make_node("ReduceSum", ["rows", "axis"], ["embedding"], keepdims=0),
        ],
        ("tokens", TensorProto.INT64, ["n", LENGTH]),
        {"table": np.eye(len(WORDS), dtype=np.float32), "axis": np.array([1])},
    )
    (tmp_path / "text.onnx").write_bytes(network)
    return TextTower(spec(), open_session(tmp_path / "text.onnx"), tmp_path / "tokenizer.json")


@pytest.fixture
def pictures(tmp_path: Path) -> ImageTower:
    """The mean colour, seven times as long as it should be."""
    network = _network(
        [
            helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "seven"], ["embedding"]),
        ],
        ("pixels", TensorProto.FLOAT, ["n", 3, SIZE, SIZE]),
        {"axes": np.array([2, 3]), "seven": np.array(7, np.float32)},
    )
    (tmp_path / "image.onnx").write_bytes(network)
    return ImageTower(spec(), open_session(tmp_path / "image.onnx"))


def _network(
    nodes: list[onnx.NodeProto], takes: tuple[str, int, list[str | int]], constants: dict[str, NDArray[np.generic]]
) -> bytes:
    graph = helper.make_graph(
        nodes, "tower", [helper.make_tensor_value_info(*takes)],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", "d"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model: bytes = helper.make_model(
        graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]
    ).SerializeToString()
    return model


def test_a_text_becomes_tokens_with_start_end_and_padding(texts: TextTower) -> None:
    tokens = texts.prepare("a red Cube")
    assert tokens.ids.dtype == np.int64
    assert tokens.ids.tolist() == [START, 4, 5, 6, END, PAD, PAD, PAD]
    assert not tokens.truncated


@pytest.mark.parametrize(("words", "truncated"), [(5, False), (6, False), (7, True), (10_000, True)])
def test_a_text_is_cut_at_the_limit_and_says_so(texts: TextTower, words: int, truncated: bool) -> None:
    tokens = texts.prepare(" ".join(["red"] * words))
    kept = min(words, LENGTH - 2)
    assert tokens.ids.tolist() == [START, *[5] * kept, END, *[PAD] * (LENGTH - 2 - kept)]
    assert tokens.truncated is truncated


def test_what_lies_behind_a_million_characters_is_cut_off_too(texts: TextTower) -> None:
    tokens = texts.prepare("red" + " " * 999_000 + "cube")
    assert tokens.ids.tolist()[:3] == [START, 5, END]
    assert tokens.truncated


@pytest.mark.parametrize("separator", ["\0", "\x1b", "\x7f", "\n", "\t", "\r\n", "\0\0 \0"])
def test_control_characters_separate_words(texts: TextTower, separator: str) -> None:
    assert texts.prepare(f"{separator}red{separator}cube").ids.tolist()[:4] == [START, 5, 6, END]


@pytest.mark.parametrize(
    "text", ["\U0001f600", "red \U0001f469\u200d\U0001f680", "\u05e9\u05dc\u05d5\u05dd", "e\u0301"]
)
def test_any_writing_is_read(texts: TextTower, text: str) -> None:
    tokens = texts.prepare(text)
    assert UNKNOWN in tokens.ids
    assert not tokens.truncated


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\0", "\x00\x01\x1f", "\u2003"])
def test_an_empty_text_is_refused(texts: TextTower, text: str) -> None:
    with pytest.raises(Problem) as refused:
        texts.prepare(text)
    assert refused.value.code == "bad_request"


def test_half_a_character_spoils_nothing(texts: TextTower) -> None:
    ids = texts.prepare("red \ud83d cube").ids.tolist()
    assert [token for token in ids if token not in (UNKNOWN, PAD)] == [START, 5, 6, END]


def test_text_vectors_have_length_one(texts: TextTower) -> None:
    batch = [texts.prepare(text).ids for text in ("a", "red red cube")]
    vectors = texts.run(batch)
    assert vectors.dtype == np.float32
    # Counts by hand: "a" is start, end, a and five paddings; the other start, end, two red, cube and three paddings.
    for row, counts in zip(vectors, ([1, 1, 5, 0, 1, 0, 0], [1, 1, 3, 0, 0, 2, 1]), strict=True):
        np.testing.assert_allclose(row, np.array(counts) / math.sqrt(sum(n * n for n in counts)), atol=1e-6)


def test_image_vectors_have_length_one(pictures: ImageTower) -> None:
    colour = np.array([200, 100, 50])
    data = encoded(np.broadcast_to(colour, (30, 40, 3)).astype(np.uint8), "PNG")
    expected = (colour / 255 - MEAN) / STD
    np.testing.assert_allclose(
        pictures.run([pictures.prepare(data)])[0], expected / np.linalg.norm(expected), atol=1e-5
    )


def test_a_vector_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    model = load_manifest().models["clip-embedded"]
    assert model.clip is not None
    files = Store(tmp_path).locate(model)
    image = ImageTower(model.clip, open_session(files["image"], 1))
    text = TextTower(model.clip, open_session(files["text"], 1), files["tokenizer"])
    tensors = [image.prepare(encoded(picture(64, 48 + seed, seed), "PNG")) for seed in range(5)]
    rows = [text.prepare(words).ids for words in ("a red cube", "two dogs", "x", "\U0001f600", "word " * 500)]
    for run, items in ((image.run, tensors), (text.run, rows)):
        together = run(items)  # type: ignore[operator]
        assert together.shape == (5, model.clip.dim)
        np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
        alone = np.concatenate([run([item]) for item in items])  # type: ignore[operator]
        np.testing.assert_allclose(together, alone, atol=1e-5)
