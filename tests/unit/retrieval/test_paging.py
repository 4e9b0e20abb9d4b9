"""Cursors come back as they were, and a damaged or foreign one is refused, whatever its bytes."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.errors import Problem
from serve_app.retrieval.paging import LIMIT, MAX_CHARACTERS, Given, decode_cursor, encode_cursor, fingerprint

MODALITIES = ("text", "image", "video", "shape3d")
SEARCH = fingerprint("a dog", None)
pages = st.dictionaries(st.sampled_from(MODALITIES), st.lists(st.text(max_size=8), max_size=20))


def cursor_of(page: Any, search: bytes = SEARCH) -> str:
    cursor = encode_cursor(Given().and_these(page), search)
    assert cursor is not None
    return cursor


def refused(cursor: str, search: bytes = SEARCH, modalities: Any = MODALITIES) -> None:
    with pytest.raises(Problem) as caught:
        decode_cursor(cursor, search, modalities)
    assert caught.value.code == "bad_request"


@given(pages, pages)
def test_what_was_given_comes_back(first: Any, second: Any) -> None:
    given = decode_cursor(cursor_of(first), SEARCH, MODALITIES).and_these(second)
    given = decode_cursor(encode_cursor(given, SEARCH) or "", SEARCH, MODALITIES)
    for modality in MODALITIES:
        ids = {*first.get(modality, ()), *second.get(modality, ())}
        assert given.count(modality) == len(ids)
        assert all(given.has(modality, id) for id in ids)
        assert not given.has(modality, "another id altogether")


def test_modalities_are_apart() -> None:
    given = decode_cursor(cursor_of({"text": ["a"], "image": ["b"]}), SEARCH, MODALITIES)
    assert given.has("text", "a")
    assert not given.has("image", "a")
    assert not given.has("video", "a")


@given(pages, st.data())
def test_one_damaged_character_is_seen(page: Any, data: st.DataObject) -> None:
    cursor = cursor_of(page)
    at = data.draw(st.integers(0, len(cursor) - 2))  # the last may hold bits that say nothing
    other = data.draw(st.sampled_from("abcXYZ019-_ .=%\u00e9").filter(lambda one: one != cursor[at]))
    refused(cursor[:at] + other + cursor[at + 1 :])


@given(pages, st.integers(1, 8))
def test_a_piece_of_a_cursor_is_none(page: Any, less: int) -> None:
    refused(cursor_of(page)[:-less])


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_anything_else_is_refused(text: str) -> None:
    refused(text)


def test_a_cursor_of_another_search_is_refused() -> None:
    cursor = cursor_of({"text": ["a"]})
    refused(cursor, fingerprint("a cat", None))
    refused(cursor, fingerprint("a dog", "owner:anna"))
    refused(cursor, modalities=("image",))
    assert fingerprint("a", "bc") != fingerprint("ab", "c")
    assert fingerprint("1") != fingerprint(1) != fingerprint(b"1")


def test_a_cursor_is_bounded() -> None:
    most = cursor_of({"text": [f"id {number}" for number in range(LIMIT - 1)], "shape3d": ["a"]})
    assert len(most) <= MAX_CHARACTERS
    given = decode_cursor(most, SEARCH, MODALITIES)
    assert len(given) == given.count("text") + given.count("shape3d") == LIMIT
    assert encode_cursor(given.and_these({"image": ["one more"]}), SEARCH) is None
    refused("A" * (MAX_CHARACTERS + 1))


def test_a_forged_cursor_of_too_many_is_refused() -> None:
    """Whoever knows how the check is made can write any; it is bounded all the same."""
    from serve_app.retrieval import paging

    body = b"\x01" + b"\x05image" + (60_000).to_bytes(2, "big") + bytes(8 * 100)
    refused(base64.urlsafe_b64encode(paging._check(body, SEARCH) + body).decode().rstrip("="))
    body = b"\x01" + b"\x05sound" + (1).to_bytes(2, "big") + bytes(8)
    refused(base64.urlsafe_b64encode(paging._check(body, SEARCH) + body).decode().rstrip("="))
