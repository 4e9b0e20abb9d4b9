"""People: known by the faces in a few pictures, named wherever they are seen, forgotten on request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np

from deployments.replica import ship
from graphs.calls import call
from graphs.image import digest
from graphs.people_export import archive
from graphs.places import Places
from serve_app import catalog
from serve_app.annotation.labels import FoundFace
from serve_app.annotation.people import UNKNOWN, Floats, Gallery, Named
from serve_app.catalog import Asset, Catalog, KeptCrop, NewFace, Renamed, SeenFace
from serve_app.catalog.vector_rows import chunks
from serve_app.errors import Problem
from serve_app.media import images
from serve_app.models.manifest import Descriptor, Model
from serve_app.wire import people_schemas as schemas
from serve_app.wire.ports import Upload

log = logging.getLogger("mediaverse")

AT_ONCE = 8
"""Pictures and kept faces that are looked at side by side."""
STEP = 64
"""Kept faces that one request may describe anew before it goes on with those that are done."""
PAGE = 100
"""Assets whose faces are named anew at a time."""
LATER = {"overloaded", "deadline", "unavailable"}
"""Faults that are not the face's: it is tried again."""


class Memory:
    """What a process knows of the gallery: the people with its version, and how far the kept faces are described."""

    def __init__(self) -> None:
        self.gallery: tuple[Gallery, int] | None = None
        self.described = 0
        self.whole = False
        self.changing = asyncio.Lock()

    def __reduce__(self) -> tuple[type[Memory], tuple[()]]:
        # It travels to replicas within a recipe; each of them learns for itself.
        return Memory, ()


@dataclass(frozen=True)
class PeopleGraph:
    """The face detector finds, the descriptor makes comparable, the catalog keeps.

    ``model`` is the descriptor's row, None with ``descriptor`` where this profile has none: people can be listed,
    renamed, merged and forgotten then, but neither learnt nor recognised.
    """

    faces: Any
    descriptor: Any
    places: Places
    model: Model | None
    memory: Memory = field(default_factory=Memory, init=False, repr=False, compare=False)

    async def name_faces(self, found: Sequence[FoundFace], vectors: Floats) -> list[Named]:
        """Names for the faces of one picture (``vectors`` unit float32 [n, D]), "unknown" where nobody is near."""
        gallery, _ = await self._gallery()
        return await asyncio.to_thread(gallery.name, vectors, [face.confidence for face in found])

    async def keep(
        self, asset: Asset, faces: Sequence[FoundFace], vectors: Floats, names: Sequence[str],
        times: Sequence[float | None],
    ) -> None:  # fmt: skip
        """Keep the faces of an asset, whose answer is stored already with ``names``, in place of earlier ones.

        ``times`` are seconds in a video, faces of one frame side by side, or None. Boxes are those of the answer.
        """
        gallery, version = await self._gallery()
        unnamed = [
            SeenFace(face.box, face.confidence, vector, time_s)
            for face, vector, time_s in zip(faces, vectors, times, strict=True)
        ]
        known = await asyncio.to_thread(_recognize, gallery, unnamed)
        seen = [
            replace(
                face, name=None if name == UNKNOWN else name, person_id=who.known_id,
                name_confidence=None if who.known_id is None else who.confidence,
            )
            for face, name, who in zip(unnamed, names, known, strict=True)
        ]  # fmt: skip
        await asyncio.to_thread(self._catalog.faces.put, asset.id, self._model.key, seen, version)
        await self.settle()  # who came, went or was renamed since the answer was made

    async def search(self, data: bytes, owner: str, k: int) -> schemas.FaceHits:
        """The owner's assets with the faces nearest to the largest one of a picture; ``unprocessable`` without any."""
        started = time.perf_counter()
        threshold = self._spec.threshold(1)
        images.inspect(data)
        payload = ship(data)
        found: list[FoundFace] = await call(self.faces.find, payload)
        if not found:
            raise Problem("unprocessable", "no face is found in the picture")
        described = await call(self.descriptor.describe, payload, [max(found, key=_area)])
        search = self._catalog.faces.search
        hits = await asyncio.to_thread(search, owner, described.vectors[0], k, self._model.key)
        items = [
            schemas.FaceHit(
                asset_id=hit.asset_id, distance=hit.distance, same=hit.distance <= threshold, label=hit.name or UNKNOWN,
                box=hit.box, timestamp_s=hit.timestamp_s,
            )
            for hit in hits
        ]  # fmt: skip
        return schemas.FaceHits(items=items, time=time.perf_counter() - started)

    async def add(self, name: str, uploads: Sequence[Upload]) -> tuple[schemas.Person, bool]:
        """Learn a person, or more of one, from pictures with one face each; True where the name is new.

        Raises ``unprocessable`` that names the first picture with no face or several; nothing is kept then.
        """
        self._catalog.people.check_name(name)
        revision, faces = self._model.key, list[NewFace]()
        for some in chunks(uploads, AT_ONCE):
            faces += await asyncio.gather(*(self._learn(upload) for upload in some))
        person, created = await asyncio.to_thread(self._catalog.people.add, name, faces, revision)
        return _person(person), created

    async def page(self, *, limit: int, cursor: str | None) -> schemas.PeoplePage:
        """People, newest first."""
        page = await asyncio.to_thread(self._catalog.people.page, limit=limit, cursor=cursor)
        lines = [
            schemas.PersonLine(name=row.name, faces=row.faces, merged=list(row.merged), created_at=row.created_at)
            for row in page.items
        ]
        return schemas.PeoplePage(items=lines, next_cursor=page.next_cursor)

    async def get(self, name: str) -> schemas.Person:
        return _person(await asyncio.to_thread(self._catalog.people.get, name))

    async def face(self, name: str, face: int) -> bytes:
        """The kept crop of a face, a JPEG."""
        return (await asyncio.to_thread(self._catalog.people.crop, name, face)).picture

    async def rename(self, name: str, new: str) -> schemas.Person:
        return await self._change(self._catalog.people.rename, name, new)

    async def merge(self, name: str, other: str) -> schemas.Person:
        """``other`` becomes ``name``, in assets too."""
        return await self._change(self._catalog.people.merge, name, other)

    async def unmerge(self, name: str, other: str) -> schemas.Person:
        """``other`` as it was before the merge."""
        return await self._change(self._catalog.people.unmerge, name, other)

    async def split(self, name: str, faces: Sequence[int], into: str) -> schemas.Person:
        """Faces that are somebody else's; what is seen in assets keeps its name until it is looked at again."""
        return await self._change(self._catalog.people.split, name, faces, into)

    async def delete(self, name: str, erase: bool = False) -> None:
        """Forget the person; with ``erase`` what assets say of them as well."""
        people, faces = self._catalog.people, self._catalog.faces
        if not erase:
            return await asyncio.to_thread(people.delete, name)
        names = await asyncio.to_thread(people.erase, name)
        await self.settle()
        for each in names:
            while await asyncio.to_thread(faces.forget, each):
                pass

    async def export(self, name: str) -> bytes:
        """All that is kept of a person, as a zip."""
        return await asyncio.to_thread(archive, self._catalog, name)

    async def settle(self) -> int:
        """Let the stored answers follow the gallery, also where an earlier change was cut off; how many did."""
        done = 0
        while count := await asyncio.to_thread(self._catalog.faces.settle):
            done += count
        return done

    async def follow(self) -> int:
        """Name the faces of all assets by the present gallery, where it has changed since; how many assets there were.

        Costs next to nothing where nothing has changed. May be cut off, and run in several processes at once.
        """
        done = 0
        if self.model is not None:
            await self.catch_up()
            while True:
                gallery, version = await self._gallery()
                behind = await asyncio.to_thread(self._catalog.faces.behind, self._model.key, version, PAGE)
                if not behind:
                    break
                changes = await asyncio.to_thread(_changes, gallery, behind)
                await asyncio.to_thread(self._catalog.faces.assign, changes, list(behind), version)
                done += len(behind)
        await self.settle()
        return done

    async def catch_up(self, most: int | None = None) -> int:
        """Describe kept faces that have no vector of the present model, at most about ``most``; how many there were.

        Raises ``Problem`` where the model does not answer now. May be cut off, and run in several processes at once.
        """
        done = 0
        async with self.memory.changing:
            while not self.memory.whole and (most is None or done < most):
                crops = await asyncio.to_thread(
                    self._catalog.people.without_vector, self._model.key, AT_ONCE, self.memory.described
                )
                self.memory.whole = len(crops) < AT_ONCE
                answers = await asyncio.gather(*(self._describe(crop) for crop in crops))
                vectors = [(crop.face_id, one) for crop, one in zip(crops, answers, strict=True) if one is not None]
                await asyncio.to_thread(self._catalog.people.put_vectors, self._model.key, vectors)
                self.memory.described = crops[-1].face_id if crops else self.memory.described
                done += len(vectors)
        return done

    async def _describe(self, crop: KeptCrop) -> Floats | None:
        """The vector of a kept face, None where it can have none with this model."""
        face = FoundFace(crop.box, crop.confidence, crop.landmarks)
        try:
            return np.asarray((await call(self.descriptor.describe, ship(crop.picture), [face])).vectors[0])
        except Problem as problem:
            if problem.code in LATER:
                self.memory.whole = False
                raise
            log.warning("kept face %d has no vector of %s: %s", crop.face_id, self._model.key, problem)
            return None

    async def _gallery(self) -> tuple[Gallery, int]:
        """The people by the present model, and their version; read again only after a change."""
        memory = self.memory
        if not memory.whole:
            try:
                await self.catch_up(STEP)
            except Problem as problem:
                log.warning("the gallery is not described anew yet: %s", problem)
        version = await asyncio.to_thread(self._catalog.people.version)
        if memory.gallery is None or memory.gallery[1] != version:
            known = await asyncio.to_thread(self._catalog.people.known, self._model.key)
            memory.gallery = await asyncio.to_thread(Gallery.of, known, self._spec.threshold), version
        return memory.gallery

    async def _learn(self, upload: Upload) -> NewFace:
        data = upload.data
        name = repr((upload.name or "a picture")[:100])
        try:
            images.inspect(data)
            payload = ship(data)
            found: list[FoundFace] = await call(self.faces.find, payload)
            if len(found) != 1:
                many = "no face is" if not found else f"{len(found)} faces are"
                raise Problem("unprocessable", f"{many} found, there must be one", "send a picture of one person")
            described = await call(self.descriptor.describe, payload, found)
        except Problem as problem:
            raise Problem(problem.code, f"{name}: {problem.detail}", problem.remedy) from problem
        crop = described.crops[0]
        sha256 = await asyncio.to_thread(digest, data)
        return NewFace(
            crop.picture, sha256, crop.box, crop.landmarks, found[0].confidence, np.asarray(described.vectors[0])
        )

    async def _change(self, change: Any, *args: Any) -> schemas.Person:
        person = await asyncio.to_thread(change, *args)
        await self.settle()
        return _person(person)

    @property
    def _catalog(self) -> Catalog:
        return self.places.catalog

    @property
    def _model(self) -> Model:
        if self.model is None:
            raise Problem("unavailable", "no model of this profile tells faces apart", "mediaverse models list")
        return self.model

    @property
    def _spec(self) -> Descriptor:
        assert self._model.descriptor is not None
        return self._model.descriptor


def _recognize(gallery: Gallery, faces: Sequence[SeenFace]) -> list[Named]:
    """Names for the faces of one asset, those of one frame side by side."""
    known: list[Named] = []
    for _, group in groupby(faces, key=lambda face: face.timestamp_s):
        some = list(group)
        vectors = np.stack([np.asarray(face.vector) for face in some])
        known += gallery.name(vectors, [face.confidence for face in some])
    return known


def _changes(gallery: Gallery, behind: Mapping[str, Mapping[int, SeenFace]]) -> list[Renamed]:
    """Which faces of assets show somebody else than they did."""
    return [
        Renamed(id, number, who.known_id, None if who.known_id is None else who.confidence)
        for id, faces in behind.items()
        for (number, face), who in zip(faces.items(), _recognize(gallery, list(faces.values())), strict=True)
        if who.known_id != face.person_id
    ]


def _person(person: catalog.Person) -> schemas.Person:
    faces = [schemas.PersonFace(id=each.id, added_as=each.added_as, added_at=each.added_at) for each in person.faces]
    return schemas.Person(name=person.name, faces=faces, merged=list(person.merged), created_at=person.created_at)


def _area(face: FoundFace) -> float:
    left, top, right, bottom = face.box
    return (right - left) * (bottom - top)
