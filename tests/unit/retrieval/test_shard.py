import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.catalog.filters import Filter, Term, parse_filter
from serve_app.retrieval import ann, attributes, index, rebuild
from serve_app.retrieval.hits import Hits, Query, merge
from serve_app.retrieval.shard import Shard
from tests.unit.retrieval.fake_log import DIM, Asset, FakeLog, clustered, unit

KEY = "clip@1"


def filled(count=500, seed=0):
    """Rows 0, 1, ... of three owners; every second asset shows a dog."""
    log = FakeLog()
    for i, vector in enumerate(unit(count, seed)):
        tags = (("object", "dog", 0.9),) if i % 2 else (("object", "cat", 0.4),)
        log.put(i, vector, ("anna", "ben", "cleo")[i % 3], assets=[Asset(i, tags=tags)])
    return log


def ask(shard, vector, k=10, **more):
    return shard.search([Query(vector, k, KEY, ("image",), **more)])[0]["image"]


def settle(shard):
    while (work := shard.plan()) is not None:
        work[1].run()
        work[0].adopt(work[1])


@pytest.mark.parametrize("k", [1, 20, 499, 500, 501, 10**9])
def test_it_answers_as_plain_python_does(k):
    log = filled()
    query = unit(1, seed=9)[0]
    vids, scores = log.expected(query, k)
    hits = ask(Shard(log, KEY, DIM), query, k, min_seq=log.head)
    assert hits.vids.tolist() == vids
    assert hits.scores.tolist() == scores


def test_equal_vectors_come_in_the_order_of_their_ids_whatever_the_block():
    log = FakeLog()
    vector = unit(1, seed=5)[0]
    for vid in (7, 3, 9, 1, 5):
        log.put(vid, vector)
    shard = Shard(log, KEY, DIM)
    assert ask(shard, vector, 3, min_seq=log.head).vids.tolist() == [1, 3, 5]


@pytest.mark.parametrize("k", [1, 332, 333, 334, 10**9])
def test_an_owner_is_left_out(k):
    log = filled()
    query = unit(1, seed=3)[0]
    shard = Shard(log, KEY, DIM)
    expected, _ = log.expected(query, k, without_owner="anna")
    assert ask(shard, query, k, min_seq=log.head, without_owner="anna").vids.tolist() == expected
    assert len(ask(shard, query, k, without_owner="nobody").vids) == min(k, 500)


def test_a_shard_behind_catches_up_before_it_answers():
    log = FakeLog()
    vectors = unit(4)
    shard = Shard(log, KEY, DIM)
    for vid in range(4):
        log.put(vid, vectors[vid])
    assert ask(shard, vectors[2], 1, min_seq=4).vids.tolist() == [2]
    reads = log.reads
    assert ask(shard, vectors[1], 1, min_seq=4).vids.tolist() == [1]
    assert log.reads == reads
    log.delete(2)
    assert sorted(ask(shard, vectors[2], 9, min_seq=5).vids.tolist()) == [0, 1, 3]


def test_a_touched_row_keeps_its_place_and_gets_new_labels():
    log = filled(10)
    shard = Shard(log, KEY, DIM)
    shard.catch_up()
    log.touch(4, [Asset(4, tags=(("object", "dog", 0.8),)), Asset(40, "video", tags=(("meme", "meme", 0.7),))])
    dogs = Query(unit(1)[0], 10, KEY, ("image",), log.head, filter=parse_filter("object:dog"))
    assert sorted(shard.search([dogs])[0]["image"].vids.tolist()) == [1, 3, 4, 5, 7, 9]
    both = Query(unit(1)[0], 10, KEY, ("image",), log.head, filter=parse_filter("object:dog meme"))
    assert shard.search([both])[0]["image"].vids.tolist() == []  # not the same asset
    assert len(shard.indexes["image"].alive) == 10


def test_a_vector_that_came_back_as_another_stands_once():
    log = filled(10)
    shard = Shard(log, KEY, DIM)
    shard.catch_up()
    query = unit(1, seed=6)[0]
    log.put(3, query, "ben")
    hits = ask(shard, query, 100, min_seq=log.head)
    assert len(hits.vids) == 10
    assert hits.vids[0] == 3
    assert hits.scores[0] == pytest.approx(1, abs=1e-6)


def test_a_batch_of_mixed_queries_answers_each_as_if_alone():
    log = FakeLog()
    vectors = unit(60)
    for i in range(60):
        assets = [Asset(i, tags=(("object", "dog", i / 60),))]
        log.put(i, vectors[i], ("anna", "ben")[i // 3 % 2], ("text", "image", "video")[i % 3], assets)
    batch = [
        Query(vectors[0], 3, KEY, min_seq=60),
        Query(vectors[1], 7, KEY, ("image",), 60),
        Query(vectors[1], 700, KEY, ("image",), 60),
        Query(vectors[2], 5, KEY, min_seq=60, without_owner="anna"),
        Query(vectors[3], 50, KEY, ("text",), 60, filter=parse_filter("object:dog>0.5")),
        Query(vectors[4], 4, KEY, ("video", "text"), 60, "ben", parse_filter("-caption:x"), (np.asarray([2, 5, 8]),)),
        Query(vectors[4], 4, KEY, ("video", "text"), 60, "ben", parse_filter("-caption:x"), (np.asarray([11]),)),
    ]
    answers = Shard(log, KEY, DIM).search(batch)
    for query, answer in zip(batch, answers, strict=True):
        alone = Shard(log, KEY, DIM).search([query])[0]
        assert answer.keys() == alone.keys() == set(query.modalities)
        for modality in answer:
            assert answer[modality].vids.tolist() == alone[modality].vids.tolist()
    assert sorted(answers[4]["text"].vids.tolist()) == list(range(33, 60, 3))
    assert answers[5]["video"].vids.tolist() != answers[6]["video"].vids.tolist()


def test_shards_together_hold_everything_once_and_merge_as_one():
    log = filled(100)
    parts = [Shard(log, KEY, DIM, shard=i, shards=3) for i in range(3)]
    query = unit(1, seed=8)[0]
    merged = merge([ask(part, query, 10, min_seq=100) for part in parts], 10)
    vids, scores = log.expected(query, 10)
    assert merged.vids.tolist() == vids
    assert merged.scores.tolist() == scores


def test_merge_of_nothing_is_nothing():
    assert merge([], 5).vids.tolist() == []
    assert merge([Hits(np.asarray([4, 2]), np.asarray([0.5, 0.5], np.float32))], 5).vids.tolist() == [2, 4]


def test_a_sentence_without_its_assets_is_refused():
    shard = Shard(filled(3), KEY, DIM)
    with pytest.raises(ValueError, match="without the assets"):
        ask(shard, unit(1)[0], min_seq=3, filter=parse_filter("caption:x"))
    with pytest.raises(ValueError, match="more sentences"):
        ask(shard, unit(1)[0], filter=parse_filter("object:x"), sentences=(np.asarray([1]),))


WORDS = st.sampled_from(["dog", "cat"])
ASSETS = st.builds(
    Asset, st.integers(0, 30), st.sampled_from(["image", "video", "text"]), st.sampled_from([1.0, 2.0, 3.0]),
    st.lists(st.tuples(st.sampled_from(["object", "meme"]), WORDS, st.sampled_from([0.2, 0.3, 0.5, 0.9])), max_size=3)
    .map(tuple),
)  # fmt: skip
TERMS = st.one_of(
    st.builds(
        Term, st.sampled_from(["object", "meme"]), st.none() | WORDS, st.none() | st.sampled_from([0.0, 0.3, 0.5]),
        st.booleans(),
    ),
    st.builds(Term, st.just("kind"), st.sampled_from(["image", "video"]), st.none(), st.booleans()),
    st.builds(Term, st.just("owner"), st.sampled_from(["anna", "ben", "nobody"]), st.none(), st.booleans()),
    st.builds(Term, st.just("created"), negated=st.booleans(), after=st.sampled_from([0.5, 2.0])),
    st.builds(Term, st.just("created"), negated=st.booleans(), before=st.sampled_from([2.0, 2.5])),
    st.builds(Term, st.just("caption"), st.just("x"), st.none(), st.booleans()),
)  # fmt: skip
FILTERS = st.lists(TERMS, max_size=3).map(lambda terms: Filter(tuple(terms)))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 12), st.integers(0, 5), st.sampled_from(["anna", "ben"]),
                  st.lists(ASSETS, min_size=1, max_size=2)),
        st.tuples(st.just("touch"), st.integers(0, 12), st.lists(ASSETS, min_size=1, max_size=2)),
        st.tuples(st.just("delete"), st.integers(0, 12)),
        st.tuples(st.sampled_from(["read", "plan", "run", "adopt", "feed"])),
    ),
    min_size=1, max_size=40,
)  # fmt: skip
CAPTIONED = {3, 5, 8, 13}


def fits(filter):
    """The filter as plain Python."""

    def one(term, row, asset):
        if term.name == "kind":
            found = asset.kind == term.value
        elif term.name == "owner":
            found = row.owner == term.value
        elif term.name == "created":
            found = asset.created > term.after if term.before is None else asset.created < term.before
        elif term.name == "caption":
            found = asset.number in CAPTIONED
        else:
            found = any(
                name == term.name and term.value in (None, value) and (term.above is None or confidence > term.above)
                for name, value, confidence in asset.tags
            )
        return found != term.negated

    return lambda row, asset: all(one(term, row, asset) for term in filter.terms)


def play(log, shard, step, work):
    """One step of whoever writes to the log, or of the shard and its background."""
    name, *values = step
    if name in ("put", "touch", "delete"):
        write(log, name, *values)
    elif name == "read":
        shard.catch_up()
    elif name == "feed":
        shard.feed()
    elif name == "plan":
        work += [made] if (made := shard.plan()) else []
    elif name == "run":
        for _, made in work:
            made.done or made.run()
    else:
        while work and work[0][1].done:
            owner, made = work.pop(0)
            owner.adopt(made)


def write(log, name, vid, *values):
    there = vid in log.rows and log.rows[vid].vector is not None
    if name == "put" and not there:
        vector, owner, assets = values
        log.put(vid, unit(6, seed=4)[vector], owner, assets=assets)
    elif name != "put" and there:
        getattr(log, name)(vid, *values)


@pytest.fixture
def eager(monkeypatch):
    """Every size is large enough for FAISS, and one dead row enough for compacting."""
    monkeypatch.setattr(index, "EXACT_BELOW", 0)
    monkeypatch.setattr(attributes, "_UNSORTED", 3)
    monkeypatch.setattr(index, "_FEW_DEAD", 0)
    monkeypatch.setattr(index, "_TAIL", 2)
    monkeypatch.setattr(index, "_LONG_TAIL", 3)
    monkeypatch.setattr(index, "_FED", 1)
    monkeypatch.setattr(index, "least_rows", lambda factory, dim: 1)
    monkeypatch.setattr(rebuild, "_NEAR", 1)
    # Tiny indexes are not tuned; what matters here is that each lossless look is as good as a scan.
    monkeypatch.setattr(ann.Ann, "tune", lambda self, *_: setattr(self, "efforts", (ann.Effort(0.0, 64, 1),)))


@pytest.mark.parametrize("factory", ["Flat", "IVF1,Flat", "SQ8", "HNSW8"])
def test_any_interleaving_equals_a_plain_model(eager, factory):
    @settings(max_examples=60, deadline=None)
    @given(STEPS, FILTERS, st.sampled_from([None, "anna", "nobody"]), st.sampled_from([1, 3, 100]))
    def check(steps, filter, without_owner, k):
        log = FakeLog()
        shard = Shard(log, KEY, DIM, kinds={"image": ((0, factory),)})
        work = []
        for step in steps:
            play(log, shard, step, work)
        query = unit(1, seed=11)[0]
        sentences = tuple(np.asarray(sorted(CAPTIONED)) for term in filter.terms if term.name == "caption")
        asked = {"min_seq": log.head, "without_owner": without_owner, "filter": filter, "sentences": sentences}
        vids, scores = log.expected(query, k, test=fits(filter), without_owner=without_owner)
        for exact in (True, False):
            hits = ask(shard, query, k, exact=exact, **asked)
            assert hits.vids.tolist() == vids
            assert hits.scores.tolist() == scores
        everything = ask(shard, query, 1000, min_seq=log.head)
        assert set(vids) <= set(everything.vids.tolist())

    check()


@pytest.mark.parametrize(
    "factory", ["IVF32,Flat", "IVF32,SQ8", "HNSW16", "PQ8", "PQ8x4fs", "IVF32,PQ8x4fs", "PCA12,IVF16,SQ8", "SQ8"]
)  # fmt: skip
def test_every_kind_finds_nearly_all_and_never_what_is_masked(factory, monkeypatch):
    monkeypatch.setattr(index, "EXACT_BELOW", 100)
    log = FakeLog()
    for vid, vector in enumerate(clustered(3000)):
        tags = (("object", "dog", 0.5),) if vid % 5 < 2 else ()
        log.put(vid, vector, ("anna", "ben")[vid % 2], assets=[Asset(vid, tags=tags)])
    shard = Shard(log, KEY, DIM, kinds={"image": ((0, factory),)})
    shard.catch_up()
    settle(shard)
    assert shard.indexes["image"].factory == factory
    for vid in range(0, 600, 2):
        log.delete(vid)
    queries = clustered(40, seed=77)
    for filter, test in (("", lambda r, a: True), ("object:dog", lambda r, a: bool(a.tags))):
        batch = [Query(q, 10, KEY, ("image",), log.head, filter=parse_filter(filter)) for q in queries]
        found = [hits["image"].vids.tolist() for hits in shard.search(batch)]
        truth = [log.expected(query, 10, test=test)[0] for query in queries]
        assert all(len(set(hits)) == 10 for hits in found)
        allowed = {row.vid for row in log.rows.values() if log.fits(row, test)}
        assert all(allowed.issuperset(hits) for hits in found)
        assert sum(len({*a} & {*b}) for a, b in zip(found, truth, strict=True)) >= 0.97 * 400


@pytest.mark.parametrize("factory", ["OPQ8,PQ8", "OPQ4_8,IVF16,PQ4x4fs"])
def test_a_turned_and_quantised_index_gives_true_cosines_in_true_order(factory, monkeypatch):
    monkeypatch.setattr(index, "EXACT_BELOW", 100)
    log = FakeLog()
    for vid, vector in enumerate(clustered(3000)):
        tags = (("object", "dog", 0.5),) if vid % 5 < 2 else ()
        log.put(vid, vector, assets=[Asset(vid, tags=tags)])
    shard = Shard(log, KEY, DIM, kinds={"image": ((0, factory),)})
    shard.catch_up()
    settle(shard)
    here = shard.indexes["image"]
    assert here.factory == factory
    queries = clustered(40, seed=77)
    alone = here.ann.index.search(queries, 10)[1]
    for filter, test in ((None, lambda r, a: True), (parse_filter("object:dog"), lambda r, a: bool(a.tags))):
        every = [log.expected(query, len(log.rows), test=test) for query in queries]
        cosines = [dict(zip(vids, scores, strict=True)) for vids, scores in every]
        found = [ask(shard, query, 10, min_seq=log.head, filter=filter) for query in queries]
        for hits, known in zip(found, cosines, strict=True):
            assert hits.scores.tolist() == [known[vid] for vid in hits.vids.tolist()], (
                "those of float64, to the last bit"
            )
            assert hits.vids.tolist() == sorted(hits.vids.tolist(), key=lambda vid: (-known[vid], vid))
        right = [len({*hits.vids.tolist()} & {*vids[:10]}) for hits, (vids, _) in zip(found, every, strict=True)]
        assert sum(right) >= 0.98 * 400
        if filter is None:
            rows = [len({*here.vids[row].tolist()} & {*vids[:10]}) for row, (vids, _) in zip(alone, every, strict=True)]
            assert sum(rows) < 0.9 * 400, "which FAISS by itself does not come near"


def test_where_faiss_finds_too_few_the_scan_answers(monkeypatch):
    monkeypatch.setattr(index, "EXACT_BELOW", 1)
    log = FakeLog()
    away, near = -unit(1)[0], unit(1)[0]
    vectors = np.concatenate([clustered(2000, 1) * 0.1 + near, clustered(2000, 2) * 0.1 + away])
    for vid, vector in enumerate(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)):
        log.put(vid, vector, assets=[Asset(vid, tags=(("object", "far", 1.0),) if vid >= 2000 else ())])
    shard = Shard(log, KEY, DIM, kinds={"image": ((0, "IVF64,Flat"),)})
    shard.catch_up()
    settle(shard)
    hits = ask(shard, near, 30, min_seq=log.head, filter=parse_filter("object:far"))
    assert hits.vids.tolist() == log.expected(near, 30, test=lambda row, asset: bool(asset.tags))[0]


def test_an_index_that_fails_to_train_leaves_exact_answers_and_is_not_tried_at_once(monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise MemoryError("no room")

    monkeypatch.setattr(rebuild.Ann, "train", fail)
    log = filled(1200)
    shard = Shard(log, KEY, DIM, kinds={"image": ((0, "IVF4,Flat"),)})
    shard.catch_up()
    settle(shard)
    assert "exact scans go on" in caplog.text
    assert shard.plan() is None
    query = unit(1, seed=2)[0]
    assert ask(shard, query, min_seq=log.head).vids.tolist() == log.expected(query, 10)[0]
    for vid, vector in enumerate(unit(700, seed=3)):
        log.put(5000 + vid, vector)
    shard.catch_up()
    assert shard.plan() is not None


def test_an_index_that_outgrows_its_kind_gets_the_next():
    log = filled(1500)
    shard = Shard(log, KEY, DIM, kinds={"image": ((0, "Flat"), (1000, "IVF4,SQ8"), (3000, "IVF8,Flat"))})
    shard.catch_up()
    settle(shard)
    assert shard.indexes["image"].factory == "IVF4,SQ8"
    for vid, vector in enumerate(unit(2000, seed=3)):
        log.put(5000 + vid, vector)
    shard.catch_up()
    settle(shard)
    assert shard.indexes["image"].factory == "IVF8,Flat"
    assert shard.plan() is None
