import json
import os
import random

import numpy as np
import pytest

from serve_app.catalog.filters import parse_filter
from serve_app.retrieval import snapshot as snapshots
from serve_app.retrieval.hits import Query
from serve_app.retrieval.shard import Shard
from serve_app.retrieval.snapshot import MANIFEST, Snapshot, tidy
from tests.unit.retrieval.fake_log import DIM, Asset, FakeLog, clustered

KEY = "clip@1"
DOGS = parse_filter("object:dog")
KINDS = {"image": ((0, "IVF8,SQ8"),)}
QUERIES = clustered(4, seed=77)


def filled(count=1500):
    log = FakeLog()
    for vid, vector in enumerate(clustered(count)):
        tags = (("object", "dog", 0.5),) if vid % 3 else ()
        log.put(vid, vector, ("anna", "ben")[vid % 2], assets=[Asset(vid, tags=tags)])
    log.delete(7)
    log.touch(8, [Asset(8)])
    return log


def trained(log):
    shard = Shard(log, KEY, DIM, kinds=KINDS)
    shard.catch_up()
    index, work = shard.plan()
    work.run()
    index.adopt(work)
    return shard


@pytest.fixture
def log():
    return filled()


@pytest.fixture
def written(log, tmp_path):
    made = Snapshot(tmp_path, trained(log), "sqlite:///a", log)
    assert made.write(*made.freeze())
    made.thaw()
    return made


def start(log, home, origin="sqlite:///a"):
    """A shard as it starts: from a snapshot where one is of use, then up to the log's end."""
    shard = Shard(log, KEY, DIM, kinds=KINDS)
    used = Snapshot(home, shard, origin, log).read(log.head)
    shard.catch_up()
    return shard, used


def right(log, shard):
    for query in QUERIES:
        for filter, test in ((None, lambda row, asset: True), (DOGS, lambda row, asset: bool(asset.tags))):
            hits = shard.search([Query(query, 20, KEY, ("image",), log.head, filter=filter)])[0]["image"]
            assert hits.vids.tolist() == log.expected(query, 20, test=test)[0]


def test_a_restart_goes_on_where_the_snapshot_ends(log, written, tmp_path):
    vectors = clustered(30, seed=5)
    for vid in range(20):
        log.put(5000 + vid, vectors[vid], "cleo")
    log.delete(12)
    log.touch(13, [Asset(13, tags=(("object", "dog", 1.0),))])
    before = log.reads
    shard, used = start(log, tmp_path)
    assert used
    assert log.reads == before + 1
    assert shard.indexes["image"].factory == "IVF8,SQ8"
    assert shard.plan() is None
    right(log, shard)


def test_a_second_snapshot_replaces_the_first_and_leaves_no_files(log, written, tmp_path):
    shard, _ = start(log, tmp_path)
    again = Snapshot(tmp_path, shard, "sqlite:///a", log)
    before = len(list(again.folder.iterdir()))
    log.delete(20)
    shard.catch_up()
    assert again.write(*again.freeze())
    assert len(list(again.folder.iterdir())) == before
    right(log, start(log, tmp_path)[0])


def test_full_blocks_are_written_once_and_part_ones_again(log, tmp_path, monkeypatch):
    shard = trained(log)
    monkeypatch.setattr(snapshots, "BLOCK", 1499)
    assert shard.indexes["image"].blocks.count == 1499

    def written(made):
        assert made.write(*made.freeze())
        said = json.loads(json.loads((made.folder / MANIFEST).read_text())["body"])
        [piece] = said["indexes"]["image"]["pieces"]
        assert (made.folder / piece["name"]).exists()
        return piece["name"]

    made = Snapshot(tmp_path, shard, "", log)
    first = written(made)
    assert written(made) == first
    restarted, _ = start(log, tmp_path, "")
    again = Snapshot(tmp_path, restarted, "", log)
    assert again.read(log.head)
    assert written(again) == first
    monkeypatch.setattr(snapshots, "BLOCK", 1500)
    last = written(made)
    assert last != first
    assert written(made) != last


def test_bytes_that_are_lost_or_changed_anywhere_are_seen(log, written, tmp_path):
    dice = random.Random(4)
    harmed = 0
    for path in sorted(path for path in written.folder.iterdir() if path.stat().st_size):
        whole = path.read_bytes()
        for _ in range(2):
            place = dice.randrange(len(whole))
            for data in (whole[:place], whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :]):
                path.write_bytes(data)
                shard, used = start(log, tmp_path)
                assert not used
                harmed += 1
        path.unlink()
        assert not start(log, tmp_path)[1]
        path.write_bytes(whole)
    right(log, shard)
    assert harmed > 50
    assert start(log, tmp_path)[1]


def test_a_restored_a_foreign_and_an_older_one_are_not_used(log, written, tmp_path, monkeypatch, caplog):
    assert not start(log, tmp_path, "sqlite:///b")[1]
    older = filled(300)
    shard, used = start(older, tmp_path)
    assert not used
    assert "it was restored" in caplog.text
    right(older, shard)
    monkeypatch.setattr(snapshots, "FORMAT", 3)
    assert not start(log, tmp_path)[1]


def test_another_slice_has_another_folder(log, tmp_path):
    folders = {
        Snapshot(tmp_path, Shard(log, revision, DIM, shard=shard, shards=3), "", log).folder
        for revision in (KEY, "clip@1/../x", "clip@1_.._x", "é" * 300)
        for shard in range(3)
    }
    assert len(folders) == 12
    assert {folder.parent for folder in folders} == {tmp_path / "snapshots"}


def test_of_two_writers_one_gives_way(written):
    with snapshots._alone(written.folder) as first:
        assert first
        assert not written.write(*written.freeze())


def test_what_nobody_has_written_for_a_week_goes(written, tmp_path):
    tidy(tmp_path, set())
    assert written.folder.exists()
    old = (written.folder / MANIFEST).stat().st_mtime - 8 * 24 * 3600
    os.utime(written.folder / MANIFEST, (old, old))
    tidy(tmp_path, {written.folder})
    assert written.folder.exists()
    tidy(tmp_path, set())
    assert not written.folder.exists()


def test_an_empty_shard_has_a_snapshot_too(tmp_path):
    log = FakeLog()
    made = Snapshot(tmp_path, Shard(log, KEY, DIM), "", log)
    assert made.write(*made.freeze())
    shard, used = start(log, tmp_path, "")
    assert used
    assert shard.search([Query(np.ones(DIM, np.float32), 3, KEY)])[0]["text"].vids.tolist() == []
