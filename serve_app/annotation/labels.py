"""What every annotator answers with: a label, how sure it is, and where it was seen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """One thing seen: ``confidence`` in [0, 1]; ``box`` (x1, y1, x2, y2) in pixels of the full upright picture."""

    label: str
    confidence: float
    box: tuple[float, float, float, float] | None = None
