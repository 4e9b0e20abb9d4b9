"""Captions files and folders: what is read, what is missing, and what is said of files that are none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from serve_app.errors import Problem
from serve_app.evaluation.captions import Captioned, read_captioned

COCO: dict[str, Any] = {
    "info": {"year": 2014},
    "images": [{"id": 9, "file_name": "b.jpg"}, {"id": 4, "file_name": "a.jpg"}, {"id": 5, "file_name": "gone.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 4, "caption": " a dog "},
        {"id": 2, "image_id": 9, "caption": "a cat"},
        {"id": 3, "image_id": 4, "caption": "an animal"},
        {"id": 4, "image_id": 4, "caption": "  "},
    ],
}  # fmt: skip


def read(folder: Path, table: object, images: Path | None = None) -> Captioned:
    path = folder / "captions.json"
    path.write_text(table if isinstance(table, str) else json.dumps(table), encoding="utf-8")
    return read_captioned(path, images)


def shown(captioned: Captioned) -> tuple[Any, ...]:
    pictures = [(one.group, one.name, one.read()) for one in captioned.pictures]
    return pictures, captioned.texts, captioned.missing


@pytest.mark.parametrize("place", ["", "images", "elsewhere"])
def test_cocos_captions_belong_to_their_pictures(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(exist_ok=True)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / place / name).write_bytes(name.encode())
    captioned = read(tmp_path, COCO, tmp_path / place if place == "elsewhere" else None)
    assert shown(captioned) == (
        [(0, "b.jpg", b"b.jpg"), (1, "a.jpg", b"a.jpg")],
        [(0, "a cat"), (1, "a dog"), (1, "an animal")],
        ["gone.jpg"],
    )


def test_a_list_of_files_with_captions_is_read_from_the_folder_above(tmp_path: Path) -> None:
    for name in ("captions", "images"):
        (tmp_path / name).mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"a")
    rows = [{"file": "images/a.jpg", "captions": ["a dog"], "objects": {"dog": 1}}, {"file": "b", "captions": ["cat"]}]
    captioned = read(tmp_path / "captions", rows)
    assert shown(captioned) == ([(0, "images/a.jpg", b"a")], [(0, "a dog"), (1, "cat")], ["b"])


def test_a_folder_has_groups_by_the_beginnings_of_names(tmp_path: Path) -> None:
    for name in ("dog.jpg", "dog.2.PNG", "cat.webp", "notes.md"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "dog.txt").write_text("a dog\n\nan animal\n", encoding="utf-8")
    (tmp_path / "cat.txt").write_text("a cat", encoding="utf-8")
    captioned = read_captioned(tmp_path)
    groups = {one.name: one.group for one in captioned.pictures}
    assert groups["dog.jpg"] == groups["dog.2.PNG"] != groups["cat.webp"]
    assert sorted(captioned.texts) == sorted(
        [(groups["dog.jpg"], "a dog"), (groups["dog.jpg"], "an animal"), (groups["cat.webp"], "a cat")]
    )
    assert "notes.md" not in groups


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/hostname", "a\x00b", "x" * 5000, ""])
def test_a_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    rows = [{"file": name, "captions": ["one"]}, {"file": "link.jpg", "captions": ["two"]}]
    captioned = read(tmp_path / "in", rows, tmp_path / "in")
    assert captioned.pictures == []


def without(place: str, key: str) -> dict[str, Any]:
    table = json.loads(json.dumps(COCO))
    del table[place][0][key]
    return table  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[" * 100_000, "nested too deeply"),
        ("1", "(top): there is no such list"),
        ({}, "annotations: there is no such list"),
        ({"annotations": []}, "images: there is no such list"),
        ({"images": [], "annotations": {}}, "annotations: there is no such list"),
        ({"images": [1], "annotations": []}, "images.0: it is no object"),
        (without("images", "id"), "images.0: no id"),
        (without("images", "file_name"), "images.0: no file_name"),
        (without("annotations", "image_id"), "annotations.0: no image_id"),
        (without("annotations", "caption"), "annotations.0: no caption"),
        (COCO | {"annotations": [{"image_id": 77, "caption": "x"}]}, "no image has the id 77"),
        (COCO | {"annotations": [{"image_id": 4, "caption": 3}]}, "annotations.0: no caption, or one that is of anot"),
        (COCO | {"images": [{"id": 4, "file_name": "a"}] * 2}, "images.1: id 4 stands twice"),
        ([{"file": "a.jpg"}], "(top).0: no captions"),
        ([{"file": "a.jpg", "captions": [1]}], "(top).0: a caption is no text"),
        ([{"file": "a.jpg", "captions": ["one"]}], "captions of two pictures at least are needed"),
        ([], "captions of two pictures at least are needed"),
    ],
)
def test_what_is_no_captions_file_is_said(tmp_path: Path, table: object, message: str) -> None:
    with pytest.raises(Problem) as caught:
        read(tmp_path, table)
    assert caught.value.code == "bad_request"
    assert message in caught.value.detail
    assert "captions.json" in caught.value.detail


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "latin.json").write_bytes('["caf\xe9"]'.encode("latin-1"))
    for path, message in ((tmp_path / "latin.json", "no UTF-8 text"), (tmp_path / "none.json", "cannot be read")):
        with pytest.raises(Problem, match=message):
            read_captioned(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(Problem, match="two pictures at least"):
        read_captioned(tmp_path / "folder")


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "captions.json"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(Problem, match="has more than 512 MB"):
        read_captioned(path)
