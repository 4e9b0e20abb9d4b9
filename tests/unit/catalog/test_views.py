"""Views of 3D assets: numbered in their order, shared where files and cameras are equal, beside the description."""

from __future__ import annotations

import hashlib

import pytest
from catalog_samples import REVISION, log, picture, posted, sha, vector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve_app.catalog import Catalog, Content, FoundPart, Key, Moment, Tag, parse_filter
from serve_app.errors import Problem

RING = ["0,0", "0,120", "0,240"]


def mesh(catalog: Catalog, asset_id: str = "a", owner: str = "anna", data: str = "mesh", **more: object) -> None:
    catalog.assets.add(picture(asset_id, owner, data, kind="shape3d", media_type="model/gltf-binary", **more))


def index(catalog: Catalog, contents: list[Content], revision: str = REVISION) -> list[int | None]:
    pairs = [(Key(each.owner, each.modality, each.sha256), vector(each.ordinal)) for each in contents]
    return catalog.vectors.put_many(pairs, revision)


def state(catalog: Catalog, revision: str = REVISION) -> dict[int, bool]:
    """Each vector, and whether it is alive."""
    return {change.vid: change.vector is not None for change in log(catalog, revision)}


def test_views_are_parts_of_their_asset(catalog: Catalog) -> None:
    mesh(catalog, description="A cow")
    put = catalog.contents.put_views("a", RING, sha256=sha("mesh"))
    assert [(each.modality, each.part, each.start_s, each.end_s) for each in put] == [
        ("shape3d", number, None, None) for number in range(3)
    ]
    assert {(each.owner, each.file, each.text) for each in put} == {("anna", "f/mesh.jpg", None)}
    assert [each.sha256 for each in put] == [
        hashlib.sha256(f"{sha('mesh')}:view-{key}".encode()).hexdigest() for key in RING
    ]
    words, *rest = catalog.contents.of_asset("a")
    assert (words.modality, words.text) == ("text", "A cow")
    assert rest == put
    assert catalog.vectors.missing(REVISION, 10) == [words, *put] == catalog.vectors.missing_of_asset("a", REVISION)
    assert index(catalog, put) == [1, 2, 3]
    assert catalog.vectors.missing_of_asset("a", REVISION) == [words]
    assert catalog.vectors.missing_of_asset("a", "clip@2") == [words, *put], "a new model sees all of them again"
    assert catalog.vectors.count(REVISION, "shape3d") == 3
    assert catalog.assets.delete("a") == ["f/mesh.jpg"]
    assert list(state(catalog).values()) == [False] * 3


def test_other_views_keep_the_vectors_of_those_that_stay(catalog: Catalog) -> None:
    mesh(catalog)
    before = catalog.contents.put_views("a", RING)
    for revision in (REVISION, "clip@2"):
        index(catalog, before, revision)
    head = catalog.vectors.head()
    assert catalog.contents.put_views("a", RING) == before
    assert catalog.vectors.head() == head
    after = catalog.contents.put_views("a", [RING[2], "30,45"])
    assert [each.part for each in after] == [0, 1]
    assert after[0].sha256 == before[2].sha256
    assert catalog.vectors.missing(REVISION, 10) == after[1:]
    for revision in (REVISION, "clip@2"):
        assert list(state(catalog, revision).values()) == [True, False, False]
    assert index(catalog, [before[0], after[1]]) == [None, head + 5], "two more of each revision were emptied"
    (vid,) = [vid for vid, live in state(catalog, "clip@2").items() if live]
    assert catalog.vectors.latest_parts([vid]) == {vid: FoundPart("a", 0)}, "its number is that of now"
    assert catalog.contents.put_views("a", []) == []
    assert not any(state(catalog).values())


def test_equal_files_of_an_owner_share_vectors_and_show_the_asset_added_last(catalog: Catalog) -> None:
    for asset_id, owner in (("old", "anna"), ("new", "anna"), ("ben", "ben")):
        mesh(catalog, asset_id, owner)
    for asset_id in ("new", "ben", "old"):
        index(catalog, catalog.contents.put_views(asset_id, RING))
    vids = sorted(state(catalog))
    found = catalog.vectors.latest_parts(vids)
    assert [found[vid] for vid in vids] == [FoundPart(id, part) for id in ("new", "ben") for part in range(3)]
    catalog.annotations.put("old", "object_detection", {}, [Tag("object", "cow")])
    cows = parse_filter("object:cow kind:shape3d")
    assert {each.asset_id for each in catalog.vectors.latest_parts(vids, cows).values()} == {"old"}
    catalog.assets.delete("new")
    assert all(state(catalog).values())
    catalog.assets.delete("old")
    assert [state(catalog)[vid] for vid in vids] == [False] * 3 + [True] * 3


def test_views_and_moments_and_files_do_not_meet(catalog: Catalog) -> None:
    mesh(catalog)
    views = catalog.contents.put_views("a", ["0-25"])
    moments = catalog.contents.put_moments("a", [Moment(0, 1, 0, 25)])
    assert views[0].sha256 != moments[0].sha256
    index(catalog, [*views, *moments])
    assert catalog.contents.put_moments("a", []) == []
    assert catalog.contents.of_asset("a") == views
    assert (catalog.vectors.count(REVISION, "shape3d"), catalog.vectors.count(REVISION, "video")) == (1, 0)
    catalog.contents.add(posted("picture", data="old"), vector(1), REVISION)
    index(catalog, catalog.contents.put_views("picture", RING))
    catalog.contents.add(posted("picture", data="new"), vector(2), REVISION)
    assert [each.modality for each in catalog.contents.of_asset("picture")] == ["image"]
    assert catalog.vectors.count(REVISION, "shape3d") == 1


def test_what_is_no_view_is_refused(catalog: Catalog) -> None:
    mesh(catalog)
    for keys, why in ((["0,0", ""], "no key"), (["0,0", "0,90", "0,0"], "same key")):
        with pytest.raises(ValueError, match=why):
            catalog.contents.put_views("a", keys)
    with pytest.raises(Problem) as caught:
        catalog.contents.put_views("a", RING, sha256=sha("another"))
    assert caught.value.code == "conflict"
    for gone in ("b", "", "\x00"):
        with pytest.raises(Problem) as caught:
            catalog.contents.put_views(gone, RING)
        assert caught.value.code == "not_found"
    assert catalog.contents.of_asset("a") == []


keys = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3), unique=True, max_size=5)
steps = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.none() | keys), max_size=6)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_any_history_leaves_the_vectors_of_the_views_that_are(url: str, history: list[tuple[str, list[str]]]) -> None:
    """Meshes a and b are equal and anna's, c is ben's; each is seen again and again or, for None, deleted."""
    catalog = Catalog.open(url)
    now: dict[str, list[str]] = {}
    for asset_id, seen in history:
        mesh(catalog, asset_id, "ben" if asset_id == "c" else "anna")
        if seen is None:
            catalog.assets.delete(asset_id)
            now.pop(asset_id, None)
            continue
        now[asset_id] = seen
        index(catalog, catalog.contents.put_views(asset_id, seen))
    alive = {("ben" if id == "c" else "anna", key) for id in now for key in now[id]}
    assert catalog.vectors.count(REVISION, "shape3d") == len(alive)
    found = catalog.vectors.latest_parts([vid for vid, live in state(catalog).items() if live])
    assert len(found) == len(alive)
    places = {(id, number) for id in now for number in range(len(now[id]))}
    assert {(each.asset_id, each.part) for each in found.values()} <= places
    assert catalog.vectors.missing(REVISION, 100) == []
    for asset_id in now:
        catalog.assets.delete(asset_id)
    assert not any(state(catalog).values())
    catalog.close()
