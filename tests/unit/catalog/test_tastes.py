"""What recommendation keeps: picks, starters and profiles, all without what was deleted."""

from __future__ import annotations

import pytest
from catalog_samples import REVISION, picture, posted, vector

from serve_app.catalog import Catalog
from serve_app.errors import Problem


@pytest.fixture
def filled(catalog: Catalog) -> Catalog:
    catalog.contents.add_many([(posted(f"a{n}", data=str(n)), vector(n)) for n in range(4)], REVISION)
    return catalog


def test_interests_are_replaced_whole_and_lose_what_is_deleted(filled: Catalog) -> None:
    filled.interests.put("ben", ["a3", "a1", "a3", "a2"])
    assert filled.interests.get("ben") == ["a3", "a1", "a2"]
    filled.assets.delete("a1")
    assert filled.interests.get("ben") == ["a3", "a2"]
    filled.interests.put("ben", ["a0"])
    assert (filled.interests.get("ben"), filled.interests.get("anna")) == (["a0"], [])
    filled.interests.put("ben", [])
    assert filled.interests.get("ben") == []


WRONG = [(["a1", "gone"], "not_found"), (["\n"], "bad_request"), ([""], "bad_request")]


@pytest.mark.parametrize(("ids", "code"), [*WRONG, ([f"a{n}" for n in range(1001)], "bad_request")])
def test_wrong_interests_change_nothing(filled: Catalog, ids: list[str], code: str) -> None:
    filled.interests.put("ben", ["a0"])
    with pytest.raises(Problem) as caught:
        filled.interests.put("ben", ids)
    assert caught.value.code == code
    assert filled.interests.get("ben") == ["a0"]


def test_starters_are_kept_by_modality_and_revision(filled: Catalog) -> None:
    filled.starters.put("image", REVISION, ["a2", "gone", "a0", "a2"])
    filled.starters.put("image", "clip@2", ["a1"])
    assert filled.starters.get("image", REVISION) == ["a2", "a0"]
    assert filled.starters.get("text", REVISION) == []
    filled.assets.delete("a2")
    filled.starters.put("image", "clip@2", [])
    assert (filled.starters.get("image", REVISION), filled.starters.get("image", "clip@2")) == (["a0"], [])


def test_the_latest_profile_stays_until_the_last_content_goes(filled: Catalog) -> None:
    assert filled.profiles.get("anna", "image", REVISION) is None
    assert filled.profiles.put("anna", "image", REVISION, {"clusters": [1]}, 4)
    assert filled.profiles.put("anna", "image", REVISION, {"clusters": [2]}, 6)
    assert not filled.profiles.put("anna", "image", REVISION, {"clusters": [3]}, 5)
    kept = filled.profiles.get("anna", "image", REVISION)
    assert kept is not None
    assert (kept.document, kept.seq) == ({"clusters": [2]}, 6)
    for n in range(4):
        assert filled.profiles.get("anna", "image", REVISION) is not None
        filled.assets.delete(f"a{n}")
    assert filled.profiles.get("anna", "image", REVISION) is None
    assert not filled.profiles.put("anna", "image", REVISION, {}, 9)


def test_a_profile_is_no_concern_of_another_owner(filled: Catalog) -> None:
    filled.assets.add(picture("b", "ben", data="b"))
    filled.profiles.put("anna", "image", REVISION, {"whose": "anna"}, 4)
    filled.assets.delete("b")
    assert filled.profiles.get("anna", "image", REVISION) is not None
    assert filled.profiles.get("ben", "image", REVISION) is None
