"""``mediaverse render``: pictures of a 3D file, drawn on the spot, without a service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.progress import Progress

from serve_app.cli_common import AsJson, bar, err, fail, out, say_json, show_columns
from serve_app.errors import Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from serve_app.media.enclosure import Enclosure, NamedCamera
    from serve_app.media.mesh_process import LoadedMesh
    from serve_app.media.meshes import Mesh
    from serve_app.media.rendering import Renderer

Colour = tuple[int, int, int]
Said = dict[str, Any]

AT_ONCE = 4
"""Views drawn before they are written, which bounds memory."""
SIZES = {"views": 1024, "thumbnail": 512, "turntable": 320}
"""Pixels of a side."""


def render(
    file: Annotated[Path, typer.Argument(help="obj, glb, gltf, ply, off or stl, or a zip of one with its textures")],
    to: Annotated[
        Path | None, typer.Option("--out", help="a folder for the pictures; one named after FILE when left out")
    ] = None,
    views: Annotated[bool, typer.Option("--views", help="from all around, or inside (the default)")] = False,
    thumbnail: Annotated[bool, typer.Option("--thumbnail", help="one picture, as PNG and WebP")] = False,
    turntable: Annotated[bool, typer.Option("--turntable", help="one full turn, as GIF and WebP")] = False,
    size: Annotated[int | None, typer.Option(min=16, max=4096, help="pixels of a side")] = None,
    background: Annotated[
        str | None, typer.Option(help="such as white or #336699; white when left out, a thumbnail has none")
    ] = None,
    up: Annotated[Literal["y", "z"] | None, typer.Option(help="where the file has up; by format when left out")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a 3D file: eight views, from inside where it is a room, a thumbnail or a turntable."""
    wanted = [name for name, on in (("views", views), ("thumbnail", thumbnail), ("turntable", turntable)) if on]
    try:
        colour = _colour(background)
        with bar() as progress:
            said = _draw(file, to or Path(file.stem), wanted or ["views"], size, colour, up, progress)
    except Problem as problem:
        fail(problem, as_json)
    say_json(said) if as_json else _show(said)


def _colour(name: str | None) -> Colour | None:
    from PIL import ImageColor

    if name is None:
        return None
    try:
        red, green, blue, *_ = ImageColor.getrgb(name)
    except ValueError:
        raise Problem("bad_request", f"{name} is no colour", "say white or #336699, for example") from None
    return red, green, blue


def _draw(
    file: Path, to: Path, wanted: list[str], size: int | None, background: Colour | None,
    up: Literal["y", "z"] | None, progress: Progress,
) -> Said:  # fmt: skip
    """Writes what is wanted; what ``--json`` says."""
    from serve_app.media.enclosure import judge

    task = progress.add_task("reading")
    started = time.monotonic()
    loaded = _load(file, up)
    read = time.monotonic()
    found = judge(loaded.mesh)
    renderer = _renderer()
    said: Said = {"file": str(file), **asdict(loaded.facts), "seen": found.kind, "reason": found.reason}
    progress.update(task, description="drawing", total=len(wanted))
    for name in wanted:
        side = size or SIZES[name]
        if name == "views":
            said["views"] = list(_views(renderer, loaded.mesh, found, side, background, to))
        else:
            said[name] = _preview(name, renderer, loaded.mesh, found, side, background, to)
        progress.advance(task)
    drawn = time.monotonic()
    return {**said, "renderer": renderer.name, "read_s": round(read - started, 2), "draw_s": round(drawn - read, 2)}


def _load(file: Path, up: Literal["y", "z"] | None) -> LoadedMesh:
    # Torch, SciPy and trimesh take a second to import, which the other commands must not wait for.
    from serve_app.media import mesh_process

    try:
        return mesh_process.load_now(str(file), up=up)
    except OSError as error:
        raise Problem("not_found", f"{file} cannot be read: {error.strerror}") from None


def _renderer() -> Renderer:
    from serve_app.media.renderers import choose

    return choose()


def _views(
    renderer: Renderer, mesh: Mesh, found: Enclosure, size: int, background: Colour | None, to: Path
) -> Iterator[Said]:
    """Draws and writes the views; what ``--json`` says of each."""
    from serve_app.media.enclosure import cameras_of
    from serve_app.media.previews import WHITE
    from serve_app.media.rendering import Style

    named = cameras_of(found)
    for first in range(0, len(named), AT_ONCE):
        part = named[first : first + AT_ONCE]
        drawn = renderer.render(mesh, [view.camera for view in part], Style(size, background or WHITE))
        for number, (view, picture) in enumerate(zip(part, drawn.colour, strict=True), start=first):
            yield _row(view) | {"file": _write(to / f"view_{number:03}.png", _png(picture))}


def _png(picture: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    data = BytesIO()
    Image.fromarray(picture).save(data, "PNG", compress_level=1)
    return data.getvalue()


def _row(view: NamedCamera) -> Said:
    return {"azimuth": view.azimuth, "elevation": view.elevation, "inside": view.inside}


def _preview(
    name: str, renderer: Renderer, mesh: Mesh, found: Enclosure, size: int, background: Colour | None, to: Path
) -> list[str]:
    """Draws and writes a thumbnail or a turntable; the files."""
    from serve_app.media import previews
    from serve_app.media.enclosure import dollhouse

    cull = dollhouse(mesh, found)
    if name == "thumbnail":
        picture = previews.thumbnail(renderer, mesh, size, background=background, cull_back_faces=cull)
        return [_write(to / f"thumbnail.{kind}", previews.still(picture, kind)) for kind in ("png", "webp")]
    turn = previews.turntable(renderer, mesh, size=size, background=background or previews.WHITE, cull_back_faces=cull)
    return [_write(to / f"turntable.{kind}", previews.moving(turn, kind)) for kind in ("gif", "webp")]


def _write(path: Path, data: bytes) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise Problem("bad_request", f"{path} cannot be written: {error.strerror}") from None
    return str(path)


def _show(said: Said) -> None:
    size = " x ".join(f"{side:.3g}" for side in said["size"])
    out.print(escape(f"{said['file']}: {said['format']}, {said['triangles']:,} triangles, {size}"))
    out.print(escape(f"seen from {_WORDS[said['seen']]}: {said['reason']}"))
    for note in said["notes"]:
        err.print(f"[yellow]{escape(note)}[/]")
    if said.get("views"):
        rows = [(f"{v['azimuth']:g}", f"{v['elevation']:g}", "in" if v["inside"] else "out", v["file"])
                for v in said["views"]]  # fmt: skip
        show_columns(("azimuth", "elevation", "from", "file"), *rows)
    for path in (*said.get("thumbnail", ()), *said.get("turntable", ())):
        out.print(escape(path))
    out.print(f"read in {said['read_s']} s, drawn by {said['renderer']} in {said['draw_s']} s")


_WORDS = {"outside": "outside", "inside": "inside", "both": "outside and inside"}
