"""Labels of several views become one answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serve_app.annotation.labels import Label
from serve_app.annotation.views import SeenFrom, in_order, unique


def test_a_label_is_named_once_with_its_best_box_and_all_its_views() -> None:
    chair = Label("chair", 0.6, (0, 0, 1, 1))
    best = Label("chair", 0.9, (2, 2, 3, 3))
    views = {0: [chair, Label("chair", 0.4)], 2: [Label("cat", 0.7), best], 5: [Label("chair", 0.6)], 7: []}
    assert unique(views) == [SeenFrom(best, (2, 0, 5)), SeenFrom(Label("cat", 0.7), (2,))]


def test_of_equally_sure_views_the_first_counts() -> None:
    first, second = Label("cow", 0.5, (0, 0, 1, 1)), Label("cow", 0.5, (0, 0, 2, 2))
    assert unique({3: [second], 1: [first]}) == [SeenFrom(first, (1, 3))]
    assert in_order({0: 0.1, 4: 0.8, 2: 0.8}) == (2, 4, 0)


labels = st.lists(st.builds(Label, st.sampled_from(["a", "b", "c"]), st.floats(0, 1)), max_size=4)


@given(st.dictionaries(st.integers(0, 7), labels, max_size=8))
def test_nothing_is_lost_and_nothing_made_up(views: dict[int, list[Label]]) -> None:
    seen = {each.label.label: each for each in unique(views)}
    for name in "abc":
        found = {number: [x for x in labels if x.label == name] for number, labels in views.items()}
        held = {number: max(x.confidence for x in labels) for number, labels in found.items() if labels}
        assert (name in seen) == bool(held)
        if held:
            assert set(seen[name].views) == set(held)
            assert seen[name].label.confidence == max(held.values()) == held[seen[name].views[0]]
    assert [each.label.confidence for each in unique(views)] == sorted(
        (each.label.confidence for each in seen.values()), reverse=True
    )
