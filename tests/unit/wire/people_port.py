"""People behind the door: a small fake that remembers what it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serve_app.errors import Problem
from serve_app.wire import people_schemas as schemas
from serve_app.wire.ports import Upload
from tests.unit.wire.door import NOW

NAME = "Žižek/李 % ?#"


class People:
    """Answers something of the right shape and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def person(self, name: str) -> schemas.Person:
        face = schemas.PersonFace(id=7, added_as=name, added_at=NOW)
        return schemas.Person(name=name, faces=[face], merged=["B."], created_at=NOW)

    async def add(self, name: str, uploads: Sequence[Upload]) -> tuple[schemas.Person, bool]:
        self.asked.append(("add", name, [(upload.name, upload.data) for upload in uploads]))
        if name == "twins":
            raise Problem("unprocessable", "'b.png': 2 faces are found, there must be one")
        return self.person(name), name != "known"

    async def page(self, *, limit: int, cursor: str | None) -> schemas.PeoplePage:
        self.asked.append(("page", limit, cursor))
        line = schemas.PersonLine(name=NAME, faces=2, created_at=NOW)
        return schemas.PeoplePage(items=[line], next_cursor="more")

    async def get(self, name: str) -> schemas.Person:
        self.asked.append(("get", name))
        return self.person(name)

    async def face(self, name: str, face: int) -> bytes:
        self.asked.append(("face", name, face))
        return b"jpeg"

    async def change(self, what: str, name: str, *rest: Any) -> schemas.Person:
        self.asked.append((what, name, *rest))
        return self.person(name)

    async def rename(self, name: str, new: str) -> schemas.Person:
        return await self.change("rename", name, new)

    async def merge(self, name: str, other: str) -> schemas.Person:
        return await self.change("merge", name, other)

    async def unmerge(self, name: str, other: str) -> schemas.Person:
        return await self.change("unmerge", name, other)

    async def split(self, name: str, faces: Sequence[int], into: str) -> schemas.Person:
        return await self.change("split", name, faces, into)

    async def delete(self, name: str, erase: bool) -> None:
        self.asked.append(("delete", name, erase))

    async def export(self, name: str) -> bytes:
        self.asked.append(("export", name))
        return b"PK zip"

    async def search(self, data: bytes, owner: str, k: int) -> schemas.FaceHits:
        self.asked.append(("search", data, owner, k))
        hit = schemas.FaceHit(asset_id="a", distance=0.5, same=True, label="anna", box=(1, 2, 3, 4))
        return schemas.FaceHits(items=[hit], time=0.1)
