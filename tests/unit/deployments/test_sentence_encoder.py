"""The deployment of the sentence encoder, without a cluster: a replica is a plain object."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own use of pydantic
    import deployments.replica
    from deployments.replica import ModelRecipe
    from deployments.sentence_encoder import SentenceEncoder

from serve_app.errors import Problem
from serve_app.models.manifest import load_manifest, shipped
from serve_app.models.pull import convert_shipped
from serve_app.models.store import Store

NAME = "minilm-l6-v2"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    convert_shipped(Store(home), load_manifest().models[NAME])
    return home


@pytest.fixture
def served(home: Path) -> Any:
    one = SentenceEncoder.func_or_class(ModelRecipe(NAME, str(home), threads=1))
    one.reconfigure({"max_batch_size": 8, "max_queue": 100})
    return one


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Any]:
    """A replica in a new home, the row's file ``checkpoint`` changed."""

    def make(change: dict[str, Any]) -> Any:
        manifest = yaml.safe_load(shipped().read_text(encoding="utf-8"))
        manifest["models"][NAME]["files"]["checkpoint"] |= change
        (tmp_path / "models.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
        monkeypatch.setattr(deployments.replica, "load_manifest", lambda: load_manifest(tmp_path / "models.yaml"))
        return SentenceEncoder.func_or_class(ModelRecipe(NAME, str(tmp_path), threads=1))

    return make


def test_concurrent_texts_of_all_lengths_share_batches_and_keep_their_vectors(served: Any) -> None:
    texts = ["a dog", "a cat on a mat", "word " * 2100, "a dog", "🦜", "many words about a dog and a cat " * 5] * 4
    sizes, run = [], served.texts._model
    served.texts._model = lambda batch: sizes.append(len(batch)) or run(batch)

    async def all_and_alone() -> tuple[list[Any], list[Any]]:
        together = await served.encode_texts(texts)
        return together, [(await served.encode_texts([text]))[0] for text in texts]

    together, alone = asyncio.run(all_and_alone())
    assert max(sizes) > 1
    assert [one["truncated"] for one in together] == [text.startswith("word") for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert one["vector"].shape == (384,)
        np.testing.assert_allclose(one["vector"], other["vector"], atol=2e-6)


def test_texts_of_one_meaning_are_nearer_than_others(served: Any) -> None:
    async def vectors(*texts: str) -> Any:
        return np.stack([one["vector"] for one in await served.encode_texts(list(texts))])

    dog, puppy, tax = asyncio.run(vectors("a dog plays with a ball", "the puppy chases its toy", "how to file taxes"))
    assert dog @ puppy > dog @ tax + 0.3


def test_an_empty_text_costs_only_itself(served: Any) -> None:
    one, nothing, two = asyncio.run(served.encode_texts(["one", " \x00 ", "two"]))
    assert isinstance(nothing, Problem)
    assert nothing.code == "bad_request"
    assert one["vector"].shape == two["vector"].shape == (384,)


def test_it_says_how_it_stands(served: Any) -> None:
    assert asyncio.run(served.status()) == {
        "task": "text_embedding", "model": NAME, "revision": "1", "state": "ready", "remedy": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "detail"),
    [({"package": "no_such_package:model/model.safetensors"}, "is missing"), ({"sha256": "0" * 64}, "is damaged")],
)
def test_without_a_sound_package_it_is_unavailable_with_the_remedy(
    broken: Callable[[dict[str, Any]], Any], change: dict[str, Any], detail: str
) -> None:
    one = broken(change)
    with pytest.raises(Problem, match=detail) as caught:
        asyncio.run(one.encode_texts(["a dog"]))
    assert caught.value.code == "unavailable"
    assert caught.value.remedy == f"mediaverse models pull {NAME}"
    status = asyncio.run(one.status())
    assert status["state"] == "unavailable"
    assert status["remedy"]
