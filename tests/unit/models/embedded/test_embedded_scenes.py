"""The generated world: repeatable, and true in what it says."""

from __future__ import annotations

import re

import numpy as np
import pytest

from serve_app.models.embedded.backgrounds import PHOTOGRAPHS
from serve_app.models.embedded.held_out import NAMES, held_out_photographs
from serve_app.models.embedded.scenes import LABELS, Mix, Scene, generate
from serve_app.models.embedded.solids import EVERYDAY
from serve_app.models.embedded.words import SceneFacts

SIDE = 64
WORDS = {
    "cube": "cube|box",
    "sphere": "sphere|ball",
    "cylinder": "cylinder|can",
    "cone": "cone",
    "torus": "torus|tori|ring|doughnut",
    "pyramid": "pyramid",
    "mug": "mug|cup",
}
COLOURS = {"grey": "grey|gray", "turquoise": "turquoise|cyan", "purple": "purple|violet"}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [generate(11, index, SIDE, Mix(full=True)) for index in range(60)]


def test_same_numbers_give_the_same_scene(scenes: list[Scene]) -> None:
    for index in (0, 7, 23):
        again = generate(11, index, SIDE, Mix(full=True))
        assert np.array_equal(again.pixels, scenes[index].pixels)
        assert (again.captions, again.wrong, again.boxes, again.labels) == (
            scenes[index].captions,
            scenes[index].wrong,
            scenes[index].boxes,
            scenes[index].labels,
        )


def test_another_seed_gives_other_scenes(scenes: list[Scene]) -> None:
    other = [generate(12, index, SIDE, Mix(full=True)).caption for index in range(10)]
    assert len(set(other) & {scene.caption for scene in scenes}) < 3


def test_boxes_lie_in_the_picture_and_have_known_labels(scenes: list[Scene]) -> None:
    assert sum(len(scene.boxes) for scene in scenes) > 60
    for scene in scenes:
        assert scene.pixels.shape == (SIDE, SIDE, 3)
        assert scene.pixels.dtype == np.uint8
        assert set(scene.labels) <= {*LABELS, *EVERYDAY}
        for x1, y1, x2, y2 in scene.boxes:
            assert -0.5 <= x1 < x2 <= SIDE + 0.5
            assert -0.5 <= y1 < y2 <= SIDE + 0.5


def test_captions_name_what_is_there(scenes: list[Scene]) -> None:
    planned = [(scene, scene.facts) for scene in scenes if isinstance(scene.facts, SceneFacts)]
    assert len(planned) > 30
    for scene, facts in planned:
        solids = [label for label in scene.labels if label != "text block"]
        assert sorted(solids) == sorted(group.shape for group in facts.groups for _ in range(group.count))
        for group in facts.groups:
            assert re.search(WORDS.get(group.shape, group.shape), scene.caption), (group, scene.caption)
            if facts.coloured:
                assert re.search(COLOURS.get(group.colour, group.colour), scene.caption), (group, scene.caption)


def test_relations_hold_between_the_boxes() -> None:
    checked = 0
    for index in range(80):
        scene = generate(13, index, SIDE, Mix(photographs=0, pages=0, texts=0))
        facts = scene.facts
        if not isinstance(facts, SceneFacts) or not facts.relation:
            continue
        one, two = facts.groups[:2]
        centres = np.array([[(x1 + x2) / 2, (y1 + y2) / 2] for x1, y1, x2, y2 in scene.boxes])
        first, second = centres[: one.count], centres[one.count : one.count + two.count]
        axis = 0 if facts.relation in ("left of", "right of") else 1
        before, after = (first, second) if facts.relation in ("left of", "above") else (second, first)
        assert before[:, axis].max() < after[:, axis].min()
        checked += 1
    assert checked > 8


def test_colourless_moods_have_no_colour() -> None:
    for index in range(200):
        scene = generate(14, index, SIDE, Mix(photographs=0, pages=0, texts=0, moods=1.0))
        if isinstance(scene.facts, SceneFacts) and scene.facts.mood == "black-and-white":
            assert np.ptp(scene.pixels.astype(int), axis=-1).max() == 0
            return
    pytest.fail("no black-and-white scene among 200")


def test_held_out_photographs_are_not_trained_on() -> None:
    trained = {place.rpartition(":")[2] for place, _ in PHOTOGRAPHS.values()}
    assert not trained & set(NAMES)
    assert len(held_out_photographs()) == 8
