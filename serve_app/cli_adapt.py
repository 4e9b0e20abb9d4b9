"""``mediaverse adapt``: a video or a sound in every shape that its viewers need, on the spot, without a service."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from serve_app.cli_common import AsJson, bar, clock, err, fail, out, say_json, show_columns
from serve_app.errors import Problem

if TYPE_CHECKING:
    from serve_app.adaptation.adapt import Adapted

Said = dict[str, Any]


def adapt(
    file: Annotated[Path, typer.Argument(help="a video, a sound or a picture")],
    preset: Annotated[
        str | None, typer.Option(help="what is made, see configs/ladder.yaml; web, or small of a picture, if left out")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="a new folder, or a picture's file; named after FILE when left out")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Adapt a file to its viewers: a video or a sound as streams (HLS, DASH), a picture smaller, with a watermark."""
    try:
        if (_media_type(file) or "").startswith("image/"):
            preset = preset or "small"
            said = _picture(file, preset, to)
            say_json(said) if as_json else out.print(escape(f"{said['out']}: {said['width']} x {said['height']}"))
            return
        preset = preset or "web"
        said = _adapt(file, preset, to or Path(f"{file.stem}-{preset}"))
    except Problem as problem:
        fail(problem, as_json)
    say_json(said) if as_json else _show(said)


def _media_type(file: Path) -> str | None:
    from serve_app.media.sniff import WINDOW, sniff

    try:
        with file.open("rb") as stream:
            return sniff(stream.read(WINDOW))
    except OSError as error:
        raise Problem("not_found", f"{file} cannot be read: {error.strerror}") from None


def _picture(file: Path, name: str, to: Path | None) -> Said:
    from serve_app.adaptation.ladder import load_ladder
    from serve_app.adaptation.pictures import render

    ladder = load_ladder()
    preset = ladder.picture(name)
    to = to or Path(f"{file.stem}-{name}.{preset.format}")
    if to.exists():
        raise Problem("conflict", f"{to} is there already", "name a file that is not there yet")
    try:
        made = render(file.read_bytes(), preset.side, ladder.watermark if preset.watermark else None, preset.format)
        to.write_bytes(made.data)
    except OSError as error:
        raise Problem("bad_request", f"{to} cannot be written: {error.strerror}") from None
    size = {"width": made.width, "height": made.height, "bytes": len(made.data)}
    return {"file": str(file), "preset": name, "out": str(to), "media_type": made.media_type, **size}


def _adapt(file: Path, preset: str, to: Path) -> Said:
    from serve_app.adaptation.adapt import adapt as make
    from serve_app.adaptation.ladder import load_ladder

    started = time.monotonic()
    try:
        with bar("{task.percentage:3.0f} %") as progress:
            task = progress.add_task("encoding", total=1.0)
            made = asyncio.run(
                make(file, to, preset, load_ladder(), lambda done: progress.update(task, completed=done))
            )
    except OSError as error:
        raise Problem("bad_request", f"{error.filename or file}: {error.strerror}") from None
    return _said(made, file, preset, to) | {"took_s": round(time.monotonic() - started, 2)}


def _said(made: Adapted, file: Path, preset: str, to: Path) -> Said:
    outputs = made.outputs
    videos = [
        {"name": each.out.name, "codecs": each.file.codecs, "width": each.out.width, "height": each.out.height,
         "fps": round(float(outputs.fps), 3), "bandwidth": each.file.average, "peak_bandwidth": each.file.peak,
         "bytes": each.file.size}
        for each in outputs.videos
    ]  # fmt: skip
    audios = [
        {"name": each.out.name, "codecs": each.file.codecs, "channels": each.out.channels,
         "language": each.out.language, "bandwidth": each.file.average,
         "peak_bandwidth": each.file.peak, "bytes": each.file.size}
        for each in outputs.audios
    ]  # fmt: skip
    words = [{"name": each.out.name, "language": each.out.language, "bytes": each.size} for each in outputs.subtitles]
    return {
        "file": str(file), "preset": preset, "out": str(to), "duration_s": round(outputs.duration_s, 3),
        "hls": str(to / "master.m3u8"), "dash": str(to / "manifest.mpd"),
        "video": videos, "audio": audios, "subtitles": words, "notes": list(made.plan.notes),
    }  # fmt: skip


def _show(said: Said) -> None:
    out.print(escape(f"{said['file']}: {clock(said['duration_s'])} as {said['preset']}, in {said['took_s']} s"))
    rows = [("stream", "codec", "size", "kbit/s", "peak", "file")]
    for each in (*said["video"], *said["audio"]):
        size = f"{each['width']} x {each['height']}" if "width" in each else f"{each['channels']} ch"
        rates = (f"{each['bandwidth'] / 1000:.0f}", f"{each['peak_bandwidth'] / 1000:.0f}")
        rows.append((each["name"], each["codecs"], size, *rates, f"{said['out']}/{each['name']}.mp4"))
    show_columns(*rows)
    for note in said["notes"]:
        err.print(f"[yellow]{escape(note)}[/]")
    out.print(escape(f"{said['hls']}\n{said['dash']}"))
