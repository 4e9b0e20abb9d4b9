"""``mediaverse annotate``: files told by their content; what was seen, in a video when, of a 3D model from where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.markup import escape

from serve_app.cli_common import bar, clock, err, out, show_columns, span
from serve_app.client import Client
from serve_app.errors import Problem
from serve_app.media import sniff

_TIMES = 3
"""Occurrences of a label that are printed; ``--json`` gives all."""
_LOOKED_AT = 8 * 1024 * 1024
"""Bytes that tell what a file is; some 3D formats are told by their length."""


def annotate(client: Client, file: Path, annotators: str | None, seed: int) -> dict[str, Any]:
    """The service's answer; for a video with a progress bar meanwhile. Raises ``Problem``."""
    kind = _kind(file)
    if kind == "shape3d":
        return client.annotate_3d(file, annotators)
    if kind != "video":
        return client.annotate(file, annotators)
    with bar("{task.fields[frames]}") as progress:
        task = progress.add_task(file.name, total=None, frames="sending")

        def tell(update: dict[str, Any]) -> None:
            frames, expected = update["frames"], update.get("expected")
            counted = f"{frames} of {expected} frames" if expected else f"{frames} frames"
            progress.update(task, completed=update.get("progress", 0), frames=counted)
            if expected:
                progress.update(task, total=1)

        return client.annotate_video(file, annotators, seed, tell)


def show(file: Path, answer: dict[str, Any]) -> None:
    """The answer as tables."""
    out.print(f"[bold]{escape(str(file))}[/] {' '.join(_facts(answer['asset']))}")
    if answer.get("views"):
        seen = ((str(number), *_whence(view)) for number, view in enumerate(answer["views"]))
        show_columns(("view", "azimuth", "elevation", "from"), *seen)
    if answer.get("scenes"):
        rows = ((span(scene), f"{scene['start_frame']}-{scene['end_frame'] - 1}") for scene in answer["scenes"])
        show_columns(("scene", "frames"), *rows)
    lines = ((name, line) for name, result in answer["results"].items() for line in _lines(result))
    show_columns(("annotator", "answer"), *_once(lines))
    for note in answer.get("notes", []):
        err.print(f"[yellow]{escape(note)}[/]")
    decoded = answer.get("decoded")
    if decoded and not (decoded["complete"] and decoded["errors"] == 0):
        read = f"{decoded['frames']} of {decoded['expected']}" if "expected" in decoded else str(decoded["frames"])
        err.print(f"[yellow]the file is damaged: {read} frames could be read, {decoded['errors']} errors[/]")


def _kind(file: Path) -> str | None:
    """By the content; None for what is unknown here, of which the service is asked."""
    try:
        with file.open("rb") as stream:
            head = stream.read(_LOOKED_AT)
    except OSError as error:
        raise Problem("bad_request", f"cannot read {file}: {error.strerror}") from error
    try:
        # A window is taken for the beginning of something longer, which what was read of a large file is, too.
        media_type = sniff.sniff(head) or sniff.sniff(head[: sniff.WINDOW])
        return sniff.kind_of(media_type) if media_type else None
    except Problem:
        return None


def _facts(asset: dict[str, Any]) -> list[str]:
    facts = [asset["media_type"]]
    if "triangles" in asset:
        return [*facts, f"{asset['triangles']} triangles", *(["textured"] if asset["textured"] else [])]
    facts.append(f"{asset['width']}x{asset['height']}")
    return [*facts, clock(asset["duration_s"])] if "duration_s" in asset else facts


def _whence(view: dict[str, Any]) -> tuple[str, str, str]:
    """From where a 3D file was looked at, in degrees."""
    return f"{view['azimuth']:g}", f"{view['elevation']:g}", "inside" if view["inside"] else "outside"


def _once(rows: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The same rows; a name that stands above already is left out."""
    above = ""
    for name, line in rows:
        yield ("" if name == above else name), line
        above = name


def _lines(result: dict[str, Any]) -> list[str]:
    """What one annotator answered: a line a label where there are times, else one line."""
    if result["status"] != "ok":
        return [f"{result['status']}: {result.get('remedy') or result.get('error')}"]
    if "embedding" in result:
        return [f"a vector of {len(result['embedding'])} numbers"]
    if "embeddings" in result:
        parts = "views" if "view" in result["embeddings"][0] else "scenes"
        return [f"a vector for each of {len(result['embeddings'])} {parts}"]
    seen = [
        f"{label['label']} {label['confidence']:.2f}{_when(label) or _seen_from(label)}" for label in result["labels"]
    ]
    if not seen:
        return [f"nothing (score {result['score']:.2f})" if "score" in result else "nothing"]
    return seen if any({"times", "views"} & label.keys() for label in result["labels"]) else [", ".join(seen)]


def _when(label: dict[str, Any]) -> str:
    """`` at 00:03.2, 00:07.5, 00:09.0 and 4 more times``; empty for a label without times."""
    times = label.get("times") or [label]
    said = [clock(time["timestamp_s"]) if "timestamp_s" in time else span(time) for time in times if _timed(time)]
    if not said:
        return ""
    more = len(said) - _TIMES
    rest = f" and {more} more {'time' if more == 1 else 'times'}" if more > 0 else ""
    return f" at {', '.join(said[:_TIMES])}{rest}"


def _seen_from(label: dict[str, Any]) -> str:
    """`` in views 2, 0, 5``, the surest first; empty for a label without views."""
    views = label.get("views") or []
    return f" in {'view' if len(views) == 1 else 'views'} {', '.join(map(str, views))}" if views else ""


def _timed(time: dict[str, Any]) -> bool:
    return "timestamp_s" in time or {"start_s", "end_s"} <= time.keys()
