"""Captions: true, worded in many ways, and wrong in one thing when the facts are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from serve_app.models.embedded.impressions import Impression
from serve_app.models.embedded.words import Describable, Group, PageFacts, SceneFacts, listed, with_article

SHAPES = ("cube", "sphere", "cone", "mug")
CUBE = Group("cube", "orange", "small", "plain", 1)
BALLS = Group("sphere", "blue", "large", "striped", 2)
TWO = SceneFacts((CUBE, BALLS), "left of", ("on a red background", "on red"), "night", "top", SHAPES)
ONE = SceneFacts((replace(CUBE, place="centre"),), None, (), None, None, SHAPES)
SEPIA = SceneFacts((CUBE, BALLS), None, ("on wood",), "sepia", None, SHAPES)
PAGE = PageFacts("yellow", "blue", "small", 2, True, False)
LAID_OUT = Impression(("green", "blue"), (("top", "blue"), ("bottom", "green")), False, "bright", "busy", "a temple")
PLAIN = Impression(("black",), (), True, "dark", "", "")
FACTS = {"two": TWO, "one": ONE, "sepia": SEPIA, "page": PAGE, "laid out": LAID_OUT, "plain": PLAIN}


def _wordings(facts: Describable, full: bool, count: int = 300) -> set[str]:
    return {facts.describe(np.random.default_rng(seed), full) for seed in range(count)}


def test_a_full_caption_says_everything_in_varied_words() -> None:
    said = _wordings(TWO, True)
    assert len(said) > 200
    for caption in said:
        for part in (
            ("orange",),
            ("cube", "box"),
            ("small", "little", "tiny"),
            ("two ", "2 ", "pair"),
            ("striped",),
            ("blue",),
            ("spheres", "balls"),
            ("left",),
            ("red",),
            ("night", "dark"),
            ("text", "caption", "words", "writing"),
            ("top", "upper"),
        ):
            assert any(word in caption for word in part), (part, caption)


def test_a_free_caption_leaves_parts_out_but_adds_none() -> None:
    said = _wordings(ONE, False)
    assert {"an orange cube", "a small orange box"} <= said
    assert any("middle" in caption for caption in said)
    words = {word for caption in said for word in caption.split()}
    assert not words & {"red", "blue", "sphere", "left", "right", "night", "text", "striped", "large", "two"}


def test_colourless_pictures_are_not_given_colours() -> None:
    assert not any("orange" in caption or "blue" in caption for caption in _wordings(SEPIA, False))


@pytest.mark.parametrize("name", FACTS)
def test_an_altered_fact_makes_another_sentence(name: str) -> None:
    facts = FACTS[name]
    for seed in range(200):
        false = facts.altered(np.random.default_rng(seed))
        assert false != facts
        wordings = [one.describe(np.random.default_rng(7), True) for one in (facts, false)]
        assert wordings[0] != wordings[1], false
        shared = set(wordings[0].split()) & set(wordings[1].split())
        assert len(shared) >= 0.4 * len(set(wordings[0].split())), "the rest of the sentence is the same"


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("full", [True, False])
def test_the_draws_do_not_depend_on_the_facts(name: str, full: bool) -> None:
    facts = FACTS[name]
    for seed in range(100):
        after = []
        for one in (facts, facts.altered(np.random.default_rng(seed))):
            rng = np.random.default_rng(seed)
            one.describe(rng, full)
            after.append(rng.random())
        assert after[0] == after[1]


def test_words_about_a_page_and_an_impression() -> None:
    assert any("two columns" in caption and "blue" in caption for caption in _wordings(PAGE, True))
    assert all("yellow" in caption and "tilted" not in caption for caption in _wordings(PAGE, True))
    for caption in _wordings(LAID_OUT, True):
        assert "blue above" in caption or "blue at the top" in caption
        assert "green below" in caption or "green at the bottom" in caption
        assert "temple" in caption
    assert all("black" in caption for caption in _wordings(PLAIN, False))


def test_grammar() -> None:
    assert with_article("orange cube") == "an orange cube"
    assert with_article("red cube") == "a red cube"
    assert listed(["a", "b", "c"]) == "a, b and c"
    boxes = replace(CUBE, count=3)
    assert "three small orange boxes" in {boxes.phrase(np.random.default_rng(s), True, True) for s in range(200)}
