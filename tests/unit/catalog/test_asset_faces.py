"""The faces seen in assets: searched exactly, told anew when the people change, gone with what they belong to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from catalog_samples import FACE_MODEL as MODEL
from catalog_samples import add_person, picture, vector

from serve_app.catalog import Catalog, Renamed, SeenFace, Tag, faces, parse_filter
from serve_app.errors import Problem

TASK = "face_recognition"


def show(catalog: Catalog, id: str, *found: SeenFace, owner: str = "anna") -> None:
    """An asset with these faces, its answer and its tags, as a job stores them."""
    catalog.assets.add(picture(id, owner, data=id))
    labels = [
        {"label": each.name or "unknown", "confidence": 0.5, "box": list(each.box), "timestamp_s": each.timestamp_s}
        for each in found
    ]
    shown = [Tag("person", each.name or "unknown", 0.5, "m") for each in found]
    catalog.annotations.put(id, TASK, {"status": "ok", "model": "m", "labels": labels}, shown)
    catalog.faces.put(id, MODEL, found, catalog.people.version())


def seen(at: float, seed: int, name: str | None = None, person: int | None = None, **more: Any) -> SeenFace:
    return SeenFace((at, 1.0, at + 9.125, 11.0), 0.9, vector(seed), name=name, person_id=person, **more)


def told(catalog: Catalog, id: str) -> list[tuple[str, float]]:
    return [(each["label"], each["confidence"]) for each in catalog.annotations.of_asset(id)[TASK]["labels"]]


def settled(catalog: Catalog) -> int:
    done = 0
    while count := catalog.faces.settle(1):
        done += count
    return done


def found(catalog: Catalog, filter: str) -> list[str]:
    return sorted(asset.id for asset in catalog.assets.page(filter=parse_filter(filter)).items)


def test_faces_come_back_as_they_were_put_and_are_replaced(catalog: Catalog) -> None:
    person = add_person(catalog, "Obama", 1).id
    show(catalog, "a", seen(0, 1, "Obama", person), seen(20, 2, timestamp_s=3.2))
    first, second = catalog.faces.of_asset("a")
    assert (first.name, first.person_id, first.box, first.confidence) == ("Obama", person, (0, 1, 9.125, 11), 0.9)
    assert (second.name, second.timestamp_s) == (None, 3.2)
    assert second.vector is not None
    np.testing.assert_array_equal(second.vector, vector(2))
    catalog.faces.put("a", MODEL, [seen(5, 3)], 1)
    assert [each.box[0] for each in catalog.faces.of_asset("a")] == [5]
    assert settled(catalog) == 0
    with pytest.raises(Problem, match="not_found"):
        catalog.faces.put("b", MODEL, [], 1)


@pytest.mark.parametrize("step", [3, 1000])
def test_the_search_is_exact_over_ones_own_assets(catalog: Catalog, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(faces, "ROWS_A_STEP", step)
    for number in range(12):
        show(catalog, f"a{number}", *(seen(at, 10 * number + at, timestamp_s=float(at)) for at in range(3)))
    show(catalog, "other", seen(0, 500), owner="ben")
    catalog.assets.add(picture("old", data="old"))
    catalog.faces.put("old", "faces@0", [SeenFace((0, 0, 1, 1), 1, vector(500, 3))], 0)
    query = vector(500)
    expected = sorted(
        min((float(np.linalg.norm(vector(10 * number + at) - query)), f"a{number}", float(at)) for at in range(3))
        for number in range(12)
    )
    hits = catalog.faces.search("anna", query, 5, MODEL)
    assert [(hit.asset_id, hit.timestamp_s) for hit in hits] == [(id, at) for _, id, at in expected[:5]]
    np.testing.assert_allclose([hit.distance for hit in hits], [distance for distance, *_ in expected[:5]], rtol=1e-6)
    assert [hit.asset_id for hit in catalog.faces.search("ben", query, 5, MODEL)] == ["other"]
    assert catalog.faces.search("cleo", query, 5, MODEL) == []
    assert catalog.faces.outdated(MODEL, 10) == ["old"]
    catalog.assets.delete(hits[0].asset_id)
    assert [hit.asset_id for hit in catalog.faces.search("anna", query, 4, MODEL)] == [id for _, id, _ in expected[1:5]]


def test_a_new_name_reaches_answers_tags_and_filters(catalog: Catalog) -> None:
    person = add_person(catalog, "B. Obama", 1).id
    show(catalog, "a", seen(0, 1, "B. Obama", person), seen(20, 2))
    show(catalog, "b", seen(0, 3))
    catalog.people.rename("B. Obama", "Barack Obama")
    assert settled(catalog) == 1
    assert told(catalog, "a") == [("Barack Obama", 0.5), ("unknown", 0.5)]
    assert found(catalog, 'person:"barack obama"') == ["a"]
    assert found(catalog, 'person:"b. obama"') == []
    assert found(catalog, "person:unknown") == ["a", "b"]
    assert catalog.annotations.of_asset("a")[TASK]["model"] == "m"


def test_a_merge_and_its_reversal_are_told_exactly(catalog: Catalog) -> None:
    a, b = add_person(catalog, "A", 1).id, add_person(catalog, "B", 2).id
    show(catalog, "both", seen(0, 1, "A", a, timestamp_s=1.0), seen(0, 2, "B", b, timestamp_s=2.0))
    before = catalog.annotations.of_asset("both"), catalog.annotations.tags_of("both")
    catalog.people.merge("A", "B")
    settled(catalog)
    assert [name for name, _ in told(catalog, "both")] == ["A", "A"]
    assert [each.timestamp_s for each in catalog.faces.appearances("A")] == [1.0, 2.0]
    catalog.people.unmerge("A", "B")
    settled(catalog)
    assert (catalog.annotations.of_asset("both"), catalog.annotations.tags_of("both")) == before


def test_deleting_keeps_what_was_said_and_erasing_does_not(catalog: Catalog) -> None:
    for name in ("kept", "erased"):
        person = add_person(catalog, name, len(name)).id
        show(catalog, f"of {name}", seen(0, 1, name, person), seen(20, 2))
    catalog.people.delete("kept")
    catalog.people.erase("erased")
    settled(catalog)
    assert told(catalog, "of kept") == [("kept", 0.5), ("unknown", 0.5)]
    assert told(catalog, "of erased") == [("unknown", 0.9), ("unknown", 0.5)]
    assert found(catalog, "person:erased") == []
    gone, stays = catalog.faces.of_asset("of erased")
    assert (gone.vector, gone.name, gone.person_id) == (None, None, None)
    assert stays.vector is not None
    catalog.people.erase("kept")  # the gallery knows nobody of that name, but an asset says it
    settled(catalog)
    assert told(catalog, "of kept")[0] == ("unknown", 0.9)
    with pytest.raises(Problem, match="not_found"):
        catalog.people.erase("kept")


def test_a_name_leaves_answers_of_which_no_faces_are_kept(catalog: Catalog) -> None:
    for id, name in {"a": "Anna", "b": "ANNA", "c": "Ben"}.items():
        show(catalog, id, seen(0, 1, name))
        catalog.faces.put(id, MODEL, [], 1)
    assert catalog.people.erase("anna") == ["anna"]
    assert [catalog.faces.forget("anna", 1) for _ in range(3)] == [1, 1, 0]
    assert [told(catalog, id)[0][0] for id in ("a", "b", "c")] == ["unknown", "unknown", "Ben"]
    assert (found(catalog, "person:anna"), found(catalog, "person:unknown")) == ([], ["a", "b"])
    with pytest.raises(Problem, match="not_found"):
        catalog.people.erase("anna")


def test_faces_are_named_anew_after_the_gallery_has_changed(catalog: Catalog) -> None:
    for id in ("a", "b", "c"):
        show(catalog, id, seen(0, 1), seen(20, 2, timestamp_s=1.0))
    catalog.faces.put("c", "faces@0", [seen(0, 1)], 0)
    person = add_person(catalog, "Anna", 1).id
    now = catalog.people.version()
    assert list(catalog.faces.behind(MODEL, now, 1)) == ["a"]
    behind = catalog.faces.behind(MODEL, now, 10)
    assert {id: list(faces) for id, faces in behind.items()} == {"a": [0, 1], "b": [0, 1]}
    changes = [Renamed("a", 1, person, 0.75), Renamed("b", 0, 10_000, 0.5)]  # the latter of one who has gone
    catalog.faces.assign(changes, list(behind), now)
    settled(catalog)
    assert told(catalog, "a") == [("unknown", 0.5), ("Anna", 0.75)]
    assert told(catalog, "b") == [("unknown", 0.9), ("unknown", 0.5)]
    assert found(catalog, "person:anna") == ["a"]
    assert catalog.faces.behind(MODEL, now, 10) == {}
    catalog.faces.assign([Renamed("a", 1, None, None)], ["a"], now)  # who is as new already stays as it is
    assert catalog.faces.of_asset("a")[1].person_id == person


def test_whoever_changes_while_an_asset_is_annotated_is_told_right(catalog: Catalog) -> None:
    renamed, gone = add_person(catalog, "A", 1).id, add_person(catalog, "B", 2).id
    catalog.people.rename("A", "Z")
    catalog.people.erase("B")
    show(catalog, "a", seen(0, 1, "A", renamed), seen(20, 2, "B", gone))
    settled(catalog)
    assert told(catalog, "a") == [("Z", 0.5), ("unknown", 0.9)]
