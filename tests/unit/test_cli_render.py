"""``mediaverse render``, in the folder that the test runs in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
import typer
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from serve_app import cli_render
from tests.meshes import file, room, solid

app = typer.Typer()
app.command("render")(cli_render.render)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds box.glb and a furnished room.obj."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "box.glb").write_bytes(file(solid("box", extents=(2, 1, 1)), "glb"))
    stands = [solid("box", extents=(1, 1.5, 0.5)).apply_translation((x, 0.75, -1)) for x in (-1.5, 1.5)]
    (tmp_path / "room.obj").write_bytes(file(trimesh.util.concatenate([room(), *stands]), "obj"))
    return tmp_path


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output


def said(*words: str) -> dict[str, Any]:
    status, text = run(*words, "--json")
    assert status == 0, text
    answer: dict[str, Any] = json.loads(text)
    return answer


def pixels(path: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path))


def test_eight_views_from_outside(here: Path) -> None:
    answer = said("box.glb", "--size", "32")
    assert answer["seen"] == "outside"
    assert (answer["format"], answer["triangles"], answer["size"]) == ("glb", 12, [2, 1, 1])
    assert [view["azimuth"] for view in answer["views"]] == [0, 45, 90, 135, 180, 225, 270, 315]
    assert [view["file"] for view in answer["views"]] == [f"box/view_{number:03}.png" for number in range(8)]
    front, side = (pixels(answer["views"][number]["file"]) for number in (0, 2))
    assert front.shape == (32, 32, 3)
    assert (front[0] == 255).all()
    drawn = [int((picture != 255).any(axis=2).any(axis=0).sum()) for picture in (front, side)]
    long, short = np.array([2, 1]) / np.sqrt(6)  # half sides, of a diagonal of 2
    wide = [32 * half / (2 - away) / np.tan(np.radians(30)) for half, away in ((long, short), (short, long))]
    assert drawn == pytest.approx(wide, abs=1)


def test_a_room_is_drawn_from_inside_and_its_thumbnail_without_the_near_walls(here: Path) -> None:
    answer = said("room.obj", "--views", "--thumbnail", "--size", "64", "--out", "pictures/of/it")
    assert answer["seen"] == "inside"
    assert all(view["inside"] for view in answer["views"])
    assert sorted(path.name for path in Path("pictures/of/it").iterdir()) == [
        "thumbnail.png", "thumbnail.webp", *(f"view_{number:03}.png" for number in range(8))
    ]  # fmt: skip
    inside = np.stack([pixels(view["file"]) for view in answer["views"]])
    assert (inside != 255).any(axis=3).all(), "walls all around"
    alpha = pixels("pictures/of/it/thumbnail.png")[..., 3]
    assert alpha[0].max() == 0
    assert alpha.max() == 255


def test_a_turntable_over_a_background(here: Path) -> None:
    answer = said("box.glb", "--turntable", "--size", "16", "--background", "#336699")
    assert answer["turntable"] == ["box/turntable.gif", "box/turntable.webp"]
    for path in answer["turntable"]:
        with Image.open(path) as moving:
            assert moving.size == (16, 16)
            assert moving.n_frames == 24
            corner = np.asarray(moving.convert("RGB"))[0, 0].astype(int)
        assert np.abs(corner - (0x33, 0x66, 0x99)).max() <= 12  # palettes and compression
    assert "views" not in answer


def test_up_can_be_told(here: Path) -> None:
    Path("tall.glb").write_bytes(file(solid("box", extents=(1, 1, 3)), "glb"))
    assert said("tall.glb", "--thumbnail", "--size", "16", "--up", "z")["size"] == [1, 3, 1]


def test_people_are_told_what_was_drawn(here: Path) -> None:
    status, text = run("box.glb", "--size", "16")
    assert status == 0
    assert "box.glb: glb, 12 triangles, 2 x 1 x 1" in text
    assert "seen from outside" in text
    assert "box/view_007.png" in text


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("missing.glb",), "not_found"),
        (("text.txt",), "unsupported_media"),
        (("cut.glb",), "undecodable_media"),
        (("box.glb", "--background", "nocolour"), "bad_request"),
        (("box.glb", "--size", "16", "--out", "text.txt"), "bad_request"),
    ],
)
def test_faults_are_said(here: Path, words: tuple[str, ...], code: str) -> None:
    (here / "text.txt").write_text("no mesh at all\n")
    (here / "cut.glb").write_bytes((here / "box.glb").read_bytes()[:200])
    status, text = run(*words, "--json")
    assert status == 1
    assert json.loads(text)["error"]["code"] == code
