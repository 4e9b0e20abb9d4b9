"""Moments of videos: replaced as a whole, shared where files are equal, gone with what they were seen in."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from itertools import pairwise

import pytest
from catalog_samples import REVISION, log, picture, posted, sha, vector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve_app.catalog import Catalog, Content, FoundPart, Key, Moment, Tag, parse_filter, vector_rows
from serve_app.errors import Problem

CUTS = [0, 25, 60, 75]


def moments(*cuts: int) -> list[Moment]:
    """Pieces between ``cuts``, frames of a film of 25 a second."""
    return [Moment(first / 25, last / 25, first, last) for first, last in pairwise(cuts)]


def film(catalog: Catalog, asset_id: str = "a", owner: str = "anna", data: str = "film", **more: object) -> None:
    catalog.assets.add(picture(asset_id, owner, data, kind="video", media_type="video/mp4", **more))


def index(catalog: Catalog, *contents: Content) -> list[int | None]:
    return [
        catalog.vectors.put(each.owner, each.modality, each.sha256, REVISION, vector(each.ordinal)) for each in contents
    ]


def state(catalog: Catalog) -> dict[int, bool]:
    """Each vector, and whether it is alive."""
    return {change.vid: change.vector is not None for change in log(catalog)}


def test_moments_are_parts_of_their_asset_with_times(catalog: Catalog) -> None:
    film(catalog, description="A dog")
    put = catalog.contents.put_moments("a", moments(*CUTS), sha256=sha("film"))
    assert [(each.part, each.start_s, each.end_s) for each in put] == [(0, 0, 1), (1, 1, 2.4), (2, 2.4, 3)]
    assert {(each.owner, each.modality, each.file, each.text) for each in put} == {
        ("anna", "video", "f/film.jpg", None)
    }
    assert put[1].sha256 == hashlib.sha256(f"{sha('film')}:25-60".encode()).hexdigest()
    words, *rest = catalog.contents.of_asset("a")
    assert (words.modality, words.text, words.part, words.start_s) == ("text", "A dog", 0, None)
    assert rest == put
    assert catalog.vectors.missing(REVISION, 10) == [words, *put] == catalog.vectors.missing_of_asset("a", REVISION)
    index(catalog, put[0], put[2])
    assert catalog.vectors.missing(REVISION, 10) == [words, put[1]] == catalog.vectors.missing_of_asset("a", REVISION)
    assert len(catalog.vectors.missing_of_asset("a", "other@1")) == 4
    assert catalog.assets.delete("a") == ["f/film.jpg"]


def test_the_same_moments_again_change_nothing(catalog: Catalog) -> None:
    film(catalog)
    put = catalog.contents.put_moments("a", moments(*CUTS))
    index(catalog, *put)
    head = catalog.vectors.head()
    assert catalog.contents.put_moments("a", moments(*CUTS)) == put
    assert (catalog.vectors.head(), len(state(catalog))) == (head, 3)
    assert catalog.vectors.missing(REVISION, 10) == []


def test_other_moments_keep_the_vectors_of_what_stays(catalog: Catalog) -> None:
    film(catalog)
    before = catalog.contents.put_moments("a", moments(*CUTS))
    index(catalog, *before)
    catalog.vectors.put("anna", "video", before[0].sha256, "clip@2", vector(9))
    head = catalog.vectors.head()
    after = catalog.contents.put_moments("a", moments(25, 60, 90, 100))
    assert [each.part for each in after] == [0, 1, 2]
    assert after[0].sha256 == before[1].sha256
    assert catalog.vectors.missing(REVISION, 10) == after[1:]
    assert list(state(catalog).values()) == [True, False, False]
    assert catalog.vectors.head() == head + 3, "two of this revision and one of the other"
    assert log(catalog, "clip@2")[0].vector is None
    assert catalog.contents.put_moments("a", []) == []
    assert list(state(catalog).values()) == [False] * 3


def test_equal_files_of_an_owner_share_vectors_and_show_the_asset_added_last(catalog: Catalog) -> None:
    for asset_id, owner in (("old", "anna"), ("new", "anna"), ("ben", "ben")):
        film(catalog, asset_id, owner)
    for asset_id in ("new", "ben", "old"):  # whichever is annotated first
        index(catalog, *catalog.contents.put_moments(asset_id, moments(*CUTS)))
    vids = sorted(state(catalog))  # the log has those last that came to stand for more
    assert len(vids) == 6
    found = catalog.vectors.latest_parts(vids)
    assert [found[vid] for vid in vids[:3]] == [
        FoundPart("new", 0, 0, 1), FoundPart("new", 1, 1, 2.4), FoundPart("new", 2, 2.4, 3),
    ]  # fmt: skip
    assert {found[vid].asset_id for vid in vids[3:]} == {"ben"}
    catalog.annotations.put("old", "object_detection", {}, [Tag("object", "dog")])
    dogs = parse_filter("object:dog")
    assert {each.asset_id for each in catalog.vectors.latest_parts(vids, dogs).values()} == {"old"}
    catalog.assets.delete("new")
    assert {each.asset_id for each in catalog.vectors.latest_parts(vids).values()} == {"old", "ben"}
    assert all(state(catalog).values())
    catalog.assets.delete("old")
    assert [state(catalog)[vid] for vid in vids] == [False] * 3 + [True] * 3


def test_moments_and_files_under_one_id_do_not_meet(catalog: Catalog) -> None:
    """A text posted under a film's id is replaced without the film's moments; a replaced picture takes its along."""
    film(catalog)
    put = catalog.contents.put_moments("a", moments(*CUTS))
    for words in ("one", "two"):
        catalog.contents.add(posted("a", data=words, modality="text"), vector(1), REVISION)
    assert catalog.contents.of_asset("a")[:-1] == put
    catalog.contents.add(posted("moving", data="old"), vector(2), REVISION)
    index(catalog, *catalog.contents.put_moments("moving", moments(*CUTS)))
    catalog.contents.add(posted("moving", data="new"), vector(3), REVISION)
    assert [each.modality for each in catalog.contents.of_asset("moving")] == ["image"]
    assert catalog.vectors.count(REVISION, "video") == 0


def test_moments_of_another_file_are_refused(catalog: Catalog) -> None:
    film(catalog)
    with pytest.raises(Problem) as caught:
        catalog.contents.put_moments("a", moments(*CUTS), sha256=sha("another"))
    assert caught.value.code == "conflict"
    for gone in ("b", "", "\x00"):
        with pytest.raises(Problem) as caught:
            catalog.contents.put_moments(gone, moments(*CUTS))
        assert caught.value.code == "not_found"
    assert catalog.contents.of_asset("a") == []


WRONG = [(0, 1, 0, 0), (0, 1, 5, 4), (0, 1, -1, 4), (2, 1, 0, 9), (math.nan, 1, 0, 9), (0, math.inf, 0, 9)]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_moment_is_refused(catalog: Catalog, wrong: tuple[float, float, int, int]) -> None:
    film(catalog)
    with pytest.raises(ValueError, match="no piece"):
        catalog.contents.put_moments("a", [*moments(*CUTS), Moment(*wrong)])
    with pytest.raises(ValueError, match="same frames"):
        catalog.contents.put_moments("a", [*moments(*CUTS), replace(moments(*CUTS)[0], end_s=9)])


def test_a_vector_of_a_moment_that_was_replaced_is_not_stored(catalog: Catalog) -> None:
    film(catalog)
    old = catalog.contents.put_moments("a", moments(*CUTS))
    new = catalog.contents.put_moments("a", moments(0, 25, 70))
    keys = [Key(each.owner, each.modality, each.sha256) for each in (old[0], old[1], new[1])]
    given = catalog.vectors.put_many([(key, vector(1)) for key in keys], REVISION)
    assert given == [1, None, 2]
    assert catalog.vectors.put_many([], REVISION) == []


def test_more_moments_than_a_query_takes(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_rows, "IDS_A_QUERY", 7)
    monkeypatch.setattr(vector_rows, "KEYS_A_QUERY", 7)
    film(catalog)
    put = catalog.contents.put_moments("a", moments(*range(61)))
    assert [each.part for each in put] == list(range(60))
    keys = [Key(each.owner, each.modality, each.sha256) for each in put]
    assert catalog.vectors.put_many([(key, vector(1)) for key in keys[:10]], REVISION) == list(range(1, 11))
    assert catalog.vectors.put_many([(key, vector(1)) for key in keys[5:]], REVISION) == [*range(6, 61)]
    assert len(catalog.vectors.latest_parts(state(catalog))) == 60
    catalog.contents.put_moments("a", moments(*range(20, 51)))
    assert sum(state(catalog).values()) == 30
    catalog.assets.delete("a")
    assert sum(state(catalog).values()) == 0


cuts = st.lists(st.integers(0, 12), unique=True, max_size=5).map(sorted)
steps = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.none() | cuts), max_size=6)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_any_history_leaves_the_vectors_of_the_moments_that_are(url: str, history: list[tuple[str, list[int]]]) -> None:
    """Films a and b are equal and anna's, c is ben's; each is cut again and again or, for None, deleted."""
    catalog = Catalog.open(url)
    now: dict[str, list[Moment]] = {}
    for asset_id, at in history:
        owner = "ben" if asset_id == "c" else "anna"
        film(catalog, asset_id, owner)
        if at is None:
            catalog.assets.delete(asset_id)
            now.pop(asset_id, None)
            continue
        now[asset_id] = moments(*at)
        index(catalog, *catalog.contents.put_moments(asset_id, now[asset_id]))
    alive = {("ben" if id == "c" else "anna", each.start_frame, each.end_frame) for id in now for each in now[id]}
    assert catalog.vectors.count(REVISION, "video") == len(alive)
    found = catalog.vectors.latest_parts([vid for vid, live in state(catalog).items() if live])
    assert len(found) == len(alive)
    shown = {(each.asset_id, each.start_s, each.end_s) for each in found.values()}
    assert shown <= {(id, each.start_s, each.end_s) for id in now for each in now[id]}
    assert catalog.vectors.missing(REVISION, 100) == []
    for asset_id in now:
        catalog.assets.delete(asset_id)
    assert not any(state(catalog).values())
    catalog.close()
