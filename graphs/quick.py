"""The jobs of texts and pictures: many at once, so that the models batch, and what they find is written together."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from deployments.batcher import Batcher, BatchSizes
from graphs.annotators import ANNOTATORS
from graphs.calls import insistently, patiently
from graphs.embedding import Embedding, decode_text, key_of
from graphs.image import ImageGraph
from graphs.keeping import answers_of, keep_faces, reason, skipped
from graphs.people import PeopleGraph
from graphs.recipe import Recipe
from serve_app.catalog import Answer, Asset, Catalog, Content, Job, Key, Served
from serve_app.catalog.job_rows import Ended
from serve_app.catalog.rows import StageName, StageState
from serve_app.errors import Problem
from serve_app.retrieval.hits import PARTED, Floats
from serve_app.wire import schemas

KINDS = ("process", "index")
"""Of the jobs that are done here; they take seconds at most."""
PICTURES = 16
"""That are held and looked at at once."""
TOGETHER = BatchSizes(max_batch_size=64, max_queue=4096)
"""Jobs whose assets are read, and whose findings are written, together."""


@dataclass(frozen=True)
class Stored:
    """An asset that a job is about, what its contents lack and, of a text, what its file says or why it does not."""

    asset: Asset
    lacking: Sequence[tuple[Served, Content]]
    text: bytes | Problem | None


@dataclass
class Findings:
    """What a job has found so far and, once it has ``ended``, the stages that are done and why others are not."""

    job: Job
    answers: list[Answer] = field(default_factory=list)
    vectors: list[tuple[Key, Floats, str]] = field(default_factory=list)
    """Each with its revision."""
    body: str | None = None
    """A text, for search by words."""
    ended: bool = False
    stages: dict[StageName, StageState] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class QuickWork(Recipe):
    """Annotates and embeds texts and pictures."""

    image: ImageGraph
    embedding: Embedding
    people: PeopleGraph

    async def find(self, job: Job) -> Findings:
        """All that a job is to find, or why it could not."""
        assert job.asset_id is not None
        found = Findings(job)
        try:
            stored = await self._reader.submit(job.asset_id)
            seen = await self._annotate(found, stored.asset) if job.kind == "process" else None
            await patiently(lambda: self._index(found, stored, seen))
        except Problem as problem:
            # Without its asset there is nothing to do; without its file there is, and it cannot be done.
            gone = problem.code == "not_found" and not await self._is_there(job.asset_id)
            found.error = None if gone else reason(problem)
        found.ended = True
        return found

    async def write(self, found: Findings) -> None:
        """Keep what a job has found, and end it; LeaseLostError where it is another's by now."""
        await self._pen.submit(found)

    async def _annotate(self, found: Findings, asset: Asset) -> schemas.Annotation | None:
        found.stages |= skipped(asset)
        if asset.kind != "image":
            return None
        async with self._desk:
            data = await asyncio.to_thread(self.embedding.places.files.read, asset.file)
            seen: schemas.Annotation = await patiently(lambda: insistently(lambda results: self._look(data, results)))
        found.answers = answers_of(asset, seen)
        found.stages["annotate"] = "ready"
        if seen.seen_faces or found.job.attempts > 1:
            # The answer comes first: what is called otherwise from then on is followed in both.
            await self.write(Findings(found.job, found.answers))
            found.answers = []
            await keep_faces(self.people, asset, seen.seen_faces)
        return seen

    async def _look(self, data: bytes, results: set[str] | None) -> schemas.Annotation:
        names = [name for name, each in ANNOTATORS.items() if results is None or each.result in results]
        return await self.image.annotate(data, names)

    async def _index(self, found: Findings, stored: Stored, seen: schemas.Annotation | None) -> None:
        # Of one that was ready, too: where this fails, the asset is to say so.
        found.stages["index"] = "running"
        if isinstance(stored.text, bytes):
            found.body = decode_text(stored.text)
        elif stored.text is not None:
            raise stored.text
        embedding = seen.results["cross_modal_embedding"].embedding if seen else None
        known = None if embedding is None else np.asarray(embedding, np.float32)
        lacking = [each for each in stored.lacking if each[1].modality not in PARTED]
        vectors = await asyncio.gather(*(self._vector(stored, known, *each) for each in lacking))
        found.vectors = [
            (key_of(content), vector, target.revision)
            for (target, content), vector in zip(lacking, vectors, strict=True)
        ]
        found.stages["index"] = "ready"

    async def _vector(self, stored: Stored, known: Floats | None, target: Served, content: Content) -> Floats:
        if content.modality == "image" and known is not None and self._is_configured(target):
            return known
        if content.file == stored.asset.file and isinstance(stored.text, bytes):
            return await self.embedding.embed(target, content.modality, stored.text)
        return await self.embedding.vector(target, content)

    async def _is_there(self, asset_id: str) -> bool:
        return bool(await asyncio.to_thread(self._catalog.assets.get_many, [asset_id]))

    def _is_configured(self, target: Served) -> bool:
        """Whether an annotator's vector is one of this model."""
        return target == self.embedding.configured.get(target.task)

    @cached_property
    def _reader(self) -> Batcher[str, Stored]:
        """Reads what jobs are about while others are worked on."""
        return Batcher(self._read, TOGETHER)

    def _read(self, asset_ids: Sequence[str]) -> list[Stored | Exception]:
        assets = self._catalog.assets.get_many(asset_ids)
        lacking: dict[str, list[tuple[Served, Content]]] = defaultdict(list)
        for target, content in self.embedding.lacking(*asset_ids):
            lacking[content.asset_id].append((target, content))
        return [
            Stored(assets[id], lacking[id], self._text_of(assets[id])) if id in assets
            else Problem("not_found", f"there is no asset {id}")
            for id in asset_ids
        ]  # fmt: skip

    def _text_of(self, asset: Asset) -> bytes | Problem | None:
        if asset.kind != "text":
            return None
        try:
            return self.embedding.places.files.read(asset.file)
        except Problem as problem:
            return problem

    @cached_property
    def _desk(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(PICTURES)

    @cached_property
    def _pen(self) -> Batcher[Findings, None]:
        """Writes what is ready while the rest is worked on; of a group that cannot be written only what is at fault
        fails."""
        return Batcher(self._write, TOGETHER)

    def _write(self, some: Sequence[Findings]) -> list[Exception | None]:
        """The annotations, the vectors and the ends of jobs, a transaction each."""
        catalog = self._catalog
        if answers := [answer for each in some for answer in each.answers]:
            catalog.annotations.put_many(answers)
        made: dict[str, list[tuple[Key, Floats]]] = defaultdict(list)
        for key, vector, revision in (vector for each in some for vector in each.vectors):
            made[revision].append((key, vector))
        if bodies := {str(each.job.asset_id): each.body for each in some if each.body is not None}:
            catalog.words.put_many(bodies)
        for revision, vectors in made.items():
            catalog.vectors.put_many(vectors, revision)
        # By the claim: a job whose lease ran out may be another's by now, or this runner's once more.
        ended = {each.job.claim: each for each in some if each.ended}
        outcomes = catalog.jobs.finish_many([Ended(each.job, each.error, each.stages) for each in ended.values()])
        lost = {claim: error for claim, error in zip(ended, outcomes, strict=True) if isinstance(error, Exception)}
        return [lost.get(each.job.claim) if each.ended else None for each in some]

    @property
    def _catalog(self) -> Catalog:
        return self.embedding.places.catalog
