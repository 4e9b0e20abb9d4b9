"""The faces seen in assets: whose they are, exact search among their vectors, and answers that follow the people.

A change of the gallery marks sightings as stale; ``settle`` writes the names anew into answers and tags, an asset a
transaction, so that it may stop anywhere and go on later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, delete, insert, select, update

from serve_app.catalog.asset_rows import known_id, missing
from serve_app.catalog.checks import validate_id
from serve_app.catalog.engine import Database
from serve_app.catalog.face_answers import forget, retell, tagged
from serve_app.catalog.people_tree import Tree
from serve_app.catalog.rows import Appearance, FaceHit, Renamed, SeenFace
from serve_app.catalog.schema import asset_faces, assets
from serve_app.catalog.vector_rows import chunks, pack, unpack

ROWS_A_STEP = 5_000
"""Vectors that a search holds at once."""


class Faces:
    """The faces seen in the assets of one catalog. Every method may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, asset_id: str, revision: str, faces: Sequence[SeenFace], version: int) -> None:
        """Keep the faces of an asset in place of any earlier ones; Problem("not_found") when it is gone.

        ``version`` is that of the gallery (``people.version``) by which they were named. Call it after the asset's
        answer is stored: who was renamed between the two is told anew by ``settle``.
        """
        known_id(asset_id)
        packed = [(face, None if face.vector is None else pack(face.vector)) for face in faces]

        def work(connection: Connection) -> None:
            owner = connection.execute(select(assets.c.owner).where(assets.c.id == asset_id).with_for_update()).scalar()
            if owner is None:
                raise missing(asset_id)
            tree = Tree(connection)
            connection.execute(delete(asset_faces).where(asset_faces.c.asset_id == asset_id))
            common = {"asset_id": asset_id, "owner": owner, "revision": revision, "gallery": version}
            rows = [
                common | {"number": number, "data": data} | _named(tree, face)
                for number, (face, data) in enumerate(packed)
            ]
            for some in chunks(rows, 1000):
                connection.execute(insert(asset_faces), list(some))

        self._database.write(work, ordered=True)

    def of_asset(self, asset_id: str) -> list[SeenFace]:
        """The faces of an asset, in the order in which they were put."""
        query = select(asset_faces).where(asset_faces.c.asset_id == known_id(asset_id)).order_by(asset_faces.c.number)
        with self._database.read() as connection:
            return [_seen(row) for row in connection.execute(query)]

    def search(self, owner: str, vector: NDArray[np.float32], k: int, revision: str) -> list[FaceHit]:
        """The ``k`` assets of an owner with the faces nearest to ``vector`` (unit float32 [D]), each at its nearest.

        Exact: every vector of the owner is compared, some thousand at a time.
        """
        columns = (asset_faces.c.asset_id, asset_faces.c.number, asset_faces.c.data)
        here = (asset_faces.c.owner == validate_id(owner, "owner")) & (asset_faces.c.revision == revision)
        query = select(*columns).where(here, asset_faces.c.data.is_not(None))
        best: dict[str, tuple[float, int]] = {}
        with self._database.read() as connection:
            streamed = connection.execution_options(stream_results=True, yield_per=ROWS_A_STEP).execute(query)
            for some in streamed.partitions():
                _keep_nearest(best, some, vector, k)
            found = sorted((distance, asset_id, number) for asset_id, (distance, number) in best.items())
            hits = [_hit(connection, *each) for each in found]
            return [hit for hit in hits if hit is not None]

    def appearances(self, name: str) -> list[Appearance]:
        """Where the person was recognised, asset by asset; Problem("not_found") for an unknown name."""
        a = asset_faces.c
        columns = (a.asset_id, a.owner, a.timestamp_s, a.box, a.confidence)
        with self._database.read() as connection:
            tree = Tree(connection)
            node = tree.person(name)
            query = select(*columns).where(a.person_id.in_(tree.below(node.id))).order_by(a.asset_id, a.number)
            return [
                Appearance(row.asset_id, row.owner, row.timestamp_s, _box(row.box), row.confidence)
                for row in connection.execute(query)
            ]

    def settle(self, limit: int = 100) -> int:
        """Write the present names into the answers and tags of at most ``limit`` stale assets; how many there were."""
        stale = select(asset_faces.c.asset_id).where(asset_faces.c.stale).distinct().limit(limit)
        with self._database.read() as connection:
            ids = list(connection.execute(stale).scalars())
        for id in ids:
            self._database.write(lambda connection, id=id: retell(connection, id), ordered=True)  # type: ignore[misc]
        return len(ids)

    def forget(self, name: str, limit: int = 100) -> int:
        """Make the name unknown in the answers of at most ``limit`` assets that still say it; how many there were.

        For what ``settle`` cannot reach, because no faces were kept of the asset.
        """
        with self._database.read() as connection:
            ids = list(connection.execute(tagged(name).limit(limit)).scalars())
        for id in ids:
            self._database.write(lambda connection, id=id: forget(connection, id, name), ordered=True)  # type: ignore[misc]
        return len(ids)

    def behind(self, revision: str, version: int, limit: int) -> dict[str, dict[int, SeenFace]]:
        """The faces, by their numbers, of at most ``limit`` assets that an earlier gallery than ``version`` named."""
        a = asset_faces.c
        earlier = (a.revision == revision) & (a.gallery < version) & a.data.is_not(None)
        found: dict[str, dict[int, SeenFace]] = defaultdict(dict)
        with self._database.read() as connection:
            ids = connection.execute(select(a.asset_id).where(earlier).distinct().limit(limit)).scalars().all()
            query = select(asset_faces).where(earlier, a.asset_id.in_(ids)).order_by(a.asset_id, a.number)
            for row in connection.execute(query):
                found[row.asset_id][row.number] = _seen(row)
        return dict(found)

    def assign(self, changes: Sequence[Renamed], asset_ids: Sequence[str], version: int) -> None:
        """Note whom faces show by the gallery of ``version``, by which all of ``asset_ids`` have been looked at.

        Assets that were put meanwhile by a gallery as new stay as they are. The answers follow by ``settle``.
        """
        a = asset_faces.c

        def work(connection: Connection) -> None:
            known = Tree(connection).nodes
            for change in changes:
                here = (a.asset_id == change.asset_id) & (a.number == change.number) & (a.gallery < version)
                person = change.person_id if change.person_id in known else None
                values = {"person_id": person, "name_confidence": change.name_confidence, "stale": True}
                connection.execute(update(asset_faces).where(here).values(values))
            looked_at = a.asset_id.in_(asset_ids) & (a.gallery < version)
            connection.execute(update(asset_faces).where(looked_at).values(gallery=version))

        self._database.write(work, ordered=True)

    def outdated(self, revision: str, limit: int, after: str = "") -> list[str]:
        """Assets whose faces were described by another revision, in the order of their ids; go on ``after`` the last.

        Their pictures have to be looked at again: of an asset's faces no crops are kept.
        """
        other = select(asset_faces.c.asset_id).where(asset_faces.c.revision != revision, asset_faces.c.asset_id > after)
        with self._database.read() as connection:
            return list(connection.execute(other.distinct().order_by(asset_faces.c.asset_id).limit(limit)).scalars())


def _named(tree: Tree, face: SeenFace) -> dict[str, Any]:
    """The columns of a face. Whoever went meanwhile is nobody, and a name that has changed makes it stale."""
    known = face.person_id in tree.nodes
    now = tree.root(face.person_id).name if known and face.person_id is not None else None
    return {
        "timestamp_s": face.timestamp_s, "box": list(face.box), "confidence": float(face.confidence),
        "person_id": face.person_id if known else None, "name": face.name, "name_confidence": face.name_confidence,
        "stale": now != face.name,
    }  # fmt: skip


def _keep_nearest(best: dict[str, tuple[float, int]], rows: Sequence[Any], vector: NDArray[np.float32], k: int) -> None:
    """Keep in ``best`` the ``k`` assets with the least distances, those of ``rows`` among them."""
    matrix = np.frombuffer(b"".join(row.data for row in rows), "<f4").reshape(len(rows), -1)
    distances = np.linalg.norm(matrix - vector, axis=1)
    for at in np.argsort(distances, kind="stable"):
        row, distance = rows[at], float(distances[at])
        if row.asset_id not in best or distance < best[row.asset_id][0]:
            if len(best) >= k and row.asset_id not in best:
                worst = max(best, key=lambda id: best[id][0])
                if best[worst][0] <= distance:
                    break
                del best[worst]
            best[row.asset_id] = distance, row.number


def _hit(connection: Connection, distance: float, asset_id: str, number: int) -> FaceHit | None:
    a = asset_faces.c
    query = select(a.box, a.timestamp_s, a.name).where(a.asset_id == asset_id, a.number == number)
    row = connection.execute(query).first()  # none where its asset was deleted meanwhile
    return row and FaceHit(asset_id, distance, _box(row.box), row.timestamp_s, row.name)


def _seen(row: Row[Any]) -> SeenFace:
    vector = None if row.data is None else unpack(row.data)
    return SeenFace(
        _box(row.box), row.confidence, vector, row.timestamp_s, row.name, row.name_confidence, row.person_id
    )  # fmt: skip


def _box(sides: Iterable[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = sides
    return x1, y1, x2, y2
