"""People: names with kept faces, their vectors a model revision, merged and split without loss.

Every change is one ordered write, so that two of them never cross; ``version`` grows with each. The stored answers of
assets follow by :meth:`serve_app.catalog.faces.Faces.settle`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from serve_app.catalog.checks import fold, validate_limit
from serve_app.catalog.cursors import decode_cursor, encode_cursor
from serve_app.catalog.engine import Clock, Database
from serve_app.catalog.face_answers import tagged
from serve_app.catalog.people_tree import VERSION, Node, Tree, changed, unknown_person, valid_name
from serve_app.catalog.rows import KeptCrop, Known, NewFace, Page, Person, PersonFace, PersonRow
from serve_app.catalog.schema import asset_faces, counters, face_vectors, people, person_faces
from serve_app.catalog.vector_rows import pack, unpack
from serve_app.errors import Problem

MAX_PEOPLE = 10_000
MAX_FACES = 200
"""Kept faces of one person; the accuracy of a mean grows little beyond a dozen."""


class People:
    """The people of one catalog. Every method may be called from any thread. Names are compared without case."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(self, name: str, faces: Sequence[NewFace], revision: str) -> tuple[Person, bool]:
        """Add faces to a person, who is made where there is none yet (then True); known pictures are passed over.

        Raises ``bad_request`` for a name, ``conflict`` for one that was merged, ``unprocessable`` for too many faces.
        """
        name = valid_name(name)
        packed = [(face, pack(face.vector)) for face in faces]

        def work(connection: Connection) -> tuple[Person, bool]:
            tree = Tree(connection)
            node = tree.named(name)
            if node is not None and node.merged_into is not None:
                tree.free(name)
            created = node is None
            id = self._insert(connection, tree, name) if node is None else node.id
            _add_faces(connection, [id] if created else tree.below(id), id, packed, revision, self._clock())
            changed(connection)
            return _load(connection, Tree(connection).nodes[id]), created

        return self._database.write(work, ordered=True)

    def check_name(self, name: str) -> None:
        """Raises ``bad_request`` for a name that nobody may have."""
        valid_name(name)

    def get(self, name: str) -> Person:
        """The person, or Problem("not_found")."""
        with self._database.read() as connection:
            return _load(connection, Tree(connection).person(name))

    def page(self, *, limit: int = 50, cursor: str | None = None) -> Page[PersonRow]:
        """People, newest first; Problem("bad_request") for a bad limit or cursor."""
        before = decode_cursor("people", cursor) if cursor is not None else None
        validate_limit(limit)
        with self._database.read() as connection:
            tree = Tree(connection)
            counted = select(person_faces.c.person_id, func.count()).group_by(person_faces.c.person_id)
            counts = {id: count for id, count in connection.execute(counted)}
        merged, faces = defaultdict[int, list[str]](list), defaultdict[int, int](int)
        for id in sorted(tree.nodes):
            root = tree.root(id).id
            faces[root] += counts.get(id, 0)
            if root != id:
                merged[root].append(tree.nodes[id].name)
        roots = [id for id in sorted(tree.nodes, reverse=True) if tree.nodes[id].merged_into is None]
        found = [tree.nodes[id] for id in roots if before is None or id < before]
        rows = [
            PersonRow(node.id, node.name, node.created_at, faces[node.id], tuple(merged[node.id]))
            for node in found[:limit]
        ]
        return Page(tuple(rows), encode_cursor("people", rows[-1].id) if len(found) > limit else None)

    def rename(self, name: str, new: str) -> Person:
        """Call the person otherwise, in stored answers too. Raises ``not_found``, ``bad_request`` or ``conflict``."""
        new = valid_name(new)

        def work(connection: Connection) -> Person:
            tree = Tree(connection)
            node = tree.person(name)
            if tree.named(new) != node:
                tree.free(new)
            connection.execute(update(people).where(people.c.id == node.id).values(name=new, folded=fold(new)))
            changed(connection, tree.below(node.id))
            return _load(connection, Tree(connection).nodes[node.id])

        return self._database.write(work, ordered=True)

    def delete(self, name: str) -> None:
        """Forget the person, the faces and the vectors; what assets were found to show stays said of them."""

        def work(connection: Connection) -> None:
            node = Tree(connection).person(name)
            connection.execute(delete(people).where(people.c.id == node.id))
            changed(connection)

        self._database.scrub(work)

    def erase(self, name: str) -> list[str]:
        """Forget the person everywhere: faces and vectors here, and name and vectors of the faces seen in assets.

        Gives the names that have to leave the answers of assets: see ``faces.forget``. Also works where only assets
        still carry the name; else raises ``not_found``.
        """

        def work(connection: Connection) -> list[str]:
            tree = Tree(connection)
            node = tree.person(name) if tree.named(name) else None
            ids = tree.below(node.id) if node else []
            names = [node.name, *(tree.nodes[id].name for id in ids)] if node else [name.strip()]
            seen = or_(asset_faces.c.person_id.in_(ids), asset_faces.c.name.in_(names))
            gone = update(asset_faces).where(seen).values(name=None, person_id=None, data=None, stale=True)
            emptied = connection.execute(gone).rowcount
            if node is None and not emptied and not connection.execute(tagged(names[0]).limit(1)).first():
                raise unknown_person(name)
            if node is not None:
                connection.execute(delete(people).where(people.c.id == node.id))
            changed(connection)
            return list(dict.fromkeys(names))

        return self._database.scrub(work)

    def merge(self, name: str, other: str) -> Person:
        """``other`` is the same person as ``name`` from now on. ``unmerge`` takes it back."""

        def work(connection: Connection) -> Person:
            tree = Tree(connection)
            node, joined = tree.person(name), tree.person(other)
            if node == joined:
                raise Problem("bad_request", "nobody is merged into themselves")
            _point(connection, joined, node.id)
            changed(connection, tree.below(joined.id))
            return _load(connection, node)

        return self._database.write(work, ordered=True)

    def unmerge(self, name: str, other: str) -> Person:
        """Take ``other`` out of ``name`` again, with the faces and the name it had. Gives it."""

        def work(connection: Connection) -> Person:
            tree = Tree(connection)
            node, joined = tree.person(name), tree.named(other)
            if joined is None or joined.merged_into is None or tree.root(joined.id) != node:
                raise Problem("not_found", f"nobody called {other[:128]!r} was merged into {node.name!r}")
            _point(connection, joined, None)
            changed(connection, tree.below(joined.id))
            return _load(connection, joined)

        return self._database.write(work, ordered=True)

    def split(self, name: str, faces: Sequence[int], into: str) -> Person:
        """Move ``faces`` of the person to ``into``, who is made where needed. The same call the other way undoes it.

        All faces of one who was merged, ``into`` that very name, is ``unmerge``. A person who was split off and is left
        without faces goes. Raises ``not_found`` for a face, ``unprocessable`` where the person would be left without.
        """
        into = valid_name(into)

        def work(connection: Connection) -> Person:
            tree = Tree(connection)
            node, target = tree.person(name), tree.named(into)
            moved = _faces_of(connection, tree.below(node.id), faces, node)
            if target is not None and target.merged_into is not None:
                _check_unmerge(connection, tree, node, target, set(faces))
                _point(connection, target, None)
            else:
                if target == node:
                    raise Problem("bad_request", "faces are split off into somebody else")
                id = self._insert(connection, tree, into) if target is None else target.id
                _move(connection, moved, id, tree.below(id) if target else [])
                _leave(connection, tree, node, id)
            changed(connection)
            return _load(connection, Tree(connection).person(into))

        return self._database.write(work, ordered=True)

    def crop(self, name: str, face: int) -> KeptCrop:
        """A kept face of the person, or Problem("not_found")."""
        with self._database.read() as connection:
            tree = Tree(connection)
            node = tree.person(name)
            here = (person_faces.c.id == face) & person_faces.c.person_id.in_(tree.below(node.id))
            row = connection.execute(select(person_faces).where(here)).first()
        if row is None:
            raise _no_face(face, node)
        return _crop(row)

    def version(self) -> int:
        """Grows whenever the gallery changes."""
        with self._database.read() as connection:
            return int(connection.execute(select(counters.c.value).where(counters.c.name == VERSION)).scalar_one())

    def known(self, revision: str) -> list[Known]:
        """Whoever has vectors of ``revision``, seen or merged, with all of them."""
        query = select(person_faces.c.person_id, face_vectors.c.data).join(
            face_vectors, face_vectors.c.face_id == person_faces.c.id
        )
        with self._database.read() as connection:
            tree = Tree(connection)
            found: dict[int, list[NDArray[np.float32]]] = defaultdict(list)
            query = query.where(face_vectors.c.revision == revision).order_by(person_faces.c.id)
            for person_id, data in connection.execute(query):
                if person_id in tree.nodes:  # Postgres may show somebody who came between the two statements
                    found[person_id].append(unpack(data))
        roots = {id: tree.root(id) for id in found}
        return [Known(id, roots[id].id, roots[id].name, np.stack(rows)) for id, rows in sorted(found.items())]

    def without_vector(self, revision: str, limit: int, after: int = 0) -> list[KeptCrop]:
        """Kept faces that have no vector of ``revision``, oldest first; go on ``after`` the last one's id."""
        has = select(face_vectors.c.face_id).where(face_vectors.c.revision == revision)
        query = select(person_faces).where(person_faces.c.id > after, person_faces.c.id.not_in(has))
        with self._database.read() as connection:
            return [_crop(row) for row in connection.execute(query.order_by(person_faces.c.id).limit(limit))]

    def put_vectors(self, revision: str, vectors: Sequence[tuple[int, NDArray[np.float32]]]) -> None:
        """Keep the vectors of faces by their ids; those present already, or whose face has gone, are passed over."""
        packed = {face: pack(vector) for face, vector in vectors}

        def work(connection: Connection) -> None:
            here = select(person_faces.c.id).where(person_faces.c.id.in_(packed))
            has = select(face_vectors.c.face_id).where(
                face_vectors.c.revision == revision, face_vectors.c.face_id.in_(packed)
            )
            new = set(connection.execute(here).scalars()) - set(connection.execute(has).scalars())
            if new:
                rows = [{"face_id": face, "revision": revision, "data": packed[face]} for face in sorted(new)]
                connection.execute(insert(face_vectors), rows)
                changed(connection)

        self._database.write(work, ordered=True)

    def vectors_of(self, name: str) -> dict[str, dict[int, NDArray[np.float32]]]:
        """The vectors of a person by model revision and face, for an export."""
        with self._database.read() as connection:
            tree = Tree(connection)
            ids = tree.below(tree.person(name).id)
            query = select(face_vectors).join(person_faces, person_faces.c.id == face_vectors.c.face_id)
            found: dict[str, dict[int, NDArray[np.float32]]] = defaultdict(dict)
            for row in connection.execute(query.where(person_faces.c.person_id.in_(ids)).order_by(person_faces.c.id)):
                found[row.revision][row.face_id] = unpack(row.data)
            return dict(found)

    def _insert(self, connection: Connection, tree: Tree, name: str) -> int:
        if len(tree.nodes) >= MAX_PEOPLE:
            raise Problem("unprocessable", f"there are {MAX_PEOPLE} people already, which is the limit")
        new = insert(people).values(name=name, folded=fold(name), created_at=self._clock())
        return int(connection.execute(new.returning(people.c.id)).scalar_one())


def _add_faces(
    connection: Connection, ids: list[int], id: int, packed: list[tuple[NewFace, bytes]], revision: str, now: Any
) -> None:
    known = list(connection.execute(select(person_faces.c.sha256).where(person_faces.c.person_id.in_(ids))).scalars())
    new = {face.sha256: (face, data) for face, data in packed if face.sha256 not in known}
    if len(known) + len(new) > MAX_FACES:
        raise Problem("unprocessable", f"a person has at most {MAX_FACES} faces")
    for face, data in new.values():
        values = {"picture": face.picture, "box": face.box, "landmarks": face.landmarks, "confidence": face.confidence}
        row = insert(person_faces).values(person_id=id, origins=[], sha256=face.sha256, added_at=now, **values)
        face_id = connection.execute(row.returning(person_faces.c.id)).scalar_one()
        connection.execute(insert(face_vectors).values(face_id=face_id, revision=revision, data=data))


def _load(connection: Connection, node: Node) -> Person:
    tree = Tree(connection)
    ids = tree.below(node.id)
    columns = (person_faces.c.id, person_faces.c.person_id, person_faces.c.sha256, person_faces.c.added_at)
    rows = connection.execute(select(*columns).where(person_faces.c.person_id.in_(ids)).order_by(person_faces.c.id))
    faces = tuple(PersonFace(row.id, tree.nodes[row.person_id].name, row.sha256, row.added_at) for row in rows)
    merged = tuple(tree.nodes[id].name for id in ids if id != node.id)
    return Person(node.id, tree.nodes[node.id].name, node.created_at, faces, merged)


def _point(connection: Connection, node: Node, into: int | None) -> None:
    connection.execute(update(people).where(people.c.id == node.id).values(merged_into=into))


def _faces_of(connection: Connection, ids: list[int], faces: Sequence[int], node: Node) -> list[Row[Any]]:
    """The rows of ``faces``, which must be of the person and some, not all, unless all came from elsewhere."""
    query = select(person_faces.c.id, person_faces.c.person_id, person_faces.c.origins)
    rows: dict[int, Any] = {row.id: row for row in connection.execute(query.where(person_faces.c.person_id.in_(ids)))}
    if not faces:
        raise Problem("bad_request", "no faces are named")
    for face in faces:
        if face not in rows:
            raise _no_face(face, node)
    moved: list[Row[Any]] = [rows[face] for face in dict.fromkeys(faces)]
    if len(moved) == len(rows) and not all(row.origins for row in moved):
        raise Problem("unprocessable", f"{node.name!r} would be left without a face", "rename or merge instead")
    return moved


def _check_unmerge(connection: Connection, tree: Tree, node: Node, target: Node, faces: set[int]) -> None:
    ids = tree.below(target.id)
    own = set(connection.execute(select(person_faces.c.id).where(person_faces.c.person_id.in_(ids))).scalars())
    if tree.root(target.id) != node or faces != own:
        tree.free(target.name)


def _move(connection: Connection, moved: list[Row[Any]], id: int, home: list[int]) -> None:
    """Give faces to ``id``; those that came from somebody at ``home`` there go back to that very one."""
    for row in moved:
        steps = [step for step, origin in enumerate(row.origins) if origin in home]
        if steps:
            values = {"person_id": row.origins[steps[-1]], "origins": row.origins[: steps[-1]]}
        else:
            values = {"person_id": id, "origins": [*row.origins, row.person_id]}
        connection.execute(update(person_faces).where(person_faces.c.id == row.id).values(values))


def _leave(connection: Connection, tree: Tree, node: Node, target: int) -> None:
    """Remove a person whose last face went back to where it came from; sightings are the target's then."""
    ids = tree.below(node.id)
    if connection.execute(select(person_faces.c.id).where(person_faces.c.person_id.in_(ids)).limit(1)).first():
        return
    seen = update(asset_faces).where(asset_faces.c.person_id.in_(ids))
    connection.execute(seen.values(person_id=target, stale=True))
    connection.execute(delete(people).where(people.c.id == node.id))


def _crop(row: Row[Any]) -> KeptCrop:
    x1, y1, x2, y2 = row.box
    landmarks = tuple((x, y) for x, y in row.landmarks)
    return KeptCrop(row.id, row.picture, (x1, y1, x2, y2), landmarks, row.confidence)


def _no_face(face: int, node: Node) -> Problem:
    return Problem("not_found", f"{node.name!r} has no face {face}")
