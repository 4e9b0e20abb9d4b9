"""What annotators saw in the views of a 3D model, as one answer: each label once, with the views that saw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serve_app.annotation.labels import Label


@dataclass(frozen=True)
class SeenFrom:
    """A label as the view saw it that is surest of it, and the numbers of all views that saw it, the surest first."""

    label: Label
    views: tuple[int, ...]


def unique(views: Mapping[int, Sequence[Label]]) -> list[SeenFrom]:
    """Each label once, the surest first; of equally sure views the one with the lowest number counts."""
    best: dict[str, dict[int, Label]] = {}
    for number, labels in sorted(views.items()):
        for label in labels:
            by_view = best.setdefault(label.label, {})
            if number not in by_view or label.confidence > by_view[number].confidence:
                by_view[number] = label
    seen = [_seen(by_view) for by_view in best.values()]
    return sorted(seen, key=lambda each: -each.label.confidence)


def in_order(scores: Mapping[int, float]) -> tuple[int, ...]:
    """The numbers of views, the highest score first."""
    return tuple(sorted(scores, key=lambda number: (-scores[number], number)))


def _seen(by_view: Mapping[int, Label]) -> SeenFrom:
    order = in_order({number: label.confidence for number, label in by_view.items()})
    return SeenFrom(by_view[order[0]], order)
