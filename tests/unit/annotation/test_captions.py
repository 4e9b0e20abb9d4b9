"""Sentences about pictures: word for word those of open_clip's own greedy ``generate`` under the same weights."""

from __future__ import annotations

import asyncio
import json
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import coca_golden as golden
import numpy as np
import pytest
import torch
from coca_golden import END, GOLDEN, LEAST, LENGTH, PICTURES, SIDE, START, WORDS
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel

from serve_app.annotation.captions import Captioner, Sentence, load_captioner
from serve_app.errors import Problem
from serve_app.models.coca import IMAGE, TEXT, TOKENIZER, export_coca
from serve_app.models.manifest import Caption, Model, load_manifest
from serve_app.models.pull import PullError, pull
from serve_app.models.sessions import open_session
from serve_app.models.store import Store

Png = Callable[..., bytes]
SPELT = ["!", "a", "the", "dog", "cat", "on", "red", ".", "Ġsofa", "caf", "Ã©"]
"""The first words; two are parts of one, spelt in the letters that stand for bytes."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine take longer than one alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> Any:
    return golden.build()


@pytest.fixture(scope="module")
def files(model: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("coca")
    words = [word + ("" if word == "caf" else "</w>") for word in SPELT]
    words += [f"w{i}</w>" for i in range(len(words), WORDS)]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="!</w>"))
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in ("<start_of_text>", "<end_of_text>")])
    export_coca(model, tokenizer, out, image_size=SIDE, length=LENGTH)
    return {"image": out / IMAGE, "text": out / TEXT, "tokenizer": out / TOKENIZER}


def row(**changes: Any) -> Model:
    """The shipped row, for networks as small as these."""
    shipped = load_manifest().models["coca-vit-b-32-mscoco"].model_dump()
    sizes = {"image_size": SIDE, "context_length": 20, "dim": 32, "min_tokens": LEAST, "max_tokens": LENGTH}
    return Model.model_validate({**shipped, "caption": {**shipped["caption"], **sizes, **changes}})


@pytest.fixture(scope="module")
def captioner(files: dict[str, Path]) -> Captioner:
    return load_captioner(row(), files, 1)


def expected() -> list[list[int]]:
    """The golden sentences without start, end and padding."""
    sentences = [sentence[1:] for sentence in json.loads(GOLDEN.read_text())]
    return [sentence[: next(i for i, token in enumerate(sentence) if token in (END, 0))] for sentence in sentences]


def test_a_batch_says_what_open_clip_generates(captioner: Captioner) -> None:
    found = [sentence.tokens for sentence in captioner.run(list(golden.pictures().numpy()))]
    assert found == expected()
    assert {len(sentence) for sentence in found} >= {5, 7, 12}, "sentences of one length would not try the batch"


def test_each_picture_says_the_same_alone(captioner: Captioner) -> None:
    together = captioner.run(list(golden.pictures().numpy()))
    for picture, sentence in zip(golden.pictures().numpy(), together, strict=True):
        (alone,) = captioner.run([picture])
        assert alone.tokens == sentence.tokens
        assert alone.chosen == pytest.approx(sentence.chosen, abs=1e-4)


def test_every_step_has_the_probabilities_of_the_whole(model: Any, files: dict[str, Path]) -> None:
    """open_clip computes all tokens anew; the step keeps keys and values. The past beyond a place must not count."""
    tokens = torch.tensor([[START, 3, 9, 17, 2, 31], [START, 30, 30, 5, 8, 1]])
    pixels = golden.pictures()[:2]
    with torch.no_grad():
        whole = model(pixels, tokens, output_labels=False)["logits"].log_softmax(-1).numpy()
    (sight,) = open_session(files["image"], 1).run(None, {"pixels": pixels.numpy()})
    step = open_session(files["text"], 1)
    past = np.full((2, *step.get_inputs()[2].shape[1:]), 1e3, np.float32)
    for place in range(tokens.shape[1]):
        given = {"token": tokens[:, place].numpy(), "position": np.array([place]), "past": past, "sight": sight}
        scores, own = step.run(["scores", "own"], given)
        np.testing.assert_allclose(scores, whole[:, place], atol=2e-4)
        past[..., place : place + 1, :] = own
    assert whole.std() > 1


def test_the_confidence_is_the_geometric_mean_of_the_chosen(captioner: Captioner) -> None:
    (label,) = captioner.finish(Sentence([1, 3], [math.log(0.9), math.log(0.4), math.log(0.5)]))
    assert label.label == "a dog"
    assert label.confidence == pytest.approx((0.9 * 0.4 * 0.5) ** (1 / 3))
    assert label.box is None


@pytest.mark.parametrize(
    ("tokens", "text"),
    [([2, 4, 5, 1, 6, 3, 7], "the cat on a red dog."), ([9, 10], "café"), ([1, 8, START, 3], "a sofa dog"), ([], None)],
)
def test_tokens_become_words(captioner: Captioner, tokens: list[int], text: str | None) -> None:
    labels = captioner.finish(Sentence(tokens, [-0.1]))
    assert [label.label for label in labels] == ([] if text is None else [text])


def test_what_is_no_number_is_refused(captioner: Captioner) -> None:
    with pytest.raises(Problem, match="not a number"):
        captioner.finish(Sentence([1], [math.nan]))


def test_a_broken_picture_in_a_batch_harms_nobody(captioner: Captioner) -> None:
    good = golden.pictures().numpy()[1]
    broken = np.full_like(good, np.nan)
    sentences = captioner.run([broken, good])
    assert sentences[1].tokens == expected()[1]
    with pytest.raises(Problem, match="not a number"):
        captioner.finish(sentences[0])


def test_a_picture_is_prepared_as_open_clip_does(captioner: Captioner, png: Png) -> None:
    from open_clip.transform import image_transform
    from PIL import Image

    pixels = np.random.default_rng(3).integers(0, 256, (50, 70, 3), np.uint8)
    spec = row().caption
    assert spec is not None
    transform = image_transform(SIDE, is_train=False, mean=spec.mean, std=spec.std)
    theirs = transform(Image.fromarray(pixels)).numpy()
    assert np.abs(captioner.prepare(png(pixels)) - theirs).max() < 2.5 / 255 / min(spec.std)
    with pytest.raises(Problem):
        captioner.prepare(b"words")


@pytest.mark.parametrize("changes", [{"image_size": SIDE * 2}, {"max_tokens": LENGTH + 1}])
def test_networks_that_do_not_fit_their_row_are_refused(files: dict[str, Path], changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="the manifest says"):
        load_captioner(row(**changes), files, 1)


def test_a_checkpoint_that_is_none_is_refused_and_not_kept(tmp_path: Path) -> None:
    folder = tmp_path / "from"
    folder.mkdir()
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"<html>not found</html>")
    store, served = Store(tmp_path / "home"), load_manifest().models["coca-vit-b-32-mscoco"]
    with pytest.raises(PullError, match=r"open_clip_pytorch_model\.bin"):
        pull(store, [served], from_dir=folder)
    assert store.state(served) == "missing"


def test_pictures_share_batches_in_the_deployment(
    files: dict[str, Path], captioner: Captioner, png: Png, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own use of pydantic
        import deployments.captioner
        from deployments.replica import ModelRecipe

    monkeypatch.setattr(Store, "locate", lambda self, model: files)
    monkeypatch.setattr("serve_app.annotation.captions.load_captioner", lambda *args: captioner)
    recipe = ModelRecipe("coca-vit-b-32-mscoco", str(tmp_path), threads=1)
    replica = deployments.captioner.Captioner.func_or_class(recipe)
    pictures = [png(np.full((20, 30, 3), level, np.uint8)) for level in (0, 120, 255)]

    async def scenario() -> list[Any]:
        calls = [replica.caption(data) for data in (*pictures, b"words")]
        return await asyncio.gather(*calls, return_exceptions=True)

    *answers, refused = asyncio.run(scenario())
    for data, answer in zip(pictures, answers, strict=True):
        (sentence,) = captioner.run([captioner.prepare(data)])
        assert [label.label for label in answer] == [label.label for label in captioner.finish(sentence)]
    assert isinstance(refused, Problem)
    assert refused.code == "unsupported_media"


def test_the_row_of_a_captioner_is_whole() -> None:
    spec = row().caption
    assert isinstance(spec, Caption)
    assert len(expected()) == PICTURES
    for fault in ({"max_tokens": 21}, {"min_tokens": LENGTH}, {"architecture": None}):
        with pytest.raises(ValueError, match=r"min_tokens < max_tokens|caption\.architecture"):
            row(**fault)
