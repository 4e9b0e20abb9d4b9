"""The vector log: who replays it, page by page and whenever, knows what the tables say."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from catalog_samples import FACE_MODEL, REVISION, Change, Clock, add_person, log, picture, posted, rows_of, sha, vector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from serve_app.catalog import Answer, Catalog, Moment, SeenFace, Tag
from serve_app.errors import Problem

OTHER = "clip@2"
TRUTH = """SELECT v.vid, v.data, a.ordinal, a.kind, t.name, t.folded, t.confidence FROM vectors v
    JOIN contents c ON c.owner = v.owner AND c.modality = v.modality AND c.sha256 = v.sha256
    JOIN assets a ON a.id = c.asset_id
    LEFT JOIN tags t ON t.asset_id = a.id AND t.name <> 'caption' AND t.name <> 'text'
    WHERE v.revision = :revision AND v.data IS NOT NULL"""
Known = dict[int, tuple[bytes, dict[int, Any]]]


def known(rows: list[Change]) -> Known:
    return {row.vid: (row.vector.tobytes(), row.assets) for row in rows if row.vector is not None}


def truth(catalog: Catalog, revision: str) -> Known:
    found: Known = {}
    with catalog._database.read() as connection:
        for row in connection.execute(text(TRUTH), {"revision": revision}):
            labels = found.setdefault(row.vid, (bytes(row.data), {}))[1].setdefault(row.ordinal, set())
            if row.name is not None:
                labels.add((row.name, row.folded, float(np.float32(row.confidence))))
    return found


class Reader:
    """Replays one revision's log, a page at a time."""

    def __init__(self, catalog: Catalog, revision: str) -> None:
        self.catalog, self.revision = catalog, revision
        self.at, self.known = 0, Known()

    def read(self, limit: int) -> bool:
        page = self.catalog.vectors.changes(self.revision, 0, 1, self.at, limit)
        for row in rows_of(page):
            assert row.seq > self.at
            self.at = row.seq
            self.known.pop(row.vid, None)
            assert (row.vector is None) == (not row.assets)
        assert self.at == page.last_seq
        self.known |= known(rows_of(page))
        return page.complete


def _annotate(catalog: Catalog, dice: random.Random, id: str) -> None:
    tags = [Tag(dice.choice(["object", "caption", "meme"]), dice.choice(["dog", "Cat"]), 0.5) for _ in range(2)]
    catalog.annotations.put(id, dice.choice(["objects", "captions"]), {}, tags)


def _parts(catalog: Catalog, dice: random.Random, id: str) -> None:
    for content in catalog.contents.put_moments(id, [Moment(n, n + 1, n, n + 1) for n in range(dice.randrange(3))]):
        catalog.vectors.put(content.owner, content.modality, content.sha256, dice.choice([REVISION, OTHER]), vector(3))


def step(catalog: Catalog, dice: random.Random) -> None:
    id, data = f"a{dice.randrange(4)}", f"d{dice.randrange(2)}"
    match dice.randrange(7):
        case 0:
            catalog.assets.add(picture(id, data=data, description="words", kind=dice.choice(["image", "video"])))
        case 1:
            catalog.contents.add(posted(id, data=data), vector(1), dice.choice([REVISION, OTHER]))
        case 2:
            catalog.vectors.put("anna", "text", sha("words"), dice.choice([REVISION, OTHER]), vector(2))
        case 3:
            catalog.assets.delete(id)
        case 4 | 5:
            _annotate(catalog, dice, id)
        case 6:
            _parts(catalog, dice, id)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9))
def test_replaying_the_log_gives_what_the_tables_say(catalog: Catalog, seed: int, limit: int) -> None:
    dice = random.Random(seed)
    readers = [Reader(catalog, revision) for revision in (REVISION, OTHER)]
    for _ in range(25):
        try:
            step(catalog, dice)
        except Problem as problem:
            assert problem.code in ("not_found", "conflict")  # noqa: PT017
        if dice.random() < 0.3:
            dice.choice(readers).read(limit)
    for reader in readers:
        while not reader.read(limit):
            pass
        assert reader.known == truth(catalog, reader.revision)


def test_a_page_has_the_assets_and_labels_of_each_vector(catalog: Catalog, clock: Clock) -> None:
    for id in ("a", "b"):
        catalog.assets.add(picture(id))
        clock.move(0.25)
    catalog.vectors.put("anna", "image", sha("bytes"), REVISION, vector(1))
    found = (Tag("object", "Dog", 0.5), Tag("model:birds", "wren", 0.25), Tag("caption", "A dog"), Tag("text", "EXIT"))
    catalog.annotations.put("b", "any", {}, found)
    page = catalog.vectors.changes(REVISION, 0, 1, 0, 10)
    assert (page.last_seq, page.complete, page.seqs.tolist()) == (2, True, [2])
    assert (page.owners, page.modalities, page.vectors) == (["anna"], ["image"], [vector(1).tobytes()])
    a, b = (catalog.assets.get(id) for id in ("a", "b"))
    assert (page.entry_rows.tolist(), page.assets.tolist()) == ([0, 0], [a.ordinal, b.ordinal])
    assert page.kinds == ["image", "image"]
    assert page.created.tolist() == [1767323045.678901, 1767323045.928901]  # 2026-01-02T03:04:05.678901Z
    tags = zip(page.tag_entries.tolist(), page.tag_names, page.tag_values, page.confidences.tolist(), strict=True)
    assert sorted(tags) == [(1, "model:birds", "wren", 0.25), (1, "object", "dog", 0.5)]
    types = [page.vids, page.seqs, page.entry_rows, page.assets, page.created, page.tag_entries, page.confidences]
    assert [str(each.dtype) for each in types] == ["int64", "int64", "int32", "int64", "float64", "int32", "float32"]


def test_an_empty_page_ends_where_it_began(catalog: Catalog) -> None:
    page = catalog.vectors.changes(REVISION, 0, 1, 7, 10)
    assert (page.last_seq, page.complete, page.vids.shape, page.entry_rows.shape) == (7, True, (0,), (0,))
    assert page.tag_names == page.kinds == page.vectors == []


def test_a_full_page_is_not_the_last(catalog: Catalog) -> None:
    catalog.contents.add_many([(posted(f"a{n}", data=str(n)), vector(n)) for n in range(4)], REVISION)
    assert [catalog.vectors.changes(REVISION, 0, 1, at, 2).complete for at in (0, 2, 4)] == [False, False, True]


def test_what_changes_nothing_touches_nothing(catalog: Catalog) -> None:
    catalog.contents.add(posted("a"), vector(1), REVISION)
    catalog.vectors.put("anna", "image", sha("bytes"), OTHER, vector(2))
    tags = [Tag("object", "dog", 0.5)]
    catalog.annotations.put("a", "objects", {}, tags)
    head = catalog.vectors.head()
    assert head == 4  # two vectors, both touched
    catalog.annotations.put("a", "objects", {"again": True}, tags)
    catalog.annotations.put("a", "captions", {}, [Tag("caption", "A dog")])
    catalog.annotations.put("a", "empty", {})
    catalog.contents.add(posted("a"), vector(1), REVISION)
    catalog.contents.put_views("a", [])
    catalog.assets.add(picture("b", data="else"))
    assert catalog.vectors.head() == head
    catalog.annotations.put("a", "objects", {}, [Tag("object", "dog", 0.75)])
    assert catalog.vectors.head() == head + 2


def test_many_answers_are_one_write_and_one_that_is_gone_harms_none(catalog: Catalog) -> None:
    catalog.contents.add_many([(posted(f"a{n}", data=str(n)), vector(n)) for n in range(3)], REVISION)
    items = [Answer(id, "objects", {}, (Tag("object", "dog"),)) for id in ("a0", "gone", "a2", "\n")]
    problems = catalog.annotations.put_many(items)
    assert [problem and problem.code for problem in problems] == [None, "not_found", None, "not_found"]
    assert sorted(len(labels) for row in log(catalog) for labels in row.assets.values()) == [0, 1, 1]


def test_who_is_renamed_is_read_anew(catalog: Catalog) -> None:
    catalog.contents.add(posted("a"), vector(1), REVISION)
    person = add_person(catalog, "Anna", 1)
    label = {"label": "Anna", "confidence": 0.5, "box": [1.0, 2.0, 3.0, 4.0]}
    catalog.annotations.put("a", "face_recognition", {"labels": [label]}, [Tag("person", "Anna", 0.5)])
    seen = SeenFace((1.0, 2.0, 3.0, 4.0), 0.9, vector(1), None, "Anna", 0.5, person.id)
    catalog.faces.put("a", FACE_MODEL, [seen], catalog.people.version())
    head = catalog.vectors.head()
    catalog.people.rename("Anna", "Bertha")
    assert catalog.faces.settle() == 1
    (change,) = log(catalog, after=head)
    assert list(change.assets.values()) == [{("person", "bertha", 0.5)}]
    catalog.people.erase("Bertha")
    catalog.faces.settle()
    (change,) = log(catalog, after=change.seq)
    assert [label[:2] for labels in change.assets.values() for label in labels] == [("person", "unknown")]


@pytest.mark.parametrize("limit", [1, 2, 50])
def test_labels_come_with_every_vector_of_an_asset(catalog: Catalog, limit: int) -> None:
    catalog.assets.add(picture("film", kind="video"))
    parts = catalog.contents.put_moments("film", [Moment(n, n + 1, n, n + 1) for n in range(3)])
    for part in parts:
        catalog.vectors.put(part.owner, part.modality, part.sha256, REVISION, vector(part.part))
    catalog.annotations.put("film", "objects", {}, [Tag("object", "dog", 0.5), Tag("object", "cat", 0.25)])
    reader = Reader(catalog, REVISION)
    while not reader.read(limit):
        pass
    labels = {("object", "dog", 0.5), ("object", "cat", 0.25)}
    number = catalog.assets.get("film").ordinal
    assert sorted(reader.known.values()) == sorted((vector(n).tobytes(), {number: labels}) for n in range(3))
