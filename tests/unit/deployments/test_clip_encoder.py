"""The encoder with the weights that ship and others beside them, without a cluster: a replica is a plain object."""

from __future__ import annotations

import asyncio
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own use of pydantic
    from deployments.clip_encoder import OTHERS, ClipEncoder
    from deployments.replica import ModelRecipe

from serve_app.errors import Problem
from tests import encoders
from tests.benchmarks import bare


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("home")
    encoders.install(place)
    return place


@pytest.fixture(scope="module")
def replica(home: Path) -> Any:
    return ClipEncoder.func_or_class(ModelRecipe(encoders.OWN, str(home), threads=1))


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 30)).save(stream, "PNG")
    return stream.getvalue()


def test_each_text_and_picture_gets_the_vector_of_the_model_that_is_named(replica: Any) -> None:
    async def ask() -> list[Any]:
        texts = (replica.encode_text("a red square", model) for model in (None, encoders.OWN, encoders.OTHER))
        pictures = (replica.encode_image(picture(), model) for model in (None, encoders.OTHER))
        return [*await asyncio.gather(*texts), *await asyncio.gather(*pictures)]

    own, named, other, image, other_image = asyncio.run(ask())
    tower = bare.text_tower()
    expected = tower.run([tower.prepare("a red square").ids])[0]
    np.testing.assert_allclose(own["vector"], expected, atol=1e-5)
    np.testing.assert_allclose(named["vector"], expected, atol=1e-5)
    assert other["vector"].shape == other_image.shape == (encoders.model().clip.dim,)
    assert image.shape == (256,)
    # The other towers are the own ones behind an isometry, which keeps every cosine.
    assert other["vector"] @ other_image == pytest.approx(own["vector"] @ image, abs=0.03)


def test_a_model_without_weights_or_of_another_task_says_what_to_do(replica: Any) -> None:
    lacking = "clip-vit-b-32-openai"
    for name, remedy in ((lacking, f"mediaverse models pull {lacking}"), ("mtcnn", "mediaverse models list")):
        with pytest.raises(Problem) as refused:
            asyncio.run(replica.encode_text("words", name))
        assert refused.value.code == "unavailable"
        assert remedy in (refused.value.remedy or "")
    assert asyncio.run(replica.encode_text("words"))["vector"].shape == (256,)


def test_no_more_than_a_few_models_are_open_and_the_one_used_last_stays(
    replica: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_other(name: str) -> Any:
        opened.append(name)
        return type(replica.towers)(replica.model, replica.files, 1)

    monkeypatch.setattr(replica, "_open_other", open_other)
    before = len(replica.batchers) - 2 * len(replica.others)
    replica.others.clear()

    async def ask() -> None:
        await asyncio.gather(*(replica.encode_text("words", name) for name in "aaaa"))
        for name in "abacad":
            await replica.encode_text("words", name)

    asyncio.run(ask())
    assert opened == list("abcd"), "one opening a model, however many ask for it, and the busiest is never closed"
    assert list(replica.others) == ["a", "d"]
    assert len(replica.others) == OTHERS
    assert len(replica.batchers) <= before + 2 * OTHERS + 2
