"""What is served: adopted on start, switched at once, and back."""

from __future__ import annotations

import pytest

from serve_app.catalog import Catalog, Served, State, TaskModels
from serve_app.errors import Problem

TASK = "cross_modal_embedding"
OLD, NEW, THIRD = (Served(TASK, name, f"{name}@1", dim) for name, dim in (("old", 512), ("new", 768), ("third", 4)))


def adopt(catalog: Catalog, served: Served) -> Served | None:
    return catalog.settings.adopt(served.task, served.model, served.revision, served.dim)


def want(catalog: Catalog, served: Served) -> Served | None:
    return catalog.settings.want(served.task, served.model, served.revision, served.dim)


def test_what_is_configured_first_is_served(catalog: Catalog) -> None:
    assert catalog.vectors.state() == State(0, {})
    assert catalog.settings.get(TASK) is None
    assert adopt(catalog, OLD) is None
    sentences = Served("text_embedding", "minilm", "minilm@1", 384)
    assert adopt(catalog, sentences) is None
    assert catalog.vectors.state() == State(0, {TASK: OLD, "text_embedding": sentences})
    assert adopt(catalog, OLD) is None


def test_another_configuration_is_wanted_until_it_is_served(catalog: Catalog) -> None:
    adopt(catalog, OLD)
    assert adopt(catalog, NEW) == adopt(catalog, NEW) == NEW
    assert catalog.settings.get(TASK) == TaskModels(OLD, None, NEW)
    assert catalog.settings.switch(TASK, NEW) == TaskModels(NEW, OLD, None)
    assert catalog.settings.switch(TASK, NEW) == TaskModels(NEW, OLD, None)
    assert catalog.vectors.state().served == {TASK: NEW}
    assert adopt(catalog, NEW) is None


def test_the_way_back_is_not_undone_by_the_next_start(catalog: Catalog) -> None:
    adopt(catalog, OLD)
    adopt(catalog, NEW)
    catalog.settings.switch(TASK, NEW)
    assert catalog.settings.rollback(TASK) == TaskModels(OLD, NEW, None)
    assert adopt(catalog, NEW) is None
    assert catalog.vectors.state().served == {TASK: OLD}
    assert catalog.settings.rollback(TASK) == TaskModels(NEW, OLD, None)


def test_an_operator_may_want_what_is_not_configured(catalog: Catalog) -> None:
    adopt(catalog, OLD)
    assert want(catalog, THIRD) == THIRD
    assert adopt(catalog, OLD) == THIRD  # the same configuration as before asks for nothing
    catalog.settings.switch(TASK, THIRD)
    assert adopt(catalog, OLD) is None
    assert catalog.vectors.state().served == {TASK: THIRD}


def test_what_is_served_is_not_wanted(catalog: Catalog) -> None:
    adopt(catalog, OLD)
    want(catalog, NEW)
    assert want(catalog, OLD) is None
    assert catalog.settings.get(TASK) == TaskModels(OLD)
    adopt(catalog, NEW)
    assert adopt(catalog, OLD) is None
    assert catalog.settings.get(TASK) == TaskModels(OLD)


def test_a_switch_elsewhere_leaves_the_wish(catalog: Catalog) -> None:
    adopt(catalog, OLD)
    want(catalog, NEW)
    assert catalog.settings.switch(TASK, THIRD) == TaskModels(THIRD, OLD, NEW)


def test_mistakes_are_refused(catalog: Catalog) -> None:
    for call in (
        lambda: want(catalog, OLD),
        lambda: catalog.settings.switch(TASK, OLD),
        lambda: catalog.settings.rollback(TASK),
    ):
        with pytest.raises(Problem, match="not_found"):
            call()
    adopt(catalog, OLD)
    with pytest.raises(Problem, match="conflict"):
        catalog.settings.rollback(TASK)
    with pytest.raises(ValueError, match="dimension"):
        catalog.settings.switch(TASK, Served(TASK, "flat", "flat@1", 0))
