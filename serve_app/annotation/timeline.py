"""What annotators saw at many times, as one answer: each label once, with its best moment and all the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from serve_app.annotation.labels import Label


@dataclass(frozen=True)
class Sighting:
    """A label seen at a time: ``timestamp_s`` on one frame, or from ``start_s`` to ``end_s``."""

    label: Label
    timestamp_s: float | None = None
    start_s: float | None = None
    end_s: float | None = None

    @property
    def began_s(self) -> float:
        """For the order of time."""
        return next(time for time in (self.timestamp_s, self.start_s, 0.0) if time is not None)


@dataclass(frozen=True)
class Seen:
    """A label with the sighting of the highest confidence and all sightings in the order of time."""

    best: Sighting
    times: tuple[Sighting, ...]


def at_full_size(label: Label, scale: float) -> Label:
    """The label of a picture that is the original shrunk by ``scale``, with its box in pixels of the original."""
    if label.box is None:
        return label
    left, top, right, bottom = label.box
    return Label(label.label, label.confidence, (left * scale, top * scale, right * scale, bottom * scale))


def in_time(sightings: Iterable[Sighting]) -> list[Sighting]:
    """In the order of time, the surest first where several are of one time."""
    return sorted(sightings, key=lambda each: (each.began_s, -each.label.confidence))


def unique(sightings: Iterable[Sighting]) -> list[Seen]:
    """Each label once, the surest first; of equally sure sightings the earliest is the best."""
    grouped: dict[str, list[Sighting]] = {}
    for sighting in in_time(sightings):
        grouped.setdefault(sighting.label.label, []).append(sighting)
    seen = [Seen(max(group, key=lambda each: each.label.confidence), tuple(group)) for group in grouped.values()]
    return sorted(seen, key=lambda each: -each.best.label.confidence)
