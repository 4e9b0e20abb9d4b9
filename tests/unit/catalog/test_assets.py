"""Assets: added once, found again, paged, deleted; ids of all kinds."""

from __future__ import annotations

import threading

import pytest
from catalog_samples import REVISION, Clock, log, picture, sha, vector
from hypothesis import given
from hypothesis import strategies as st

from serve_app.catalog import Catalog, Stage, Tag, parse_filter, validate_id
from serve_app.errors import Problem


def code(catch: pytest.ExceptionInfo[Problem]) -> str:
    return catch.value.code


def test_an_added_asset_comes_back_whole(catalog: Catalog, clock: Clock) -> None:
    new = picture("photos/2026/é 🐶", description="A dog", width=640, height=480, duration_s=1.5, bytes=2**40)
    asset, created = catalog.assets.add(new)
    assert created
    assert catalog.assets.get("photos/2026/é 🐶") == asset
    assert (asset.owner, asset.kind, asset.media_type, asset.sha256) == ("anna", "image", "image/jpeg", new.sha256)
    assert (asset.bytes, asset.width, asset.height, asset.duration_s) == (2**40, 640, 480, 1.5)
    assert (asset.description, asset.file, asset.created_at) == ("A dog", new.file, clock.now)
    assert asset.state == "processing"
    waiting = dict.fromkeys(("annotate", "index", "preview"), Stage("pending"))
    assert asset.stages == waiting | {"adapt": Stage("skipped")}
    job = catalog.jobs.claim("w", 10)
    assert job is not None
    assert (job.kind, job.asset_id, job.created_at) == ("process", asset.id, clock.now)


def test_the_same_id_owner_and_bytes_give_the_same_asset(catalog: Catalog) -> None:
    first, _ = catalog.assets.add(picture())
    again, created = catalog.assets.add(picture(file="f/second-upload.jpg"))
    assert not created
    assert again == first
    assert len(catalog.jobs.page().items) == 1


@pytest.mark.parametrize("other", [picture(owner="ben"), picture(data="other")])
def test_the_same_id_for_something_else_is_a_conflict(catalog: Catalog, other: object) -> None:
    catalog.assets.add(picture())
    with pytest.raises(Problem) as caught:
        catalog.assets.add(other)
    assert code(caught) == "conflict"


def test_without_an_id_every_add_makes_an_asset(catalog: Catalog) -> None:
    first, second = (catalog.assets.add(picture(None))[0] for _ in range(2))
    assert first.id != second.id
    assert first.ordinal < second.ordinal


def test_an_idempotency_key_gives_the_asset_it_gave_before(catalog: Catalog) -> None:
    first, _ = catalog.assets.add(picture(None), idempotency_key="k")
    again, created = catalog.assets.add(picture(None, file="f/retry.jpg"), idempotency_key="k")
    assert (again, created) == (first, False)
    assert catalog.assets.add(picture(None, owner="ben"), idempotency_key="k")[1]  # keys are each owner's own
    with pytest.raises(Problem) as caught:
        catalog.assets.add(picture(None, data="other"), idempotency_key="k")
    assert code(caught) == "conflict"
    catalog.assets.delete(first.id)
    assert catalog.assets.add(picture(None, data="other"), idempotency_key="k")[1]


def test_one_of_many_concurrent_adds_of_an_id_creates_it(catalog: Catalog) -> None:
    created: list[bool] = []
    threads = [
        threading.Thread(target=lambda: created.append(catalog.assets.add(picture(), idempotency_key="k")[1]))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(created) == [False] * 5 + [True]


def test_the_state_follows_from_annotate_and_index(catalog: Catalog) -> None:
    catalog.assets.add(picture())
    assert catalog.assets.set_stage("a", "annotate", "ready").state == "processing"
    assert catalog.assets.set_stage("a", "preview", "failed", "no space\x00left\ud800").state == "processing"
    assert catalog.assets.set_stage("a", "index", "failed", "no model").state == "failed"
    asset = catalog.assets.set_stage("a", "index", "skipped")
    assert asset.state == "ready"
    assert asset.stages["index"] == Stage("skipped")
    assert asset.stages["preview"].state == "failed"
    assert "\x00" not in (asset.stages["preview"].error or "\x00")
    assert catalog.assets.get("a") == asset


def test_deleting_takes_everything_along(catalog: Catalog) -> None:
    catalog.assets.add(picture(description="A dog"))
    catalog.vectors.put("anna", "image", sha("bytes"), REVISION, vector(1))
    catalog.annotations.put("a", "object_detection", {"labels": []}, [Tag("object", "dog", 0.9)])
    job = catalog.jobs.claim("w", 10)
    assert catalog.assets.delete("a") == ["f/bytes.jpg"]
    for call in (catalog.assets.get, catalog.assets.delete, catalog.annotations.of_asset):
        with pytest.raises(Problem) as caught:
            call("a")
        assert code(caught) == "not_found"
    with pytest.raises(Problem) as caught:
        catalog.assets.set_stage("a", "index", "ready")
    assert code(caught) == "not_found"
    with pytest.raises(Problem) as caught:
        catalog.annotations.put("a", "object_detection", {})
    assert code(caught) == "not_found"
    assert job is not None
    assert catalog.jobs.get(job.id).state == "cancelled"
    assert catalog.annotations.tags_of("a") == []
    assert [change.vector for change in log(catalog)] == [None]
    assert catalog.vectors.missing(REVISION, 10) == []
    assert catalog.assets.add(picture(owner="ben"))[1]  # the id is free again


def test_pages_are_stable_while_assets_come_and_go(catalog: Catalog) -> None:
    for number in range(10):
        catalog.assets.add(picture(f"a{number}", data=f"{number}"))
    page = catalog.assets.page(limit=4)
    assert [asset.id for asset in page.items] == ["a9", "a8", "a7", "a6"]
    catalog.assets.add(picture("late", data="late"))
    catalog.assets.delete("a6")
    catalog.assets.delete("a4")
    page = catalog.assets.page(limit=4, cursor=page.next_cursor)
    assert [asset.id for asset in page.items] == ["a5", "a3", "a2", "a1"]
    page = catalog.assets.page(limit=4, cursor=page.next_cursor)
    assert [asset.id for asset in page.items] == ["a0"]
    assert page.next_cursor is None


def test_a_page_that_ends_exactly_has_no_cursor(catalog: Catalog) -> None:
    for number in range(3):
        catalog.assets.add(picture(f"a{number}"))
    assert catalog.assets.page(limit=3).next_cursor is None
    assert catalog.assets.page(limit=2).next_cursor is not None


def test_pages_are_narrowed_by_owner_kind_hash_and_filter(catalog: Catalog) -> None:
    catalog.assets.add(picture("a", data="same"))
    catalog.assets.add(picture("b", "ben", data="same"))
    catalog.assets.add(picture("c", data="text", kind="text"))
    catalog.annotations.put("b", "meme_detection", {}, [Tag("meme", "meme", 0.8)])

    def ids(**narrow: object) -> list[str]:
        return [asset.id for asset in catalog.assets.page(**narrow).items]

    assert ids(owner="anna") == ["c", "a"]
    assert ids(kind="image") == ["b", "a"]
    assert ids(sha256=sha("same"), owner="anna") == ["a"]
    assert ids(filter=parse_filter("-meme")) == ["c", "a"]
    assert ids(owner="nobody") == []


BAD_PAGES = [
    {"limit": 0},
    {"limit": -1},
    {"limit": 10**9},
    {"kind": "film"},
    {"owner": "a\x00"},
    {"sha256": "\x00"},
] + [{"cursor": text} for text in ("", "x", "é", "am9iczox", "YXNzZXRzOi0x", "YXNzZXRzOjk5OTk5OTk5OTk5OTk5OTk5OTk5")]


def test_bad_pages_are_refused(catalog: Catalog) -> None:
    for bad in BAD_PAGES:
        with pytest.raises(Problem) as caught:
            catalog.assets.page(**bad)
        assert code(caught) == "bad_request", bad


def test_ids_that_cannot_be_are_refused(catalog: Catalog) -> None:
    for bad in ("", "a\x00b", "line\nbreak", "\x85", "\ud800", "x" * 513, "é" * 257):
        for new in (picture(bad), picture(owner=bad)):
            with pytest.raises(Problem) as caught:
                catalog.assets.add(new)
            assert code(caught) == "bad_request", bad
        with pytest.raises(Problem) as caught:
            catalog.assets.get(bad)
        assert code(caught) == "not_found", bad


def test_a_description_with_a_null_byte_is_refused(catalog: Catalog) -> None:
    with pytest.raises(Problem, match="description"):
        catalog.assets.add(picture(description="A\x00dog"))


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128))
def test_any_other_unicode_is_an_id(text: str) -> None:
    assert validate_id(text) == text


@pytest.mark.parametrize("id", [".", "..", "../../etc/passwd", "a/./b", "a/..", "x/annotations", "x/files/original"])
def test_ids_that_no_address_reaches_are_refused(catalog: Catalog, id: str) -> None:
    with pytest.raises(Problem) as caught:
        catalog.assets.add(picture(id))
    assert code(caught) == "bad_request"


def test_odd_ids_are_kept_as_they_are(catalog: Catalog) -> None:
    for odd in (
        "x" * 512,
        "/etc/passwd",
        "x/annotationsx",
        "..a/b..",
        "👩‍👩‍👧‍👦/%00?&#",
        " ",
        "';--",
        "\u202e",
        "\U0010ffff",
    ):
        catalog.assets.add(picture(odd, owner=odd))
        assert [asset.id for asset in catalog.assets.page(owner=odd).items] == [odd]
        assert catalog.assets.delete(odd)
