"""What every annotator answers with: a label, how sure it is, and where it was seen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """One thing seen: ``confidence`` in [0, 1]; ``box`` (x1, y1, x2, y2) in pixels of the full upright picture."""

    label: str
    confidence: float
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class FoundFace:
    """A face that somebody may know: ``box`` (x1, y1, x2, y2) in pixels of the full upright picture, ``confidence`` in
    [0, 1], ``landmarks`` five (x, y) in the same pixels (left eye, right eye, nose, left and right corner of the mouth,
    as they lie in the picture), none where the detector gives none."""

    box: tuple[float, float, float, float]
    confidence: float
    landmarks: tuple[tuple[float, float], ...] = ()
