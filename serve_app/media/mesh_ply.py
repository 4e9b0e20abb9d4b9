"""PLY, parsed by trimesh once its header is known not to promise more than the file holds."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.media.mesh_arguments import part_of
from serve_app.media.mesh_parts import Companions, Instance, MeshLimits, Model, broken, check_count, fan
from serve_app.media.mesh_textures import Textures
from serve_app.media.meshes import Material

MAX_HEADER = 1 << 16
_SIZES = {
    "char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "float": 4, "double": 8,
    "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "float32": 4, "float64": 8,
}  # fmt: skip


def read_ply(data: bytes, files: Companions, limits: MeshLimits) -> Model:
    """ASCII and binary PLY: surfaces with colours, normals and a texture, or clouds of points."""
    from trimesh.exchange.ply import load_ply

    end = data.find(b"end_header", 0, MAX_HEADER)
    if end < 0:
        raise broken("ply", "has no end of its header")
    header = data[:end].decode("latin-1")
    counts = {name: int(count) for name, count in re.findall(r"^element[ \t]+(\S+)[ \t]+(\d+)", header, re.MULTILINE)}
    if sum(counts.values()) > len(data) - end:
        listed = ", ".join(f"{count:,} of {name[:20]}" for name, count in counts.items())
        raise broken("ply", f"declares more than it can hold: {listed}")
    check_count(counts.get("face", 0), limits)
    if "format binary" in header:
        data = _alike(data, end)
    parsed = load_ply(io.BytesIO(data), resolver=None, skip_materials=True)
    if "vertices" not in parsed:
        raise broken("ply", "has no vertices")
    textures = Textures(1, limits)
    name = re.search(r"^comment TextureFile[ \t]+(\S.*?)\s*$", header, re.MULTILINE | re.IGNORECASE)
    texture = textures.decode(name[1], lambda: files(name[1])) if name else None
    return Model((Instance(part_of(parsed, Material(texture=texture))),), notes=tuple(textures.notes))


@dataclass(frozen=True)
class _Face:
    """How a binary PLY lays out a face: what stands before its one list, the list, and what stands behind."""

    before: int
    count: int
    """Bytes of the number of corners."""
    item: int
    """Bytes of a corner."""
    behind: int


def _alike(data: bytes, end: int) -> bytes:
    """A binary PLY all of whose faces have as many corners as the first.

    trimesh takes that for granted. Where it is not so, what is given back has the same vertices, and triangles alone;
    what else the faces had is lost. ``end`` is the offset of ``end_header``.
    """
    lines = data[:end].decode("latin-1").splitlines()
    elements = [at for at, line in enumerate(lines) if line.startswith("element")] + [len(lines)]
    if [lines[at].split()[1] for at in elements[:-1][:2]] != ["vertex", "face"]:
        return data
    vertices, wanted = (int(lines[at].split()[2]) for at in elements[:2])
    row = sum(_SIZES[line.split()[1]] for line in lines[elements[0] + 1 : elements[1]] if line.startswith("property"))
    start = data.index(b"\n", end) + 1
    face = _layout(lines[elements[1] + 1 : elements[2]])
    endian = "<" if any("binary_little_endian" in line for line in lines[: elements[0]]) else ">"
    first = start + vertices * row
    if face is None or not wanted or _has_one_size(data, first, wanted, face, endian):
        return data
    faces = _triangles(data, first, wanted, face, endian)
    out = np.zeros(len(faces), np.dtype([("count", "u1"), ("corners", f"{endian}i4", 3)]))
    out["count"], out["corners"] = 3, faces
    head = [*lines[: elements[1]], f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    return ("\n".join(head) + "\n").encode("latin-1") + data[start:first] + out.tobytes()


def _has_one_size(data: bytes, start: int, count: int, face: _Face, endian: str) -> bool:
    """Whether all faces have as many corners as the first, of which ``count`` fit into the file."""
    number = np.dtype(f"{endian}u{face.count}")
    if start + face.before + face.count > len(data):
        return False
    size = int(np.frombuffer(data, number, 1, start + face.before)[0])
    record = face.before + face.count + size * face.item + face.behind
    if start + count * record > len(data):
        return False
    sizes: NDArray[Any] = np.ndarray((count,), number, data, start + face.before, (record,))
    return bool((sizes == size).all())


def _layout(lines: list[str]) -> _Face | None:
    """None where faces have several lists, as those with texture coordinates of their own do."""
    before, behind, found = 0, 0, None
    for words in (line.split() for line in lines if line.startswith("property")):
        if words[1] == "list" and found is None:
            found = _SIZES[words[2]], _SIZES[words[3]]
        elif words[1] == "list":
            return None
        elif found is None:
            before += _SIZES[words[1]]
        else:
            behind += _SIZES[words[1]]
    if found is None:
        raise broken("ply", "has faces without corners")
    return _Face(before, *found, behind)


def _triangles(data: bytes, start: int, count: int, face: _Face, endian: str) -> np.ndarray:
    """int64 [F, 3] out of ``count`` polygons that begin at ``start``."""
    order = "little" if endian == "<" else "big"
    sizes, starts = np.zeros(count, np.int64), np.zeros(count, np.int64)
    at = start
    for index in range(count):
        at += face.before
        sizes[index] = size = int.from_bytes(data[at : at + face.count], order)  # type: ignore[arg-type]
        starts[index] = at = at + face.count
        at += size * face.item + face.behind
        if at > len(data):
            raise broken("ply", f"is cut off in face {index:,} of {count:,}")
    raw = np.frombuffer(data, np.uint8)
    parts = [np.zeros((0, 3), np.int64)]
    for size in np.unique(sizes[sizes >= 3]):
        places = starts[sizes == size][:, None] + np.arange(size * face.item)
        parts.append(fan(raw[places].view(np.dtype(f"{endian}i{face.item}")).astype(np.int64)))
    return np.concatenate(parts)
