import numpy as np
import pytest

from serve_app.retrieval.hits import Hits, Query, merge
from serve_app.retrieval.index import VectorIndex
from serve_app.retrieval.shard import Shard

DIM = 16


def unit(count, seed=0, dim=DIM):
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute_force(vectors, vids, query, k):
    scores = vectors @ query
    order = np.argsort(-scores)[:k]
    return [vids[i] for i in order], scores[order]


def filled(count=500, owners=("anna", "ben", "cleo")):
    index = VectorIndex(DIM)
    vectors = unit(count)
    index.add(range(count), [owners[i % len(owners)] for i in range(count)], vectors)
    return index, vectors


def test_it_answers_as_brute_force_does():
    index, vectors = filled()
    query = unit(1, seed=9)[0]
    vids, scores = brute_force(vectors, range(500), query, 20)
    hits = index.search(query[None], 20)[0]
    assert hits.vids.tolist() == vids
    np.testing.assert_allclose(hits.scores, scores, atol=1e-6)


@pytest.mark.parametrize("k", [1, 332, 333, 334, 10**9])
def test_an_owner_is_left_out_and_exactly_min_k_matches_come_back(k):
    index, vectors = filled()
    query = unit(1, seed=3)[0]
    others = [i for i in range(500) if i % 3 != 0]
    expected, _ = brute_force(vectors[others], others, query, k)
    assert index.search(query[None], k, without_owner="anna")[0].vids.tolist() == expected
    assert len(index.search(query[None], k, without_owner="nobody")[0].vids) == min(k, 500)


def test_among_allows_only_those_and_knows_no_strangers():
    index, vectors = filled()
    query = unit(1, seed=4)[0]
    chosen = np.asarray([5, 77, 300, 10**6])
    expected, _ = brute_force(vectors[[5, 77, 300]], [5, 77, 300], query, 10)
    assert index.search(query[None], 10, among=chosen)[0].vids.tolist() == expected
    assert index.search(query[None], 10, among=np.empty(0, np.int64))[0].vids.tolist() == []


def test_removed_rows_never_come_back_even_across_a_rebuild():
    index, vectors = filled(6000)
    gone = list(range(0, 6000, 2))
    index.remove(gone)
    index.remove([10**7])
    assert len(index) == 3000
    query = unit(1, seed=5)[0]
    kept = list(range(1, 6000, 2))
    expected, _ = brute_force(vectors[kept], kept, query, 50)
    assert index.search(query[None], 50)[0].vids.tolist() == expected
    index.add([0], ["anna"], query[None])
    assert index.search(query[None], 1)[0].vids.tolist() == [0]


def test_a_replaced_vector_stands_once():
    index, _ = filled(10)
    query = unit(1, seed=6)[0]
    index.add([3], ["ben"], query[None])
    hits = index.search(query[None], 100)[0]
    assert len(hits.vids) == 10
    assert hits.vids[0] == 3
    assert hits.scores[0] == pytest.approx(1, abs=1e-5)


def test_an_empty_index_answers_with_nothing():
    assert VectorIndex(DIM).search(unit(2), 5)[1].vids.tolist() == []


def test_an_inverted_file_is_trained_when_due_and_finds_most():
    dim, count = 32, 12_000
    vectors = unit(count, seed=1, dim=dim)
    index = VectorIndex(dim, "IVF64,Flat", nprobe=32)
    for start in range(0, count, 4000):
        index.add(range(start, start + 4000), ["anna"] * 4000, vectors[start : start + 4000])
    queries = unit(50, seed=2, dim=dim)
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    found = [set(hits.vids) for hits in index.search(queries, 10)]
    recall = np.mean([len(found[i] & set(exact[i])) / 10 for i in range(50)])
    assert recall > 0.8
    assert all(len(hits.vids) == 10 for hits in index.search(queries, 10, without_owner="ben"))


@pytest.mark.parametrize("factory", ["PQ16", "HNSW32", "", "flat"])
def test_a_lossy_or_unknown_factory_is_refused(factory):
    with pytest.raises(ValueError, match="neither Flat nor IVF"):
        VectorIndex(DIM, factory)


class Row:
    def __init__(self, seq, vid, modality, vector, owner="anna"):
        self.seq, self.vid, self.modality, self.vector, self.owner = seq, vid, modality, vector, owner


class Log:
    """The catalog's log as a list; each row once, at its last seq."""

    def __init__(self):
        self.rows = []
        self.reads = 0

    def changes(self, revision, shard, shards, after, limit):
        self.reads += 1
        return [row for row in self.rows if row.seq > after and row.vid % shards == shard][:limit]


def test_a_shard_behind_catches_up_before_it_answers():
    log = Log()
    vectors = unit(4)
    shard = Shard(log, "clip@1", DIM)
    log.rows = [Row(i + 1, i, "image", vectors[i]) for i in range(4)]
    assert shard.search([Query(vectors[2], 1, min_seq=4)])[0]["image"].vids.tolist() == [2]
    reads = log.reads
    assert shard.search([Query(vectors[1], 1, min_seq=4)])[0]["image"].vids.tolist() == [1]
    assert log.reads == reads
    log.rows = [row for row in log.rows if row.vid != 2] + [Row(5, 2, "image", None)]
    hits = shard.search([Query(vectors[2], 9, min_seq=5)])[0]
    assert sorted(hits["image"].vids.tolist()) == [0, 1, 3]
    assert hits["text"].vids.tolist() == []


def test_a_batch_of_mixed_queries_answers_each_as_if_alone():
    log = Log()
    vectors = unit(60)
    owners = ["anna", "ben"]
    log.rows = [Row(i + 1, i, ("text", "image", "video")[i % 3], vectors[i], owners[i % 4 % 3 % 2]) for i in range(60)]
    batch = [
        Query(vectors[0], 3, min_seq=60),
        Query(vectors[1], 7, ("image",), 60),
        Query(vectors[2], 5, min_seq=60, without_owner="anna"),
        Query(vectors[3], 50, ("text",), 60, among={"text": np.asarray([3, 6, 9])}),
        Query(vectors[4], 4, ("video", "text"), 60, without_owner="ben", among={"video": np.asarray([2, 5, 8, 11])}),
    ]
    together = Shard(log, "clip@1", DIM)
    answers = together.search(batch)
    for query, answer in zip(batch, answers, strict=True):
        alone = Shard(log, "clip@1", DIM).search([query])[0]
        assert answer.keys() == alone.keys() == set(query.modalities)
        for modality in answer:
            assert answer[modality].vids.tolist() == alone[modality].vids.tolist()
    assert sorted(answers[3]["text"].vids.tolist()) == [3, 6, 9]
    mine = [vid for vid in (2, 5, 8, 11) if log.rows[vid].owner == "anna"]
    assert sorted(answers[4]["video"].vids.tolist()) == mine
    assert 0 < len(mine) < 4
    assert answers[4]["text"].vids.tolist() == []


def test_shards_together_hold_everything_once_and_merge_as_one():
    log = Log()
    vectors = unit(100)
    log.rows = [Row(i + 1, i, "image", vectors[i]) for i in range(100)]
    parts = [Shard(log, "clip@1", DIM, shard=i, shards=3) for i in range(3)]
    query = Query(unit(1, seed=8)[0], 10, ("image",), 100)
    merged = merge([part.search([query])[0]["image"] for part in parts], 10)
    expected, scores = brute_force(vectors, range(100), query.vector, 10)
    assert merged.vids.tolist() == expected
    np.testing.assert_allclose(merged.scores, scores, atol=1e-6)


def test_merge_of_nothing_is_nothing():
    assert merge([], 5).vids.tolist() == []
    assert merge([Hits(np.asarray([4, 2]), np.asarray([0.5, 0.5], np.float32))], 5).vids.tolist() == [2, 4]
