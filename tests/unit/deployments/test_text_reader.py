"""The reader of printed text as a deployment, without a cluster: a replica is a plain object."""

from __future__ import annotations

import asyncio
import io
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own use of pydantic
    from deployments.replica import ModelRecipe
    from deployments.text_reader import TextReader

from serve_app.annotation.labels import Label
from serve_app.errors import Problem
from serve_app.models import store


def replica(home: Path) -> Any:
    return TextReader.func_or_class(ModelRecipe("rapidocr", str(home), threads=1))


def page(words: str) -> bytes:
    picture = Image.new("RGB", (320, 120), "white")
    ImageDraw.Draw(picture).text((20, 30), words, "black", ImageFont.load_default(40))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_pictures_sent_together_get_their_own_words(tmp_path: Path) -> None:
    async def ask(reader: Any) -> list[list[Label] | BaseException]:
        payloads = [page("seven"), b"broken", page("eleven")]
        return await asyncio.gather(*map(reader.read, payloads), return_exceptions=True)

    reader = replica(tmp_path)
    assert asyncio.run(reader.status())["state"] == "ready"
    seven, broken, eleven = asyncio.run(ask(reader))
    assert isinstance(broken, Problem)
    assert [[label.label for label in labels] for labels in (seven, eleven)] == [["seven"], ["eleven"]]


def test_without_its_package_it_is_unavailable_and_says_what_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.importlib.util, "find_spec", lambda name: None)
    reader = replica(tmp_path)
    with pytest.raises(Problem) as caught:
        asyncio.run(reader.read(page("seven")))
    assert caught.value.code == "unavailable"
    assert caught.value.remedy == "install the Python package rapidocr again"
