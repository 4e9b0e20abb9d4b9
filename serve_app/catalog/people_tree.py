"""Who was merged into whom: a forest of rows, of which only the roots are people that anybody sees."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from serve_app.catalog.checks import fold, validate_id
from serve_app.catalog.engine import next_number
from serve_app.catalog.schema import asset_faces, people
from serve_app.errors import Problem

MAX_NAME = 200
MAX_FOLDED_BYTES = 2000  # an index of Postgres holds no more
UNKNOWN = "unknown"
"""What a face is called that nobody knows; no person may be."""
VERSION = "people"
_PART = re.compile(r"/(merge|split|unmerge|export|faces/[^/]*)$")


@dataclass(frozen=True)
class Node:
    """A row of ``people``."""

    id: int
    name: str
    folded: str
    merged_into: int | None
    created_at: datetime


class Tree:
    """All people and those merged into them, as one transaction sees them."""

    def __init__(self, connection: Connection) -> None:
        self.nodes = {row.id: Node(**row._mapping) for row in connection.execute(select(people))}
        self._by_name = {node.folded: node for node in self.nodes.values()}

    def named(self, name: str) -> Node | None:
        """Whoever has the name, seen or merged."""
        return self._by_name.get(fold(name.strip()))

    def root(self, id: int) -> Node:
        """The person to whom a row belongs now."""
        node = self.nodes[id]
        while node.merged_into is not None:
            node = self.nodes[node.merged_into]
        return node

    def below(self, id: int) -> list[int]:
        """The row and all that were merged into it, directly or not, oldest first."""
        return sorted(other for other in self.nodes if id in self._path(other))

    def person(self, name: str) -> Node:
        """The person of this name; Problem("not_found") says into whom it was merged."""
        node = self.named(name)
        if node is None:
            raise unknown_person(name)
        if node.merged_into is not None:
            raise Problem("not_found", f"{node.name!r} was merged into {self.root(node.id).name!r}", _UNMERGE)
        return node

    def free(self, name: str) -> None:
        """Problem("conflict") where somebody, seen or merged, has the name."""
        node = self.named(name)
        if node is None:
            return
        if node.merged_into is not None:
            raise Problem("conflict", f"{node.name!r} was merged into {self.root(node.id).name!r}", _UNMERGE)
        raise Problem("conflict", f"there is a person called {node.name!r} already", "merge the two, or choose another")

    def _path(self, id: int) -> list[int]:
        path, at = [id], self.nodes[id].merged_into
        while at is not None:
            path.append(at)
            at = self.nodes[at].merged_into
        return path


_UNMERGE = "unmerge it to have it back"


def valid_name(name: str) -> str:
    """``name`` without space around it, if a person may be called so; Problem("bad_request") otherwise."""
    name = name.strip()
    validate_id(name[: MAX_NAME + 1].strip() or name, "name")
    if len(name) > MAX_NAME or len(fold(name).encode()) > MAX_FOLDED_BYTES:
        raise Problem("bad_request", f"a name has at most {MAX_NAME} characters")
    if fold(name) == UNKNOWN:
        raise Problem("bad_request", f"nobody may be called {UNKNOWN!r}: that is the answer for a face nobody knows")
    if any(part in ("", ".", "..") for part in name.split("/")) or _PART.search(name):
        raise Problem("bad_request", "a name has no part . or .. between slashes, nor ends like an address of its own")
    return name


def unknown_person(name: str) -> Problem:
    return Problem("not_found", f"there is no person {name[:128]!r}")


def changed(connection: Connection, ids: list[int] | None = None) -> None:
    """Tell every reader of the gallery, and mark the sightings of ``ids``, whose stored answers follow later."""
    next_number(connection, VERSION)
    if ids:
        connection.execute(update(asset_faces).where(asset_faces.c.person_id.in_(ids)).values(stale=True))
