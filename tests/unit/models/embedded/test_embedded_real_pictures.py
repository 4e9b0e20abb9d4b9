"""Words of colour, layout, light and print rank real pictures as a person does.

``real_pictures.tsv`` was labelled by eye, before the weights that ship were trained: for each text, pictures that it
fits and pictures that it does not.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from serve_app.evaluation.encoder import Towers
from serve_app.media import images
from serve_app.models.embedded.held_out import held_out_photographs
from serve_app.models.manifest import load_manifest
from serve_app.models.store import Store

TABLE = Path(__file__).with_name("real_pictures.tsv")
RIGHT = 0.75  # the least share of its pairs that a text must order rightly,
DOUBTFUL = {"blue above and green below", "a bright photo", "a smooth picture", "with printed text"}  # but for these
IN_ALL = 0.85


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Towers:
    model, store = load_manifest().models["clip-embedded"], Store(tmp_path_factory.mktemp("home"))
    return Towers(model, store.locate(model), threads=1)


def test_texts_rank_real_pictures_as_a_person_does(towers: Towers, shared: Path) -> None:
    folder = shared / "media" / "images"
    with TABLE.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    names = {name for row in rows for name in (row["fits"] + " " + row["does_not"]).split()}
    vectors = {name: towers.picture(images.decode((folder / name).read_bytes(), 640).pixels)[0] for name in names}
    ordered: dict[str, list[bool]] = {}
    for row in rows:
        text = towers.text(row["words"])[0]
        near, far = ([text @ vectors[name] for name in row[column].split()] for column in ("fits", "does_not"))
        ordered.setdefault(row["words"], []).extend(one > other for one in near for other in far)
    shares = {words: float(np.mean(pairs)) for words, pairs in ordered.items()}
    assert {words for words, share in shares.items() if share < RIGHT} <= DOUBTFUL, shares
    assert np.mean([pair for pairs in ordered.values() for pair in pairs]) >= IN_ALL


def test_colours_rank_photographs_that_packages_carry(towers: Towers) -> None:
    pictures = held_out_photographs()
    vectors = {name: towers.picture(pixels)[0] for name, pixels in pictures.items()}
    for words, best in (
        ("a page of text", "page.png"),
        ("a black and white photo", "camera.png"),
        ("mostly blue", "rocket.jpg"),
    ):
        text = towers.text(words)[0]
        assert max(vectors, key=lambda name: float(text @ vectors[name])) == best, words
