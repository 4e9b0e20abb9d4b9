"""``mediaverse visual-part``: the largest part of a picture without words, as MemeTector's training cuts it out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from serve_app.cli_common import AsJson, complain, fail, out, say_json, shape
from serve_app.errors import Problem

if TYPE_CHECKING:
    from serve_app.annotation.labels import Label
    from serve_app.annotation.ocr import TextReader
    from serve_app.annotation.visual_part import Box

SURE = 0.7
"""Confidence from which words are kept clear of, as in the paper."""


def visual_part(
    files: Annotated[list[Path], typer.Argument(help="pictures")],
    to: Annotated[
        Path | None, typer.Option("--out", help="a folder for the parts, as PNG files", file_okay=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="chooses among parts of one size")] = 0,
    as_json: AsJson = False,
) -> None:
    """Find the largest rectangle of pictures that no words touch; with --out, cut it out."""
    try:
        reader = _reader()
    except Problem as problem:
        fail(problem, as_json)
    failed, written = False, set[Path]()
    for file in files:
        try:
            found = _look(file, reader, to, seed, written)
        except Problem as problem:
            failed = True
            say_json({"file": str(file), "error": shape(problem)}) if as_json else complain(f"{file}: ", problem)
            continue
        say_json(found) if as_json else out.print(escape(_sentence(found)))
    raise typer.Exit(1 if failed else 0)


def _reader() -> TextReader:
    # OpenCV and ONNX Runtime take a second to import, which the other commands must not wait for.
    from serve_app.annotation.ocr import load_reader
    from serve_app.models.manifest import load_manifest
    from serve_app.models.store import Store, default_home

    model = load_manifest().models["rapidocr"]
    return load_reader(model, Store(default_home()).locate(model))


def _look(file: Path, reader: TextReader, to: Path | None, seed: int, written: set[Path]) -> dict[str, Any]:
    """What ``--json`` says of one file: its words that count, and the box and the share of the part without them."""
    from serve_app.annotation.visual_part import visual_part as search

    try:
        data = file.read_bytes()
    except OSError as error:
        raise Problem("not_found", f"it cannot be read: {error.strerror}") from None
    prepared = reader.prepare(data)
    labels = [label for label in reader.finish(reader.run([prepared])[0], prepared) if label.confidence >= SURE]
    width, height = prepared.width, prepared.height
    box = search(width, height, [label.box for label in labels if label.box], seed)
    return {
        "file": str(file),
        "width": width,
        "height": height,
        "text": [_shape(label) for label in labels],
        "box": box,
        "share": round((box[2] - box[0]) * (box[3] - box[1]) / (width * height), 4) if box else None,
        "part": str(_cut(data, box, to / f"{file.stem}.png", written)) if box and to else None,
    }


def _shape(label: Label) -> dict[str, Any]:
    return {"label": label.label, "confidence": round(label.confidence, 4), "box": label.box}


def _cut(data: bytes, box: Box, path: Path, written: set[Path]) -> Path:
    """Write the pixels within ``box``; ``Problem`` where this command wrote that file already, or cannot write it."""
    from PIL import Image

    from serve_app.annotation.visual_part import whole_pixels
    from serve_app.media import images

    if path in written:
        raise Problem("bad_request", f"{path} is the part of a picture before", "give each picture a name of its own")
    picture = images.decode(data)
    height, width = picture.pixels.shape[:2]
    across, down = width / picture.width, height / picture.height  # a huge JPEG is decoded at a fraction of its size
    x1, y1, x2, y2 = whole_pixels((box[0] * across, box[1] * down, box[2] * across, box[3] * down))
    if x2 <= x1 or y2 <= y1:
        raise Problem("bad_request", "the part without words holds no whole pixel")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.pixels[y1:y2, x1:x2]).save(path)
    except OSError as error:
        raise Problem("bad_request", f"{path} cannot be written: {error.strerror}") from None
    written.add(path)
    return path


def _sentence(found: dict[str, Any]) -> str:
    words: Sequence[dict[str, Any]] = found["text"]
    said = " / ".join(word["label"] for word in words) or "no words"
    if not found["box"]:
        return f"{found['file']}: {said}; less than a tenth is free of them"
    box = " ".join(f"{side:.0f}" for side in found["box"])
    part = f" in {found['part']}" if found["part"] else ""
    return f"{found['file']}: {said}; {found['share']:.0%} without words: {box}{part}"
