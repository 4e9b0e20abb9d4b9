"""``mediaverse annotate``: pictures and videos, told by their content; what was seen, and in a video when."""

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


def annotate(client: Client, file: Path, annotators: str | None, seed: int) -> dict[str, Any]:
    """The service's answer; for a video with a progress bar meanwhile. Raises ``Problem``."""
    if not _is_video(file):
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
    asset = answer["asset"]
    facts = [asset["media_type"], f"{asset['width']}x{asset['height']}"]
    if "duration_s" in asset:
        facts.append(clock(asset["duration_s"]))
    out.print(f"[bold]{escape(str(file))}[/] {' '.join(facts)}")
    if answer.get("scenes"):
        rows = ((span(scene), f"{scene['start_frame']}-{scene['end_frame'] - 1}") for scene in answer["scenes"])
        show_columns(("scene", "frames"), *rows)
    lines = ((name, line) for name, result in answer["results"].items() for line in _lines(result))
    show_columns(("annotator", "answer"), *_once(lines))
    decoded = answer.get("decoded")
    if decoded and not (decoded["complete"] and decoded["errors"] == 0):
        read = f"{decoded['frames']} of {decoded['expected']}" if "expected" in decoded else str(decoded["frames"])
        err.print(f"[yellow]the file is damaged: {read} frames could be read, {decoded['errors']} errors[/]")


def _is_video(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            media_type = sniff.sniff(stream.read(sniff.WINDOW))
    except OSError as error:
        raise Problem("bad_request", f"cannot read {file}: {error.strerror}") from error
    return media_type is not None and media_type.startswith("video/")


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
        return [f"a vector for each of {len(result['embeddings'])} scenes"]
    seen = [f"{label['label']} {label['confidence']:.2f}{_when(label)}" for label in result["labels"]]
    if not seen:
        return [f"nothing (score {result['score']:.2f})" if "score" in result else "nothing"]
    return seen if any("times" in label for label in result["labels"]) else [", ".join(seen)]


def _when(label: dict[str, Any]) -> str:
    """`` at 00:03.2, 00:07.5, 00:09.0 and 4 more times``; empty for a label without times."""
    times = label.get("times") or [label]
    said = [clock(time["timestamp_s"]) if "timestamp_s" in time else span(time) for time in times if _timed(time)]
    if not said:
        return ""
    more = len(said) - _TIMES
    rest = f" and {more} more {'time' if more == 1 else 'times'}" if more > 0 else ""
    return f" at {', '.join(said[:_TIMES])}{rest}"


def _timed(time: dict[str, Any]) -> bool:
    return "timestamp_s" in time or {"start_s", "end_s"} <= time.keys()
