"""A folder of people, ``DIR/<person>/<picture>``, as the vectors of their faces."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serve_app.annotation.descriptor import FaceDescriptor
from serve_app.annotation.labels import FoundFace
from serve_app.errors import Problem
from serve_app.evaluation.report import Tell, counted, say_nothing

Find = Callable[[bytes], Sequence[FoundFace]]
"""Finds the faces of an encoded picture; raises ``Problem`` where it cannot be read."""


@dataclass(frozen=True)
class People:
    """``vectors`` unit float32 [N, D] of N faces, ``names`` [N] of whom they are, ``files`` [N] where they were seen;
    ``skipped`` tells of the other files why they are not used."""

    vectors: NDArray[np.float32]
    names: tuple[str, ...]
    files: tuple[str, ...]
    skipped: dict[str, str]


def read_people(
    folder: Path, find: Find, descriptor: FaceDescriptor, skip: Collection[str] = (), tell: Tell = say_nothing
) -> People:
    """The largest face of every picture below ``folder``'s folders, but of those whose names are in ``skip``."""
    files = sorted(
        path
        for person in folder.iterdir()
        if person.is_dir() and person.name not in skip
        for path in person.iterdir()
        if path.is_file() and not path.name.startswith(".")
    )
    seen: list[tuple[Path, NDArray[np.float32]]] = []
    skipped: dict[str, str] = {}
    for path in counted(files, "reading faces", tell):
        try:
            seen.append((path, _vector(path.read_bytes(), find, descriptor)))
        except Problem as problem:
            skipped[_name(path)] = problem.detail
    vectors = np.array([vector for _, vector in seen], np.float32).reshape(len(seen), descriptor.dim)
    names, where = tuple(path.parent.name for path, _ in seen), tuple(_name(path) for path, _ in seen)
    return People(vectors, names, where, skipped)


def _vector(data: bytes, find: Find, descriptor: FaceDescriptor) -> NDArray[np.float32]:
    faces = find(data)
    if not faces:
        raise Problem("unprocessable", "no face is found in it")
    (prepared,) = descriptor.prepare(data, [max(faces, key=_area)])
    return descriptor.finish(descriptor.run([prepared.tensor])[0])


def _area(face: FoundFace) -> float:
    x1, y1, x2, y2 = face.box
    return (x2 - x1) * (y2 - y1)


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
