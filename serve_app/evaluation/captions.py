"""Pictures and the words that people wrote to them: COCO's captions file, a folder of both, or generated pairs.

What belongs together has one number, its ``group``: a picture and its captions, or several pictures of one thing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve_app.errors import Problem

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif"}
MOST_BYTES = 1 << 29
"""Of a captions file; COCO's largest has an eighth of that."""
SIDE = 144
"""Of generated pictures: a little more than the embedded towers look at."""
REMEDY = "Give a COCO captions file, or a folder with NAME.jpg and NAME.txt, a caption a line"


@dataclass(frozen=True)
class Picture:
    """A picture of a group; ``read`` gives its bytes, and raises OSError or ``Problem`` where there are none."""

    group: int
    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Captioned:
    """``texts`` are (group, caption); ``missing`` names the pictures whose files are not there."""

    pictures: list[Picture] = field(default_factory=list)
    texts: list[tuple[int, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def read_captioned(source: Path, images: Path | None = None) -> Captioned:
    """A captions file, whose pictures lie in ``images``, beside it or where its names lead; or a folder.

    Raises ``Problem("bad_request")`` that says what is wrong where there is nothing to read.
    """
    found = _folder(source) if source.is_dir() else _file(source, images)
    if len({group for group, _ in found.texts}) < 2:
        raise Problem("bad_request", f"{source}: captions of two pictures at least are needed", REMEDY)
    return found


def generated(count: int) -> Captioned:
    """``count`` scenes of the held-out world, each with a caption that tells everything and a free one."""
    # The worlds bring torch, which files of captions can do without.
    from serve_app.evaluation.photographs import encoded
    from serve_app.models.embedded.held_out import held_out_pairs

    pairs = held_out_pairs(count, SIDE)
    pictures = [
        Picture(number, f"scene {number}", lambda pixels=pixels: encoded(pixels))  # type: ignore[misc]
        for number, pixels in enumerate(pairs.pixels)
    ]
    return Captioned(pictures, [(number, str(text)) for number, row in enumerate(pairs.captions) for text in row])


def _folder(folder: Path) -> Captioned:
    """NAME.txt and NAME.jpg are a group, and so are further pictures NAME.anything.jpg of the same thing."""
    found, groups = Captioned(), dict[str, int]()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        group = groups.setdefault(path.name.partition(".")[0], len(groups))
        if path.suffix.lower() == ".txt":
            lines = (line.strip() for line in _text(path, MOST_BYTES).splitlines())
            found.texts.extend((group, line) for line in lines if line)
        elif path.suffix.lower() in PICTURES:
            found.pictures.append(Picture(group, path.name, path.read_bytes))
    return found


def _file(path: Path, images: Path | None) -> Captioned:
    try:
        table = json.loads(_text(path, MOST_BYTES))
        rows = list(_coco(table) if isinstance(table, dict) else _labelled(table))
    except RecursionError:
        raise Problem("bad_request", f"{path}: its JSON is nested too deeply", REMEDY) from None
    except ValueError as error:
        raise Problem("bad_request", f"{path}: {error}", REMEDY) from None
    found = Captioned()
    places = [images] if images else [path.parent, path.parent / "images", path.parent.parent]
    for group, (name, captions) in enumerate(rows):
        found.texts.extend((group, caption.strip()) for caption in captions if caption.strip())
        if there := _find(name, places):
            found.pictures.append(Picture(group, name, there.read_bytes))
        else:
            found.missing.append(name)
    return found


def _coco(table: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """COCO's own: ``images`` with ``id`` and ``file_name``, ``annotations`` with ``image_id`` and ``caption``."""
    captions: dict[Any, list[str]] = {}
    for where, row in _rows(table, "annotations"):
        captions.setdefault(_get(row, "image_id", int | str, where), []).append(_get(row, "caption", str, where))
    seen = set()
    for where, row in _rows(table, "images"):
        number = _get(row, "id", int | str, where)
        if number in seen:
            raise ValueError(f"{where}: id {number!r} stands twice")
        seen.add(number)
        yield _get(row, "file_name", str, where), captions.pop(number, [])
    if captions:
        raise ValueError(f"annotations: no image has the id {next(iter(captions))!r}")


def _labelled(table: Any) -> Iterator[tuple[str, list[str]]]:
    """A list of ``{"file", "captions"}``."""
    for where, row in _rows({"(top)": table}, "(top)"):
        captions = _get(row, "captions", list, where)
        if not all(isinstance(caption, str) for caption in captions):
            raise ValueError(f"{where}: a caption is no text")
        yield _get(row, "file", str, where), captions


def _rows(table: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    rows = table.get(name)
    if not isinstance(rows, list):
        raise ValueError(f"{name}: there is no such list")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(f"{name}.{number}: it is no object")
        yield f"{name}.{number}", row


def _get(row: dict[str, Any], key: str, kind: Any, where: str) -> Any:
    value = row.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{where}: no {key}, or one that is of another kind")
    return value


def _find(name: str, places: list[Path]) -> Path | None:
    """The file of that name in one of the places, by its whole path or by its last part; never outside of them."""
    for place in places:
        for path in (place / name, place / Path(name).name):
            try:
                if path.resolve().is_relative_to(place.resolve()) and path.is_file():
                    return path
            except (OSError, ValueError):  # a name that no file system takes
                continue
    return None


def _text(path: Path, most: int) -> str:
    try:
        if path.stat().st_size > most:
            raise Problem("bad_request", f"{path} has more than {most >> 20} MB", REMEDY)
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Problem("bad_request", f"{path} is no UTF-8 text", REMEDY) from None
    except OSError as error:
        raise Problem("bad_request", f"{path} cannot be read: {error.strerror}", REMEDY) from None
