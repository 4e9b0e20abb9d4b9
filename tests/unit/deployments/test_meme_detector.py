"""The deployment of MemeTector with the weights that ship, without a cluster: a replica is a plain object."""

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
    import deployments.replica
    from deployments.meme_detector import MemeDetector
    from deployments.replica import ModelRecipe

from serve_app.errors import Problem
from serve_app.models.manifest import load_manifest
from serve_app.models.memes.captions import macro
from serve_app.models.memes.scenery import photograph

ROW = "memetector-embedded"


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return MemeDetector.func_or_class(ModelRecipe(ROW, str(tmp_path_factory.mktemp("home")), threads=1))


def encoded(pixels: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def pair() -> tuple[bytes, bytes]:
    """A part of a photograph, and the same with words above and below."""
    rng = np.random.default_rng(12)
    plain = photograph(rng, 300)
    image = Image.fromarray(plain)
    macro(rng, image)
    return encoded(plain), encoded(np.asarray(image))


def test_pictures_are_scored_together_and_one_that_is_broken_costs_itself(
    replica: Any, pair: tuple[bytes, bytes]
) -> None:
    async def ask() -> list[Any]:
        asked = (replica.score(data) for data in (*pair, b"no picture", pair[1]))
        return await asyncio.gather(*asked, return_exceptions=True)

    plain, meme, broken, again = asyncio.run(ask())
    assert plain < 0.5 <= meme <= 1
    assert again == pytest.approx(meme, abs=1e-5)
    assert isinstance(broken, Problem)


def test_an_explanation_is_the_score_and_a_picture_of_the_same_shape(replica: Any, pair: tuple[bytes, bytes]) -> None:
    score, png = asyncio.run(replica.explain(pair[1]))
    assert score == pytest.approx(asyncio.run(replica.score(pair[1])), abs=1e-5)
    with Image.open(io.BytesIO(png)) as shown:
        assert (shown.format, shown.size) == ("PNG", (300, 300))


def test_the_status_names_the_model_and_is_ready(replica: Any) -> None:
    status = asyncio.run(replica.status())
    assert (status["task"], status["model"], status["state"]) == ("meme_detection", ROW, "ready")


def test_missing_weights_are_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: tuple[bytes, bytes]
) -> None:
    manifest = load_manifest()
    absent = {"weights": manifest.models["yolox-s"].files["weights"]}
    row = manifest.models[ROW].model_copy(update={"files": absent})
    changed = manifest.model_copy(update={"models": {**manifest.models, ROW: row}})
    monkeypatch.setattr(deployments.replica, "load_manifest", lambda: changed)
    replica = MemeDetector.func_or_class(ModelRecipe(ROW, str(tmp_path), threads=1))
    for method in (replica.score, replica.explain):
        with pytest.raises(Problem) as caught:
            asyncio.run(method(pair[0]))
        assert caught.value.code == "unavailable"
