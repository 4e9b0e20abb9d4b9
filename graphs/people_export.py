"""All that is kept of a person, as one file for that person to have."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict
from typing import Any

import numpy as np

from serve_app.catalog import Catalog, Person

README = """What this service keeps of one person.

people.json   names, kept faces, and every place where the person was recognised (box: x1, y1, x2, y2 in pixels)
faces/        the kept crops, by their id
vectors/      a file for each face model: float32 rows, in the order of "vectors" in people.json (numpy.load reads them)
"""


def archive(catalog: Catalog, name: str) -> bytes:
    """A zip of the person's names, crops, vectors and appearances; Problem("not_found") for an unknown name."""
    person = catalog.people.get(name)
    vectors = catalog.people.vectors_of(person.name)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("README.txt", README)
        packed.writestr("people.json", json.dumps(_describe(catalog, person, vectors), ensure_ascii=False, indent=1))
        for face in person.faces:
            packed.writestr(f"faces/{face.id}.jpg", catalog.people.crop(person.name, face.id).picture)
        for number, rows in enumerate(vectors.values()):
            packed.writestr(f"vectors/{number}.npy", _npy(np.stack(list(rows.values()))))
    return stream.getvalue()


def _describe(catalog: Catalog, person: Person, vectors: dict[str, Any]) -> dict[str, Any]:
    crops = [catalog.people.crop(person.name, face.id) for face in person.faces]
    faces = [
        {
            "id": face.id, "added_as": face.added_as, "added_at": face.added_at.isoformat(),
            "picture_sha256": face.sha256, "file": f"faces/{face.id}.jpg", "box": crop.box,
            "landmarks": crop.landmarks,
        }
        for face, crop in zip(person.faces, crops, strict=True)
    ]  # fmt: skip
    models = [
        {"model": revision, "file": f"vectors/{number}.npy", "faces": list(rows)}
        for number, (revision, rows) in enumerate(vectors.items())
    ]
    seen = [asdict(each) for each in catalog.faces.appearances(person.name)]
    return {
        "name": person.name, "merged": list(person.merged), "created_at": person.created_at.isoformat(),
        "faces": faces, "vectors": models, "appearances": seen,
    }  # fmt: skip


def _npy(rows: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, rows, allow_pickle=False)
    return stream.getvalue()
