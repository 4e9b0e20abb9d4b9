"""What was seen at many times becomes one answer."""

from __future__ import annotations

from serve_app.annotation.labels import Label
from serve_app.annotation.timeline import Sighting, at_full_size, in_time, unique


def at(label: str, confidence: float, timestamp_s: float) -> Sighting:
    return Sighting(Label(label, confidence), timestamp_s=timestamp_s)


def test_each_label_comes_once_with_its_best_moment_and_all_its_times() -> None:
    seen = unique([at("dog", 0.5, 7.0), at("cat", 0.8, 3.0), at("dog", 0.9, 4.0), at("dog", 0.6, 1.0)])
    assert [(each.best.label.label, each.best.label.confidence, each.best.timestamp_s) for each in seen] == [
        ("dog", 0.9, 4.0), ("cat", 0.8, 3.0)
    ]  # fmt: skip
    assert [time.timestamp_s for time in seen[0].times] == [1.0, 4.0, 7.0]


def test_of_equally_sure_sightings_the_earliest_is_the_best() -> None:
    (seen,) = unique([at("dog", 0.9, 7.0), at("dog", 0.9, 2.0)])
    assert seen.best.timestamp_s == 2.0


def test_parts_and_moments_stand_in_one_order() -> None:
    part = Sighting(Label("pan left", 0.7), start_s=2.0, end_s=4.0)
    assert in_time([at("dog", 0.5, 3.0), part, at("dog", 0.6, 1.0)]) == [at("dog", 0.6, 1.0), part, at("dog", 0.5, 3.0)]


def test_nothing_seen_is_no_label() -> None:
    assert unique([]) == []


def test_a_box_grows_with_the_picture() -> None:
    assert at_full_size(Label("dog", 0.5, (1, 2, 3, 4)), 2.5).box == (2.5, 5, 7.5, 10)
    assert at_full_size(Label("dog", 0.5), 2.5).box is None
