"""Vectors and contents: one vector for the same content, tombstones, revival, shards, re-indexing, selection."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from catalog_samples import REVISION, Change, log, picture, posted, rows_of, sha, steps_of, vector

from serve_app.catalog import Catalog, Tag, parse_filter
from serve_app.catalog.vector_rows import Key, pack, shard_key
from serve_app.errors import Problem


def latest(catalog: Catalog) -> dict[int, str]:
    return catalog.vectors.latest_ids(change.vid for change in log(catalog))


def test_a_vector_comes_back_bit_by_bit(catalog: Catalog) -> None:
    catalog.contents.add(posted("a"), vector(1, 512), REVISION)
    (change,) = log(catalog)
    assert (change.seq, change.owner, change.modality) == (catalog.vectors.head(), "anna", "image")
    assert change.vector is not None
    assert change.vector.dtype == np.float32
    np.testing.assert_array_equal(change.vector, vector(1, 512))


def test_a_posted_content_is_an_asset_and_searchable_at_once(catalog: Catalog) -> None:
    added = catalog.contents.add(posted("a"), vector(1), REVISION)
    assert (added.asset_id, added.created, added.obsolete_files) == ("a", True, ())
    assert added.seq == catalog.vectors.head()
    asset = catalog.assets.get("a")
    assert (asset.kind, asset.state, asset.file) == ("image", "ready", "f/a-bytes")
    assert catalog.jobs.page().items == ()
    assert catalog.vectors.has("anna", "image", sha("bytes"), REVISION)


def test_the_same_content_of_an_owner_shares_one_vector_and_shows_the_latest_id(catalog: Catalog) -> None:
    first = catalog.contents.add(posted("a"), vector(1), REVISION)
    second = catalog.contents.add(posted("b"), vector(1), REVISION)
    other = catalog.contents.add(posted("c", "ben"), vector(1), REVISION)
    assert first.seq < second.seq < other.seq  # the vector stands for one more
    mine, others = (change.vid for change in log(catalog))
    assert latest(catalog) == {mine: "b", others: "c"}
    catalog.contents.add(posted("a"), vector(1), REVISION)  # posted again: the latest again
    assert latest(catalog) == {mine: "a", others: "c"}


def test_deleting_shows_the_earlier_id_and_then_leaves_a_tombstone(catalog: Catalog) -> None:
    catalog.contents.add(posted("a"), vector(1), REVISION)
    seq = catalog.contents.add(posted("b"), vector(1), REVISION).seq
    (vid,) = latest(catalog)
    catalog.assets.delete("b")
    assert latest(catalog) == {vid: "a"}
    (touched,) = log(catalog, after=seq)  # the vector stands for another asset
    assert (touched.seq, list(touched.assets)) == (seq + 1, [catalog.assets.get("a").ordinal])
    catalog.assets.delete("a")
    assert latest(catalog) == {}
    assert log(catalog, after=seq) == [Change(seq + 2, vid, "anna", "image", None)]
    assert not catalog.vectors.has("anna", "image", sha("bytes"), REVISION)
    assert catalog.vectors.count(REVISION, "image") == 0


def test_a_tombstone_comes_back_to_life_under_a_new_seq(catalog: Catalog) -> None:
    catalog.contents.add(posted("a"), vector(1), REVISION)
    (vid,) = latest(catalog)
    catalog.assets.delete("a")
    again = catalog.contents.add(posted("z"), vector(2), REVISION)
    (change,) = log(catalog)
    assert again.seq == 3
    assert (change.seq, change.vid) == (again.seq, vid)
    np.testing.assert_array_equal(change.vector, vector(2))
    assert latest(catalog) == {vid: "z"}


def test_other_bytes_under_the_same_id_replace_the_content(catalog: Catalog) -> None:
    catalog.contents.add(posted("a", data="old"), vector(1), REVISION)
    catalog.annotations.put("a", "object_detection", {}, [Tag("object", "dog")])
    added = catalog.contents.add(posted("a", data="new"), vector(2), REVISION)
    assert (added.created, added.obsolete_files) == (False, ("f/a-old",))
    asset = catalog.assets.get("a")
    assert (asset.sha256, asset.file, asset.state) == (sha("new"), "f/a-new", "ready")
    assert catalog.annotations.tags_of("a") == []
    assert [change.vector is None for change in log(catalog)] == [True, False]
    assert list(latest(catalog).values()) == ["a"]


def test_the_same_bytes_posted_again_leave_the_new_file_to_its_caller(catalog: Catalog) -> None:
    catalog.contents.add(posted("a"), vector(1), REVISION)
    again = posted("a")
    again = type(again)(**{**again.__dict__, "file": "f/retry"})
    assert catalog.contents.add(again, vector(1), REVISION).obsolete_files == ("f/retry",)
    assert catalog.assets.delete("a") == ["f/a-bytes"]


def test_one_id_may_have_a_text_and_a_picture(catalog: Catalog) -> None:
    catalog.contents.add(posted("a"), vector(1), REVISION)
    added = catalog.contents.add(posted("a", data="words", modality="text"), vector(2), REVISION)
    assert added.created
    assert catalog.vectors.count(REVISION, "text") == catalog.vectors.count(REVISION, "image") == 1
    assert catalog.assets.delete("a") == ["f/a-bytes", "f/a-words"]


def test_another_owner_cannot_take_an_id(catalog: Catalog) -> None:
    catalog.contents.add(posted("a"), vector(1), REVISION)
    with pytest.raises(Problem) as caught:
        catalog.contents.add(posted("a", "ben", data="other"), vector(2), REVISION)
    assert caught.value.code == "conflict"
    assert catalog.vectors.head() == 1


def test_many_contents_are_added_all_or_none(catalog: Catalog) -> None:
    added = catalog.contents.add_many([(posted(f"a{n}", data=str(n)), vector(n)) for n in range(3)], REVISION)
    assert [item.seq for item in added] == [1, 2, 3]
    with pytest.raises(Problem):
        catalog.contents.add_many([(posted("new", data="x"), vector(4)), (posted("a0", "ben"), vector(5))], REVISION)
    assert catalog.vectors.head() == 3
    assert len(catalog.assets.page().items) == 3


def test_a_described_picture_has_two_contents_to_index(catalog: Catalog) -> None:
    catalog.assets.add(picture("a", description="A dog"))
    catalog.assets.add(picture("b", data="film", kind="video", description="A dog"))  # shares the words with "a"
    catalog.assets.add(picture("c", data="words", kind="text", description="not what is searched"))
    todo = catalog.vectors.missing(REVISION, 10)
    assert [(content.asset_id, content.modality, content.file, content.text) for content in todo] == [
        ("a", "image", "f/bytes.jpg", None),
        ("b", "text", None, "A dog"),
        ("c", "text", "f/words.jpg", None),
    ]
    assert todo[1].sha256 == sha("A dog")
    for number, content in enumerate(todo):
        assert catalog.vectors.put(content.owner, content.modality, content.sha256, REVISION, vector(number))
    assert catalog.vectors.missing(REVISION, 10) == []
    assert sorted(latest(catalog).values()) == ["a", "b", "c"]


def test_missing_pages_pass_over_what_cannot_be_embedded(catalog: Catalog) -> None:
    for number in range(5):
        catalog.contents.add(posted(f"a{number}", data=str(number)), vector(number), "old@1")
    catalog.vectors.put("anna", "image", sha("1"), REVISION, vector(1))
    first = catalog.vectors.missing(REVISION, 2)
    rest = catalog.vectors.missing(REVISION, 9, after=first[-1].ordinal)
    assert [content.asset_id for content in first + rest] == ["a0", "a2", "a3", "a4"]
    assert catalog.vectors.missing("old@1", 9) == []


def test_putting_again_gives_the_present_seq(catalog: Catalog) -> None:
    catalog.assets.add(picture())
    seq = catalog.vectors.put("anna", "image", sha("bytes"), REVISION, vector(1))
    assert catalog.vectors.put("anna", "image", sha("bytes"), REVISION, vector(2)) == seq == catalog.vectors.head()
    np.testing.assert_array_equal(log(catalog)[0].vector, vector(1))


def test_a_vector_that_comes_after_the_delete_is_not_stored(catalog: Catalog) -> None:
    catalog.assets.add(picture())
    catalog.assets.delete("a")
    assert catalog.vectors.put("anna", "image", sha("bytes"), REVISION, vector(1)) is None
    assert log(catalog) == []


@pytest.mark.parametrize("bad", [np.full(4, np.nan), np.array([np.inf]), np.zeros((2, 2)), np.zeros(0)])
def test_vectors_that_would_spoil_an_index_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="vector"):
        pack(bad)


def test_revisions_live_side_by_side_and_die_together(catalog: Catalog) -> None:
    catalog.contents.add(posted("a"), vector(1), REVISION)
    catalog.vectors.put("anna", "image", sha("bytes"), "clip@2", vector(2))
    assert [change.seq for change in log(catalog, "clip@2")] == [2]
    catalog.assets.delete("a")
    assert log(catalog)[0].vector is None
    assert log(catalog, "clip@2")[0].vector is None


def test_shards_share_the_changes_out(catalog: Catalog) -> None:
    catalog.contents.add_many([(posted(f"a{n}", data=str(n)), vector(n)) for n in range(60)], REVISION)
    shards = [rows_of(catalog.vectors.changes(REVISION, shard, 3, 0, 100)) for shard in range(3)]
    assert sorted(change.seq for shard in shards for change in shard) == list(range(1, 61))
    assert all(len(shard) > 8 for shard in shards)
    assert all([c.seq for c in shard] == sorted(c.seq for c in shard) for shard in shards)
    page = rows_of(catalog.vectors.changes(REVISION, 1, 3, shards[1][4].seq, 3))
    assert [change.seq for change in page] == [change.seq for change in shards[1][5:8]]
    with pytest.raises(ValueError, match="shard 3 of 3"):
        catalog.vectors.changes(REVISION, 3, 3, 0, 1)


def test_a_content_keeps_its_shard() -> None:
    # Golden values: blake2b-32 of owner, modality and hash, little-endian, without its lowest bit.
    assert shard_key(Key("anna", "image", "0" * 64)) == 936484844
    assert shard_key(Key("añña", "text", "f" * 64)) == 1265031756


def test_the_vectors_of_an_owner_come_newest_first(catalog: Catalog) -> None:
    for number in range(4):
        catalog.contents.add(posted(f"a{number}", data=str(number)), vector(number), REVISION)
    catalog.contents.add(posted("b", "ben"), vector(9), REVISION)
    catalog.contents.add(posted("again", data="1"), vector(1), REVISION)
    vids, matrix = catalog.vectors.of_owner("anna", "image", REVISION, 3)
    assert [catalog.vectors.latest_ids(vids)[vid] for vid in vids] == ["again", "a3", "a2"]
    np.testing.assert_array_equal(matrix, [vector(1), vector(3), vector(2)])
    vids, matrix = catalog.vectors.of_owner("nobody", "image", REVISION, 3)
    assert (vids.shape, matrix.shape) == ((0,), (0, 0))


def test_counts_leave_an_owner_out(catalog: Catalog) -> None:
    catalog.contents.add(posted("a"), vector(1), REVISION)
    catalog.contents.add(posted("b", "ben"), vector(1), REVISION)
    assert catalog.vectors.count(REVISION, "image") == 2
    assert catalog.vectors.count(REVISION, "image", excluding_owner="ben") == 1
    assert catalog.vectors.count("other@1", "image") == 0


def test_a_filter_selects_the_latest_id_that_fits(catalog: Catalog) -> None:
    for asset_id in ("older", "newer"):  # the same words for two pictures: one vector
        catalog.assets.add(picture(asset_id, data=asset_id, description="On the beach"))
    catalog.vectors.put("anna", "text", sha("On the beach"), REVISION, vector(1))
    catalog.annotations.put("older", "object_detection", {}, [Tag("object", "dog", 0.9)])
    dogs, people = parse_filter("object:dog"), parse_filter("object:person")
    (vid,) = latest(catalog)
    assert catalog.vectors.latest_ids([vid]) == {vid: "newer"}
    assert catalog.vectors.latest_ids([vid], dogs) == {vid: "older"}
    assert catalog.vectors.latest_ids([vid], people) == {}


def test_naming_a_few_costs_the_same_however_many_fit_the_filter(tmp_path: Path) -> None:
    steps = {}
    for count in (50, 2000):
        catalog = Catalog.open(f"sqlite:///{tmp_path / str(count)}.db")
        news = [posted(f"a{n}", data=str(n)) for n in range(count)]
        catalog.contents.add_many([(each, vector(n)) for n, each in enumerate(news)], REVISION)
        for each in news:
            catalog.annotations.put(each.asset_id, "object_detection", {}, [Tag("object", "dog", 0.9)])
        few = [change.vid for change in log(catalog)[:10]]
        asked = partial(catalog.vectors.latest_ids, few, parse_filter("object:dog"))
        assert sorted(asked().values()) == [f"a{n}" for n in range(10)]
        steps[count] = steps_of(catalog, asked)
    assert steps[2000] < 1.5 * steps[50]


def test_many_ids_are_looked_up_at_once(catalog: Catalog) -> None:
    catalog.contents.add_many([(posted(f"a{n}", data=str(n)), vector(n)) for n in range(20)], REVISION)
    first = log(catalog)[0].vid
    found = catalog.vectors.latest_ids(range(first - 9_990, first + 15_000))
    assert sorted(found.values()) == sorted(f"a{n}" for n in range(20))


def test_vectors_are_gathered_in_the_order_asked_for(catalog: Catalog) -> None:
    catalog.contents.add_many([(posted(f"a{n}", data=str(n)), vector(n)) for n in range(3)], REVISION)
    first, second, third = (change.vid for change in log(catalog))
    catalog.assets.delete("a1")
    rows = catalog.vectors.gather([third, second, first, third, third + 99])
    assert rows.dtype == np.float32
    gone = np.full(8, np.nan)
    np.testing.assert_array_equal(rows, [vector(2), gone, vector(0), vector(2), gone])
    assert catalog.vectors.gather([second]).shape == (1, 0)
    assert catalog.vectors.gather([]).shape == (0, 0)
    assert catalog.vectors.seqs([third, second, first, third + 99]).tolist() == [3, 4, 1, 0]


def test_what_is_missing_is_counted_in_vectors_to_be_made(catalog: Catalog) -> None:
    for asset_id in ("a", "b"):  # the same words for two pictures: one vector
        catalog.assets.add(picture(asset_id, data=asset_id, description="On the beach"))
    assert catalog.vectors.missing_count(REVISION) == len(catalog.vectors.missing(REVISION, 9)) == 3
    assert catalog.vectors.missing_count(REVISION, ["text"]) == 1
    assert [content.asset_id for content in catalog.vectors.missing(REVISION, 9, 0, ["text"])] == ["b"]
    assert [content.asset_id for content in catalog.vectors.missing(REVISION, 9, 0, ["image", "video"])] == ["a", "b"]
    catalog.vectors.put("anna", "text", sha("On the beach"), REVISION, vector(1))
    assert (catalog.vectors.missing_count(REVISION), catalog.vectors.missing_count(REVISION, ["text"])) == (2, 0)


def test_an_owner_with_the_same_post_many_times_has_one_vector(catalog: Catalog) -> None:
    for number in range(3):
        catalog.contents.add(posted(f"a{number}"), vector(1), REVISION)
    catalog.contents.add(posted("z", data="other"), vector(2), REVISION)
    catalog.contents.add(posted("old", data="older"), vector(3), "clip@2")
    vids, matrix = catalog.vectors.of_owner("anna", "image", REVISION, 9)
    assert [catalog.vectors.latest_ids(vids)[vid] for vid in vids] == ["z", "a2"]
    np.testing.assert_array_equal(matrix, [vector(2), vector(1)])
