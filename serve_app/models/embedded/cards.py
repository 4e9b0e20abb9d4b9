"""Model cards: the measured part is rewritten by each training, the words around it stay."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serve_app.models.embedded.recipes import Recipe
    from serve_app.models.embedded.train import Report

_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


def measured(report: Report, recipe: Recipe) -> str:
    """The part of a card that a training knows, as Markdown."""
    others = f" and {recipe.finish.scenes} others" if recipe.finish and recipe.finish.mix else ""
    size = "" if report.size == "embedded" else f" --size {report.size}"
    lines = [
        f"Made by `mediaverse models train-embedded {report.name}{size}` with seed {report.seed}: {report.steps} steps "
        f"of {recipe.batch} out of {recipe.scenes} generated scenes{others}, {report.minutes:.0f} minutes on "
        f"{os.cpu_count()} cores.",
        "",
        "| file | bytes | sha256 |",
        "|---|---|---|",
        *(f"| {name} | {size} | `{digest}` |" for name, (size, digest) in report.files.items()),
        "",
        "Held out, as `mediaverse models evaluate` measures it:",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {value:.3f} |" for name, value in report.figures.items()),
    ]
    return "\n".join(lines)


def write_card(path: Path, report: Report, recipe: Recipe) -> None:
    """Replace the measured part of the card at ``path``; one that does not exist yet starts from the shipped card."""
    shipped = Path(__file__).parent / "cards" / f"{report.name}.md"
    text = (path if path.exists() else shipped).read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{before}{_BEGIN}\n{measured(report, recipe)}\n{_END}{after}", encoding="utf-8")
