"""Marks in the catalog, by which a copy of its vectors is known to be of its past."""

from __future__ import annotations

import pytest
from catalog_samples import REVISION, posted, vector

from serve_app.catalog import Catalog, marks
from serve_app.catalog.engine import utc_now


def test_a_mark_stands_until_it_is_taken_away(catalog: Catalog) -> None:
    catalog.vectors.mark("a" * 32)
    catalog.vectors.mark("b" * 32)
    assert catalog.vectors.is_marked("a" * 32)
    assert not catalog.vectors.is_marked("c" * 32)
    catalog.vectors.unmark("a" * 32)
    catalog.vectors.unmark("never left")
    assert not catalog.vectors.is_marked("a" * 32)
    assert catalog.vectors.is_marked("b" * 32)


def test_marks_are_in_nobodys_way(catalog: Catalog) -> None:
    catalog.settings.adopt("cross_modal_embedding", "clip", REVISION, 8)
    before = catalog.vectors.state()
    catalog.vectors.mark("a" * 32)
    assert catalog.vectors.state() == before
    assert catalog.contents.add(posted("a"), vector(1), REVISION).seq == before.head + 1


def test_what_nobody_takes_away_goes_in_the_end(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.catalog.vectors.utc_now", lambda: utc_now() - marks.KEPT)
    catalog.vectors.mark("old")
    monkeypatch.undo()
    catalog.vectors.mark("new")
    catalog.vectors.mark("newer")
    assert [catalog.vectors.is_marked(name) for name in ("old", "new", "newer")] == [False, True, True]
