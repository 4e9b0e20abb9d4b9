"""OFF as Geomview writes it (ASCII): polygons, with normals and colours at vertices or colours of faces.

By hand, because trimesh's reader drops all colours and takes a file that is cut off for a whole one.
"""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from serve_app.media.mesh_parts import (
    Cloud,
    Companions,
    Doubles,
    Indices,
    Instance,
    MeshLimits,
    Model,
    Surface,
    broken,
    check_count,
    colour_bytes,
    fan,
)

_KEYWORD = re.compile(r"(ST)?(C)?(N)?(4)?(n)?OFF\b")


def read_off(data: bytes, files: Companions, limits: MeshLimits) -> Model:
    """A surface; a cloud where there are no faces."""
    text = re.sub(r"#[^\n]*", "", data.decode("latin-1")).lstrip()
    match = _KEYWORD.match(text)
    if match is None or match[4] or match[5]:
        raise broken("off", "is of a kind that is not read here: three dimensions are")
    lines = [line for line in text[match.end() :].splitlines() if line and not line.isspace()]
    words = lines[0].split() if lines else []
    if words[:1] == ["BINARY"]:
        raise broken("off", "is binary, which is not read here")
    if len(words) < 2 or not all(word.isdigit() for word in words[:2]):
        raise broken("off", "has no counts of vertices and faces")
    vertices, faces = int(words[0]), int(words[1])
    if vertices + faces > len(lines) - 1:
        raise broken("off", f"declares {vertices:,} vertices and {faces:,} faces, and holds {len(lines) - 1:,} lines")
    check_count(faces, limits)
    rows = _table(lines[1 : 1 + vertices])
    if rows.shape[1] < 3:
        raise broken("off", "has vertices of fewer than three numbers")
    at = 6 if match[3] else 3
    colours = colour_bytes(rows[:, at : at + 4], vertices) if match[2] else None
    points = rows[:, :3]
    if not faces:
        return Model((Instance(Cloud(points, colours)),))
    corners, by_face = _polygons(lines[1 + vertices : 1 + vertices + faces])
    check_count(len(corners), limits)
    if not len(corners):
        raise broken("off", f"declares {faces:,} faces, and none has three corners")
    if colours is not None:
        by_face = None if corners.min() < 0 or corners.max() >= vertices else colours[corners]
    return Model((Instance(Surface(points, corners, colours=by_face)),))


def _table(lines: list[str]) -> Doubles:
    """float64 [N, K]: the numbers of lines of equal length, or the first of each."""
    if not lines:
        return np.zeros((0, 3))
    if (alike := _alike(lines)) is not None:
        return alike
    rows = [line.split() for line in lines]
    width = min(len(row) for row in rows)
    return np.array([row[:width] for row in rows], np.float64)


def _alike(lines: list[str]) -> Doubles | None:
    """float64 [N, K] of lines that all have as many numbers as the first, in a tenth of the time."""
    numbers = np.fromstring(" ".join(lines), sep=" ")
    width = len(lines[0].split())
    return numbers.reshape(-1, width) if numbers.size == len(lines) * width else None


def _polygons(lines: list[str]) -> tuple[Indices, NDArray[np.uint8] | None]:
    """Triangles [F, 3] of polygons, each a fan, and the colours [F, 3, 4] at their corners if most have some."""
    table = _alike(lines)
    if table is not None and table.shape[1] >= 4 and (table[:, 0] == table.shape[1] - 1).all():
        return fan(table[:, 1:].astype(np.int64)), None
    groups: dict[tuple[int, int], list[list[str]]] = defaultdict(list)
    for line in lines:
        row = line.split()
        count = int(row[0])
        if not 0 <= count < len(row):
            raise broken("off", f"has a face of {count:,} corners with {len(row) - 1:,} numbers")
        groups[count, len(row) - 1 - count].append(row)
    faces: list[Indices] = [np.zeros((0, 3), np.int64)]
    colours: list[NDArray[np.uint8]] = []
    for (count, extra), rows in groups.items():
        if count < 3:
            continue
        fans = fan(np.array([row[1 : 1 + count] for row in rows], np.int64))
        faces.append(fans)
        found = None
        if extra in (3, 4):
            found = colour_bytes(np.array([row[1 + count :] for row in rows], np.float64), len(rows))
        white = np.full((len(rows), 4), 255, np.uint8)
        colours.append(np.repeat(white if found is None else found, count - 2, axis=0))
    coloured = any(extra in (3, 4) for count, extra in groups if count >= 3)
    return np.concatenate(faces), np.repeat(np.concatenate(colours)[:, None], 3, axis=1) if coloured else None
