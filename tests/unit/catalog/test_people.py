"""People: added, renamed, merged and split without loss, forgotten."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from catalog_samples import FACE_MODEL as MODEL
from catalog_samples import Clock, add_person, face, vector

from serve_app.catalog import Catalog
from serve_app.catalog.people import MAX_FACES
from serve_app.errors import Problem


def names(catalog: Catalog) -> list[str]:
    return [row.name for row in catalog.people.page().items]


def seen(catalog: Catalog) -> dict[str, list[str]]:
    """Every person with the pictures of the faces, which is all there is to be restored."""
    return {
        row.name: sorted(face.sha256 for face in catalog.people.get(row.name).faces)
        for row in catalog.people.page().items
    }


def test_a_person_is_kept_with_faces_and_vectors(catalog: Catalog, clock: Clock) -> None:
    person, created = catalog.people.add(" Žižek Ørsted 李 ", [face(1), face(2)], MODEL)
    assert (created, person.name, person.created_at, len(person.faces)) == (True, "Žižek Ørsted 李", clock.now, 2)
    again, created = catalog.people.add("žižek ørsted 李", [face(2), face(3)], MODEL)
    assert (created, again.name) == (False, person.name)
    assert [each.sha256 for each in again.faces] == [face(seed).sha256 for seed in (1, 2, 3)]
    (known,) = catalog.people.known(MODEL)
    assert (known.id, known.name) == (person.id, person.name)
    np.testing.assert_array_equal(known.vectors, [vector(seed) for seed in (1, 2, 3)])
    crop = catalog.people.crop(person.name, person.faces[0].id)
    assert (crop.picture, crop.box, crop.confidence) == (b"jpeg", (1.0, 2.0, 30.25, 40.0), 0.75)
    assert crop.landmarks == face(1).landmarks
    assert catalog.people.known("faces@2") == []


@pytest.mark.parametrize(
    "name", ["", " ", "unknown", "UNKNOWN", "a\x00b", "a\nb", "x" * 201, "\ufdfa" * 200, "a/../b", "anna/merge", "/"]
)
def test_names_that_cannot_be_are_refused(catalog: Catalog, name: str) -> None:
    with pytest.raises(Problem, match="bad_request"):
        add_person(catalog, name, 1)
    assert names(catalog) == []


def test_a_person_has_a_bounded_number_of_faces(catalog: Catalog) -> None:
    add_person(catalog, "anna", *range(MAX_FACES))
    with pytest.raises(Problem, match="unprocessable"):
        add_person(catalog, "anna", MAX_FACES + 1)
    assert len(catalog.people.get("anna").faces) == MAX_FACES


def test_people_are_listed_in_pages_newest_first(catalog: Catalog) -> None:
    for number in range(5):
        add_person(catalog, f"p{number}", number)
    catalog.people.merge("p0", "p4")
    first = catalog.people.page(limit=3)
    rest = catalog.people.page(limit=3, cursor=first.next_cursor)
    assert [row.name for row in (*first.items, *rest.items)] == ["p3", "p2", "p1", "p0"]
    assert rest.next_cursor is None
    assert (rest.items[0].faces, rest.items[0].merged) == (2, ("p4",))


def test_a_new_name_is_free_or_a_conflict(catalog: Catalog) -> None:
    add_person(catalog, "anna", 1)
    add_person(catalog, "ben", 2)
    assert catalog.people.rename("anna", "Anna").name == "Anna"
    with pytest.raises(Problem, match="conflict"):
        catalog.people.rename("Anna", "BEN")
    catalog.people.merge("Anna", "ben")
    with pytest.raises(Problem, match="merged into 'Anna'"):
        add_person(catalog, "ben", 3)
    with pytest.raises(Problem, match="not_found"):
        catalog.people.get("ben")


def test_a_merge_comes_apart_exactly_even_inside_another(catalog: Catalog) -> None:
    for name, seeds in {"a": (1, 2), "b": (3,), "c": (4, 5)}.items():
        add_person(catalog, name, *seeds)
    before = seen(catalog)
    merged = catalog.people.merge("b", "a")
    assert (merged.name, merged.merged, len(merged.faces)) == ("b", ("a",), 3)
    assert catalog.people.merge("c", "b").merged == ("a", "b")
    known = catalog.people.known(MODEL)
    assert [(each.name, len(each.vectors)) for each in known] == [("c", 2), ("c", 1), ("c", 2)]
    assert {each.person for each in known} == {catalog.people.get("c").id}
    with pytest.raises(Problem, match="not_found"):
        catalog.people.merge("c", "a")
    assert catalog.people.unmerge("c", "b").merged == ("a",)
    assert catalog.people.unmerge("b", "a").name == "a"
    assert seen(catalog) == before
    with pytest.raises(Problem, match="not_found"):
        catalog.people.unmerge("b", "a")
    with pytest.raises(Problem, match="bad_request"):
        catalog.people.merge("a", "A")


def test_splitting_off_the_faces_of_one_who_was_merged_undoes_the_merge(catalog: Catalog) -> None:
    add_person(catalog, "a", 1, 2)
    other = add_person(catalog, "b", 3, 4)
    before = seen(catalog)
    catalog.people.merge("a", "b")
    with pytest.raises(Problem, match="conflict"):
        catalog.people.split("a", [other.faces[0].id], "b")
    catalog.people.split("a", [each.id for each in other.faces], "b")
    assert seen(catalog) == before


def test_a_split_is_undone_by_one_the_other_way(catalog: Catalog) -> None:
    add_person(catalog, "a", 1, 2)
    add_person(catalog, "b", 3, 4)
    merged = catalog.people.merge("a", "b")
    before = catalog.people.get("a")
    moved = [merged.faces[0].id, merged.faces[2].id]
    assert [each.added_as for each in catalog.people.split("a", moved, "x").faces] == ["x", "x"]
    assert [each.added_as for each in catalog.people.get("a").faces] == ["a", "b"]
    assert catalog.people.split("x", moved, "a") == before
    assert names(catalog) == ["a"]
    assert catalog.people.unmerge("a", "b").faces == before.faces[2:]


@pytest.mark.parametrize("seed", range(6))
def test_any_merges_and_splits_are_undone_in_reverse_order(catalog: Catalog, seed: int) -> None:
    draw = random.Random(seed)
    for number in range(5):
        add_person(catalog, f"p{number}", *range(10 * number, 10 * number + 3))
    before, undo, after = holders(catalog), list[tuple[str, Any, Any, Any]](), set[str]()
    for step in range(14):
        a, b = draw.sample(names(catalog), 2)
        person = catalog.people.get(a)
        hidden = [name for name in person.merged]
        match draw.choice(["merge", "unmerge", "split", "split new"]):
            case "merge" if len(names(catalog)) > 2:
                catalog.people.merge(a, b)
                undo.append(("unmerge", a, b, None))
            case "unmerge" if hidden and len(person.merged) == 1:
                catalog.people.unmerge(a, hidden[0])
                undo.append(("merge", a, hidden[0], None))
            case "split" | "split new" as kind if len(person.faces) > 1:
                moved = [face.id for face in draw.sample(person.faces, draw.randrange(1, len(person.faces)))]
                into = b if kind == "split" else f"new {step}"
                catalog.people.split(a, moved, into)
                undo.append(("split", into, moved, a))
        after.add(str(holders(catalog)))
    assert len(after) > 4
    for what, name, first, second in reversed(undo):
        getattr(catalog.people, what)(*(each for each in (name, first, second) if each is not None))
    assert holders(catalog) == before


def holders(catalog: Catalog) -> dict[str, tuple[tuple[str, ...], list[tuple[int, str]]]]:
    """Every person with who was merged into them, and the very name that holds each face."""
    people = [catalog.people.get(name) for name in sorted(names(catalog))]
    return {each.name: (each.merged, [(face.id, face.added_as) for face in each.faces]) for each in people}


def test_changes_at_once_make_neither_twins_nor_circles(catalog: Catalog) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: add_person(catalog, "anna", seed), range(8)))
        add_person(catalog, "ben", 20)
        outcomes = list(pool.map(lambda pair: attempt(catalog, *pair), [("anna", "ben"), ("ben", "anna")] * 2))
    assert outcomes.count("") == 1
    (name,) = names(catalog)
    assert len(catalog.people.get(name).faces) == 9


def attempt(catalog: Catalog, name: str, other: str) -> str:
    try:
        catalog.people.merge(name, other)
    except Problem as problem:
        return problem.code
    return ""


def test_a_split_leaves_nobody_without_a_face(catalog: Catalog) -> None:
    faces = [each.id for each in add_person(catalog, "a", 1, 2).faces]
    stranger = add_person(catalog, "b", 3).faces[0].id
    for wrong, code in ((faces, "unprocessable"), ([stranger], "not_found"), ([], "bad_request")):
        with pytest.raises(Problem, match=code):
            catalog.people.split("a", wrong, "x")
    with pytest.raises(Problem, match="bad_request"):
        catalog.people.split("a", faces[:1], "A")
    assert seen(catalog) == {"b": [face(3).sha256], "a": sorted(face(seed).sha256 for seed in (1, 2))}


def test_whoever_is_forgotten_takes_all_that_was_merged_along(catalog: Catalog) -> None:
    add_person(catalog, "a", 1)
    add_person(catalog, "b", 2)
    catalog.people.merge("a", "b")
    catalog.people.delete("a")
    assert names(catalog) == []
    assert catalog.people.known(MODEL) == []
    assert catalog.people.without_vector("faces@2", 10) == []
    assert add_person(catalog, "b", 5).merged == ()
    with pytest.raises(Problem, match="not_found"):
        catalog.people.delete("a")


@pytest.mark.parametrize("erase", [False, True])
def test_whoever_is_forgotten_is_not_in_the_files_of_the_database(tmp_path: Path, erase: bool) -> None:
    secret = bytes(range(1, 256)) * 200  # fills pages of its own
    catalog = Catalog.open(f"sqlite:///{tmp_path}/catalog.db")
    for name, picture in (("stays", b"jpeg" * 9000), ("goes", secret)):
        catalog.people.add(name, [replace(face(1), picture=picture)], MODEL)
    assert readable(tmp_path, secret[:250])
    assert readable(tmp_path, vector(1).tobytes())
    catalog.people.erase("goes") if erase else catalog.people.delete("goes")
    assert not readable(tmp_path, secret[:250])
    assert readable(tmp_path, b"jpeg" * 60)
    catalog.close()


def readable(folder: Path, marker: bytes) -> bool:
    """Whether the marker stands in any file of the database, its log among them."""
    return any(marker in file.read_bytes() for file in folder.iterdir())


def test_another_model_gets_its_vectors_from_the_crops(catalog: Catalog) -> None:
    faces = [each.id for each in add_person(catalog, "a", 1, 2, 3).faces]
    before = catalog.people.version()
    crops = catalog.people.without_vector("faces@2", 2)
    assert [crop.face_id for crop in crops] == faces[:2]
    catalog.people.put_vectors("faces@2", [(id, vector(id, 4)) for id in faces[:2]])
    assert catalog.people.version() > before
    assert [crop.face_id for crop in catalog.people.without_vector("faces@2", 2)] == faces[2:]
    again = catalog.people.version()
    catalog.people.put_vectors("faces@2", [(faces[0], vector(77, 4)), (10_000, vector(1, 4))])
    assert catalog.people.version() == again
    np.testing.assert_array_equal(catalog.people.known("faces@2")[0].vectors, [vector(id, 4) for id in faces[:2]])
    assert catalog.people.known(MODEL)[0].vectors.shape == (3, 8)
    exported = catalog.people.vectors_of("a")
    assert {name: sorted(rows) for name, rows in exported.items()} == {MODEL: faces, "faces@2": faces[:2]}
