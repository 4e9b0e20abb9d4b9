"""The catalog's vector log as plain Python, and what it should answer, told the slow way."""

from dataclasses import dataclass, field

import numpy as np

from serve_app.catalog.rows import ChangePage

DIM = 16


def unit(count, seed=0, dim=DIM):
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def clustered(count, seed=0, dim=DIM, centres=50, spread=0.6):
    """Unit vectors around common centres, as pictures lie."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=(count, dim)) * spread / dim**0.5
    rows = unit(centres, 1, dim)[random.integers(0, centres, count)] + noise
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Asset:
    number: int
    kind: str = "image"
    created: float = 0.0
    tags: tuple = ()  # (name, value, confidence)


@dataclass
class Row:
    vid: int
    owner: str
    modality: str
    vector: np.ndarray | None
    assets: tuple = ()
    seq: int = 0


@dataclass
class FakeLog:
    """Rows by id, each once, at its last ``seq``."""

    rows: dict = field(default_factory=dict)
    head: int = 0
    reads: int = 0
    marks: set = field(default_factory=set)

    def put(self, vid, vector, owner="anna", modality="image", assets=None):
        self.head += 1
        assets = (Asset(vid),) if assets is None else assets
        self.rows[vid] = Row(vid, owner, modality, np.asarray(vector, np.float32), tuple(assets), self.head)

    def touch(self, vid, assets):
        row = self.rows[vid]
        self.put(vid, row.vector, row.owner, row.modality, assets)

    def delete(self, vid):
        self.head += 1
        row = self.rows[vid]
        self.rows[vid] = Row(vid, row.owner, row.modality, None, (), self.head)

    def mark(self, name):
        self.marks.add(name)

    def unmark(self, name):
        self.marks.discard(name)

    def is_marked(self, name):
        return name in self.marks

    def changes(self, revision, shard, shards, after, limit):
        self.reads += 1
        due = sorted((r for r in self.rows.values() if r.seq > after and r.vid % shards == shard), key=lambda r: r.seq)
        return page(due[:limit], after, len(due) <= limit)

    def fits(self, row, test, without_owner=None):
        return row.vector is not None and row.owner != without_owner and any(test(row, a) for a in row.assets)

    def expected(self, query, k, modality="image", test=lambda row, asset: True, without_owner=None):
        """The ids of the best k by float64 cosines, ties by lower id, and their scores."""
        rows = [r for r in self.rows.values() if r.modality == modality and self.fits(r, test, without_owner)]
        wide = np.asarray(query, np.float64)
        scored = sorted((-float(np.float32(np.sum(r.vector.astype(np.float64) * wide))), r.vid) for r in rows)[:k]
        return [vid for _, vid in scored], [-score for score, _ in scored]


def page(rows, after=0, complete=True):
    entries = [(place, asset) for place, row in enumerate(rows) for asset in row.assets]
    tags = [(place, *tag) for place, (_, asset) in enumerate(entries) for tag in asset.tags]
    return ChangePage(
        last_seq=rows[-1].seq if rows else after, complete=complete,
        vids=np.asarray([r.vid for r in rows], np.int64), owners=[r.owner for r in rows],
        modalities=[r.modality for r in rows],
        vectors=[None if r.vector is None else r.vector.astype("<f4").tobytes() for r in rows],
        seqs=np.asarray([r.seq for r in rows], np.int64),
        entry_rows=np.asarray([place for place, _ in entries], np.int32),
        assets=np.asarray([a.number for _, a in entries], np.int64), kinds=[a.kind for _, a in entries],
        created=np.asarray([a.created for _, a in entries], np.float64),
        tag_entries=np.asarray([t[0] for t in tags], np.int32), tag_names=[t[1] for t in tags],
        tag_values=[t[2] for t in tags], confidences=np.asarray([t[3] for t in tags], np.float32),
    )  # fmt: skip
