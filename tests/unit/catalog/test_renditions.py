"""Renditions: files of an asset under names, replaced one by one, gone with the asset, none ever forgotten."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
from catalog_samples import REVISION, Clock, picture, posted, sha, vector
from sqlalchemy import text

from serve_app.catalog import Catalog, NewRendition, Rendition
from serve_app.errors import Problem


def made(name: str, file: str | None = None, **more: object) -> NewRendition:
    values = {"media_type": "image/png", "bytes": 7, "sha256": sha(name), "width": 512, "height": 384} | more
    return NewRendition(name=name, file=file or f"r/{name}", **values)


def mesh(catalog: Catalog, asset_id: str = "a", **more: object) -> None:
    catalog.assets.add(picture(asset_id, kind="shape3d", media_type="model/gltf-binary", **more))


def code(call: object, *values: object, **more: object) -> str:
    with pytest.raises(Problem) as caught:
        call(*values, **more)  # type: ignore[operator]
    return caught.value.code


def test_what_was_put_comes_back_by_name(catalog: Catalog, clock: Clock) -> None:
    mesh(catalog)
    large = made("turntable.gif", media_type="image/gif", bytes=2**40, width=None, height=None)
    assert catalog.renditions.put("a", [large, made("thumbnail.png")]) == []
    clock.move(60)
    assert catalog.renditions.put("a", [made("Z"), made("aa_b-c.0")], sha256=sha("bytes")) == []
    found = catalog.renditions.of_asset("a")
    assert [one.name for one in found] == ["Z", "aa_b-c.0", "thumbnail.png", "turntable.gif"]
    assert asdict(found[3]) == asdict(large) | {"created_at": found[2].created_at}
    assert (found[0].created_at, (found[0].created_at - found[2].created_at).seconds) == (clock.now, 60)
    assert catalog.renditions.get("a", "turntable.gif") == found[3]
    assert isinstance(found[3], Rendition)


def test_another_of_a_name_takes_its_place_and_the_others_stay(catalog: Catalog) -> None:
    mesh(catalog)
    mesh(catalog, "b")
    for asset_id in ("a", "b"):
        catalog.renditions.put(asset_id, [made("one", f"{asset_id}/1"), made("two", f"{asset_id}/2")])
    assert catalog.renditions.put("a", [made("two", "a/3", bytes=9), made("three", "a/4")]) == ["a/2"]
    assert [(one.file, one.bytes) for one in catalog.renditions.of_asset("a")] == [("a/1", 7), ("a/4", 7), ("a/3", 9)]
    assert [one.file for one in catalog.renditions.of_asset("b")] == ["b/1", "b/2"]
    assert catalog.renditions.put("a", []) == []


def test_a_file_that_is_referred_to_still_is_not_to_be_removed(catalog: Catalog) -> None:
    mesh(catalog, file="f/own")
    catalog.renditions.put("a", [made("one", "r/x"), made("two", "r/x"), made("three", "f/own")])
    assert catalog.renditions.put("a", [made("one", "r/x"), made("three", "r/y")]) == []
    assert catalog.renditions.put("a", [made("one", "r/z")]) == []
    assert catalog.renditions.put("a", [made("two", "r/z")]) == ["r/x"]


def test_they_go_with_their_asset(catalog: Catalog) -> None:
    mesh(catalog, file="f/own")
    mesh(catalog, "b")
    for asset_id in ("a", "b"):
        catalog.renditions.put(asset_id, [made("one", f"{asset_id}/1"), made("two", f"{asset_id}/2")])
    assert catalog.assets.delete("a") == ["a/1", "a/2", "f/own"]
    assert catalog.renditions.of_asset("a") == []
    assert code(catalog.renditions.get, "a", "one") == "not_found"
    mesh(catalog)
    assert catalog.renditions.of_asset("a") == [], "of another asset under the same id"
    assert len(catalog.renditions.of_asset("b")) == 2


def test_a_picture_posted_again_with_other_bytes_loses_what_was_made_of_the_old(catalog: Catalog) -> None:
    catalog.contents.add(posted("a", data="old"), vector(1), REVISION)
    catalog.renditions.put("a", [made("one", "a/1")])
    assert catalog.contents.add(posted("a", data="words", modality="text"), vector(2), REVISION).obsolete_files == ()
    assert len(catalog.renditions.of_asset("a")) == 1
    added = catalog.contents.add(posted("a", data="new"), vector(3), REVISION)
    assert added.obsolete_files == ("a/1", "f/a-old")
    assert catalog.renditions.of_asset("a") == []


def test_renditions_of_what_is_gone_or_another_by_now_are_refused(catalog: Catalog) -> None:
    mesh(catalog)
    for gone in ("b", "", "\x00"):
        assert code(catalog.renditions.put, gone, [made("one")]) == "not_found"
        assert code(catalog.renditions.put, gone, []) == "not_found"
        assert code(catalog.renditions.get, gone, "one") == "not_found"
    assert code(catalog.renditions.put, "a", [made("one")], sha256=sha("another")) == "conflict"
    for name in ("one", "", "\x00", "\ud800", "../one", "x" * 1000):
        assert code(catalog.renditions.get, "a", name) == "not_found"
    assert catalog.renditions.of_asset("a") == []


@pytest.mark.parametrize("name", ["", "original", ".hidden", "a/b/c", "..", "a b", "a\n", "é", "x" * 101])
def test_names_that_no_address_or_folder_should_have_are_refused(catalog: Catalog, name: str) -> None:
    mesh(catalog)
    with pytest.raises(ValueError, match="no name"):
        catalog.renditions.put("a", [made("one"), made(name)])
    assert catalog.renditions.of_asset("a") == []


def test_one_name_twice_is_refused_whole(catalog: Catalog) -> None:
    mesh(catalog)
    with pytest.raises(ValueError, match="same name"):
        catalog.renditions.put("a", [made("one"), made("one", "r/other")])
    assert catalog.renditions.of_asset("a") == []


def live_a_while(catalog: Catalog, seed: int) -> tuple[set[str], list[str]]:
    """Make, replace and delete for 40 turns; gives the files that were stored and those that were given back."""
    dice, stored, given = random.Random(seed), set[str](), list[str]()
    for turn in range(40):
        asset_id, own = f"a{dice.randrange(3)}", f"own/{seed}-{turn}"
        names = dice.sample(["one", "two", "three"], dice.randrange(4))
        new = [made(name, f"r/{seed}-{turn}-{name}") for name in names]
        try:
            match dice.randrange(4):
                case 0:
                    if catalog.assets.add(picture(asset_id, file=own))[1]:
                        stored.add(own)
                case 1:
                    given += catalog.assets.delete(asset_id)
                case _:
                    given += catalog.renditions.put(asset_id, new)
                    stored.update(one.file for one in new)
        except Problem as problem:
            if problem.code != "not_found":
                raise
    return stored, given


def test_side_by_side_no_file_is_forgotten_and_none_is_given_twice(url: str) -> None:
    catalog = Catalog.open(url)
    with ThreadPoolExecutor(4) as pool:
        lives = list(pool.map(lambda seed: live_a_while(catalog, seed), range(4)))
    stored = set[str]().union(*(files for files, _ in lives))
    given = [file for _, files in lives for file in files]
    with catalog._database.read() as connection:
        kept = {*connection.execute(text("SELECT file FROM renditions UNION SELECT file FROM assets")).scalars()}
    assert len(given) == len(set(given)) > 20
    assert kept == stored - set(given)
    catalog.close()


def test_a_folder_is_replaced_as_a_whole(catalog: Catalog) -> None:
    mesh(catalog)
    mesh(catalog, "b")
    catalog.renditions.put("b", [made("web/one", "b/1")])
    first = [made("web/one", "a/1"), made("web/two", "a/2"), made("web2/one", "a/3"), made("webone", "a/4")]
    assert catalog.renditions.put("a", first) == []
    again = [made("web/two", "a/5"), made("web/three", "a/6")]
    assert catalog.renditions.put("a", again, folder="web") == ["a/1", "a/2"]
    assert [each.name for each in catalog.renditions.of_asset("a")] == ["web/three", "web/two", "web2/one", "webone"]
    assert catalog.renditions.get("a", "web/two").file == "a/5"
    assert code(catalog.renditions.get, "a", "web/one") == "not_found"
    assert catalog.renditions.put("a", [], folder="we_") == [], "no pattern"
    assert [each.file for each in catalog.renditions.of_asset("b")] == ["b/1"]


@pytest.mark.parametrize(
    "name", ["/one", "web/", "web//one", "a/b/c", "../one", "web/.hidden", "w" * 60 + "/" + "o" * 60]
)
def test_names_in_folders_that_cannot_be(catalog: Catalog, name: str) -> None:
    mesh(catalog)
    with pytest.raises(ValueError, match="no name"):
        catalog.renditions.put("a", [made(name, "a/1")])
    assert code(catalog.renditions.get, "a", name) == "not_found"
