import numpy as np
import pytest

from serve_app.catalog.rows import Served, State
from serve_app.errors import Problem
from serve_app.retrieval import holder as holders
from serve_app.retrieval.hits import Hits, Query
from serve_app.retrieval.holder import Holder, Slice
from tests.unit.retrieval.fake_log import DIM, FakeLog, clustered, unit


class Log:
    """The fake log with the methods of the catalog's vectors."""

    def __init__(self, *served, count=1500):
        self.log = FakeLog()
        self.mark, self.unmark, self.is_marked = self.log.mark, self.log.unmark, self.log.is_marked
        self.served = {each: Served(each, each, each, DIM) for each in served}
        for vid, vector in enumerate(clustered(count)):
            self.log.put(vid, vector)

    def changes(self, *args):
        return self.log.changes(*args)

    def head(self):
        return self.log.head

    def state(self):
        return State(self.log.head, self.served)


def ask(holder, revision, k=10, seed=3):
    query = Query(clustered(1, seed)[0], k, revision, ("image",))
    return holder.search([query])[0]["image"]


def look_after(holder, rounds=5):
    for _ in range(rounds):
        if (work := holder.chore(idle=True)) is not None:
            work()


def test_what_is_served_is_loaded_and_what_is_asked_for_beside_it():
    holder = Holder(Log("clip@1", "words@1"), Slice())
    holder.open_served("clip@0", DIM)
    assert set(holder.shards) == {"clip@1", "words@1"}
    with pytest.raises(KeyError):
        ask(holder, "clip@2")
    holder.open("clip@2", DIM)
    assert len(ask(holder, "clip@2").vids) == 10
    holder.release("clip@1")
    assert set(holder.shards) == {"words@1", "clip@2"}


def test_a_batch_for_several_revisions_is_answered_in_its_order():
    log = Log()
    holder = Holder(log, Slice())
    for revision in ("a", "b"):
        holder.open(revision, DIM)
    queries = [Query(vector, k, "ab"[k % 2], ("image",)) for k, vector in enumerate(clustered(6, 9), 1)]
    for query, answer in zip(queries, holder.search(queries), strict=True):
        assert answer["image"].vids.tolist() == log.log.expected(query.vector, query.k)[0]


def test_where_nothing_is_served_yet_the_configured_model_is_loaded():
    holder = Holder(Log(), Slice())
    holder.open_served("clip@0", DIM)
    assert list(holder.shards) == ["clip@0"]


def test_revisions_are_bounded():
    holder = Holder(Log(count=1), Slice())
    for number in range(holders.MOST_REVISIONS):
        holder.open(f"clip@{number}", DIM)
    with pytest.raises(Problem, match="revisions"):
        holder.open("one more", DIM)


def test_upkeep_trains_and_recall_is_told(monkeypatch):
    monkeypatch.setattr(holders, "EVERY", 2)
    monkeypatch.setattr("serve_app.retrieval.index.EXACT_BELOW", 10)
    holder = Holder(Log("clip@1"), Slice(kinds={"image": ((0, "IVF16,SQ8"),)}))
    holder.open_served("", DIM)
    look_after(holder)
    assert holder.status()["revisions"]["clip@1"]["image"]["index"] == "IVF16,SQ8"
    assert holder.status()["recall_at_10"] is None
    for seed in range(10):
        ask(holder, "clip@1", seed=seed)
    look_after(holder, 10)
    assert holder.recall()["image", "clip@1"] > 0.9
    assert holder.status()["revisions"]["clip@1"]["image"]["recall_at_10"] == holder.status()["recall_at_10"]


def test_recall_tells_when_answers_are_wrong(monkeypatch):
    monkeypatch.setattr(holders, "EVERY", 1)
    holder = Holder(Log("clip@1"), Slice())
    holder.open_served("", DIM)
    shard = holder.shards["clip@1"]
    query = Query(clustered(1, 3)[0], 10, "clip@1", ("image",))
    true = holder.search([query])[0]["image"]
    holder._samples[-1] = (query, {"image": Hits(true.vids[:4], true.scores[:4])}, shard.seq)
    look_after(holder)
    assert holder.recall() == {("image", "clip@1"): pytest.approx(0.4)}


def test_judging_takes_a_hundredth_of_the_time_once_enough_is_known(monkeypatch):
    monkeypatch.setattr(holders, "EVERY", 1)
    monkeypatch.setattr("serve_app.retrieval.index.EXACT_BELOW", 10)
    now = [100.0]
    monkeypatch.setattr(holders.time, "monotonic", lambda: now[0])
    holder = Holder(Log("clip@1"), Slice(kinds={"image": ((0, "IVF16,SQ8"),)}))
    holder.open_served("", DIM)
    look_after(holder)
    index = holder.shards["clip@1"].indexes["image"]
    real, judged = index.judge, []

    def judge(query, hits):
        judged.append(now[0])
        now[0] += 0.08
        return real(query, hits)

    monkeypatch.setattr(index, "judge", judge)
    for seed in range(80):
        ask(holder, "clip@1", seed=seed)
        look_after(holder, 1)
    assert len(judged) == 50, "without a rest until it is known whether the index is to be tuned"
    for _ in range(400):
        ask(holder, "clip@1")
        look_after(holder, 1)
        now[0] += 0.05
    rests = np.diff(judged[49:])
    assert len(rests) >= 2
    assert all(8 <= rest <= 8.2 for rest in rests)


def test_what_is_asked_otherwise_than_what_is_stored_is_tuned_for(monkeypatch):
    """Texts lie apart from pictures: the lists that stored pictures need are not those that texts need."""
    monkeypatch.setattr(holders, "EVERY", 1)
    monkeypatch.setattr("serve_app.retrieval.index.EXACT_BELOW", 10)
    holder = Holder(Log("clip@1", count=6000), Slice(kinds={"image": ((0, "IVF64,Flat"),)}))
    holder.open_served("", DIM)
    look_after(holder)
    texts = unit(220, 9)
    before = recall(holder, texts[:30])
    for some in (texts[:30], texts[30:60]):
        recall(holder, some)
        look_after(holder, 40)
    after = recall(holder, texts[160:])
    assert before < 0.97
    assert after > 0.985
    assert recall(holder, clustered(50, 4)) > 0.985
    depth = holder.shards["clip@1"].indexes["image"].ann.efforts[0].depth
    for first in range(0, 150, 30):
        recall(holder, texts[first : first + 30])
        look_after(holder, 40)
    assert holder.shards["clip@1"].indexes["image"].ann.efforts[0].depth == depth, "what is true is left alone"


def recall(holder, texts):
    """Of the ten nearest of the 6000, by plain products."""
    truth = np.argsort(-texts @ clustered(6000).T, axis=1)[:, :10]
    found = [holder.search([Query(text, 10, "clip@1", ("image",))])[0]["image"].vids for text in texts]
    return np.mean([len(np.intersect1d(*each)) / 10 for each in zip(found, truth, strict=True)])


def test_a_snapshot_is_written_in_time_and_at_the_end_and_read_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(holders, "_SNAPSHOT_S", -1.0)
    log = Log("clip@1")
    place = Slice(home=str(tmp_path), kinds={"image": ((0, "IVF16,SQ8"),)})
    first = Holder(log, place)
    first.open_served("", DIM)
    look_after(first)
    reads = log.log.reads
    second = Holder(log, place)
    second.open_served("", DIM)
    assert log.log.reads == reads + 1
    assert second.status()["revisions"]["clip@1"]["image"]["index"] == "IVF16,SQ8"
    log.log.delete(3)
    second.shards["clip@1"].catch_up()
    second.close()
    third = Holder(log, place)
    third.open_served("", DIM)
    assert log.log.reads == reads + 3
    assert len(third.shards["clip@1"]) == 1499
    third.release("clip@1")
    assert not list((tmp_path / "snapshots").iterdir())
