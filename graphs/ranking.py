"""From hits to what is shown of one modality: each asset once, by vectors and by words, never what was given before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from serve_app.catalog import FoundPart
from serve_app.retrieval.diversity import rerank, rescaled
from serve_app.retrieval.fusion import fuse
from serve_app.retrieval.hits import Floats, Hits
from serve_app.retrieval.paging import Given
from serve_app.wire import schemas

DIVERSE = 1000
"""Candidates that are re-ranked for diversity: the work grows with k times these."""
POOL = 5
"""How many candidates for each result there are to choose diverse ones from."""


@dataclass(frozen=True)
class Candidate:
    """An asset that may be shown, at its part that is nearest to the query, with the cosine of that."""

    part: FoundPart
    vid: int
    score: float
    by_words: bool = False

    @property
    def id(self) -> str:
        return self.part.asset_id


def pool_size(k: int, diversity: float) -> int:
    """How many candidates a page of ``k`` is chosen from."""
    return max(k, min(POOL * k, DIVERSE)) if diversity else k


def above(hits: Hits, threshold: float | None) -> Hits:
    """Without what scores below the threshold."""
    if threshold is None:
        return hits
    kept = hits.scores >= threshold
    return Hits(hits.vids[kept], hits.scores[kept])


def nearest(hits: Hits, names: Mapping[int, FoundPart], modality: str, given: Given) -> list[Candidate]:
    """Each asset once, at its best hit, best first; what has no name was deleted meanwhile and is left out."""
    best: dict[str, Candidate] = {}
    for vid, score in zip(hits.vids.tolist(), hits.scores.tolist(), strict=True):
        part = names.get(vid)
        if part is not None and part.asset_id not in best:
            best[part.asset_id] = Candidate(part, vid, score)
    return _not_given(best.values(), modality, given)


def worded(
    found: Iterable[Sequence[int]], names: Mapping[int, FoundPart], scores: Mapping[int, float], modality: str,
    given: Given,
) -> list[Candidate]:  # fmt: skip
    """What words found, in their order: of each asset's vectors the one with the best cosine.

    An asset that shares its vector is shown under the name that the vector has, as in any search.
    """
    best: dict[str, Candidate] = {}
    for vids in found:
        known = [vid for vid in vids if vid in names and vid in scores]
        if known:
            vid = max(known, key=lambda one: scores[one])
            best.setdefault(names[vid].asset_id, Candidate(names[vid], vid, scores[vid], by_words=True))
    return _not_given(best.values(), modality, given)


def blend(near: Sequence[Candidate], by_words: Sequence[Candidate]) -> list[tuple[Candidate, float]]:
    """One order out of both, with what each candidate is worth in it: ranks where words found any, else cosines."""
    if not by_words:
        return [(each, each.score) for each in near]
    here = {each.id: each for each in by_words} | {each.id: each for each in near}
    read = {each.id for each in by_words}
    fused = fuse([[each.id for each in near], [each.id for each in by_words]])
    return [(replace(here[id], by_words=id in read), worth) for id, worth in fused]


def diversified(
    ranked: Sequence[tuple[Candidate, float]], vectors: Floats, k: int, diversity: float
) -> list[Candidate]:  # fmt: skip
    """``k`` of the first of ``ranked``, of which ``vectors`` are, that repeat little; all others after them."""
    worth = rescaled([worth for _, worth in ranked[: len(vectors)]])
    chosen = rerank(vectors, worth, k, diversity).tolist()
    others = np.setdiff1d(np.arange(len(ranked)), chosen).tolist()
    return [ranked[row][0] for row in chosen + others]


def shown(modality: str, page: Sequence[Candidate]) -> schemas.Ranking:
    """A page as its modality is shown."""
    words = [each.by_words for each in page]
    basis: dict[str, Any] = {
        "contents": [each.id for each in page], "scores": [each.score for each in page],
        "words": words if any(words) else None,
    }  # fmt: skip
    if modality == "video":
        moments = [schemas.Moment(start_s=each.part.start_s or 0.0, end_s=each.part.end_s or 0.0) for each in page]
        return schemas.VideoRanking(**basis, moments=moments)
    if modality == "shape3d":
        return schemas.ShapeRanking(**basis, views=[each.part.part for each in page])
    return schemas.Ranking(**basis)


def cosines(vids: Sequence[int], vectors: Floats, query: Floats) -> dict[int, float]:
    """The cosine of each vector with the query; one that is gone (a row of NaN) is left out."""
    if not vectors.size:
        return {}
    scores = vectors @ np.asarray(query, np.float32)
    return {vid: score for vid, score in zip(vids, scores.tolist(), strict=True) if math.isfinite(score)}


def _not_given(candidates: Iterable[Candidate], modality: str, given: Given) -> list[Candidate]:
    if not given.count(modality):
        return list(candidates)
    return [each for each in candidates if not given.has(modality, each.id)]
