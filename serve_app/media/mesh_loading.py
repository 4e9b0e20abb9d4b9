"""Mesh files of the common formats, told by their content, as one mesh that is ready to be drawn.

Parsers of hostile files may hang or eat the memory of their process: services call ``mesh_process.load``, which runs
this in a child.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from serve_app.errors import Problem
from serve_app.media.archives import Archive, ArchiveLimits
from serve_app.media.mesh_assembly import assemble
from serve_app.media.mesh_gltf import read_glb, read_gltf
from serve_app.media.mesh_obj import read_obj
from serve_app.media.mesh_off import read_off
from serve_app.media.mesh_parts import Companions, MeshLimits, Model
from serve_app.media.mesh_ply import read_ply
from serve_app.media.mesh_stl import read_stl
from serve_app.media.meshes import Mesh
from serve_app.media.sniff import WINDOW, sniff

Up = Literal["y", "z"]
Reader = Callable[[bytes, Companions, MeshLimits], Model]

FORMATS: dict[str, str] = {
    "model/gltf-binary": "glb",
    "model/gltf+json": "gltf",
    "model/obj": "obj",
    "model/ply": "ply",
    "model/off": "off",
    "model/stl": "stl",
}
"""Media type -> format, the first preferred where an archive holds several."""
ZIP = "application/zip"
_READERS: dict[str, Reader] = {
    "glb": read_glb, "gltf": read_gltf, "obj": read_obj, "ply": read_ply, "off": read_off, "stl": read_stl,
}  # fmt: skip


@dataclass(frozen=True)
class MeshFacts:
    """What a file holds."""

    media_type: str
    """Of the upload."""
    format: str
    """Of the mesh in it, a value of ``FORMATS``."""
    triangles: int
    vertices: int
    points: int
    """Of a cloud, which is drawn as triangles."""
    bodies: int
    size: tuple[float, float, float]
    """Extents x, y, z in the file's units, Y up."""
    textured: bool
    notes: tuple[str, ...] = ()
    """What was left out or guessed, for people."""


@dataclass(frozen=True)
class LoadedMesh:
    """A mesh as it is drawn, and what its file said."""

    mesh: Mesh
    """About the origin, in the unit sphere, Y up."""
    facts: MeshFacts


def read_mesh(path: str, limits: MeshLimits, up: Up | None = None) -> LoadedMesh:
    """The mesh in the file at ``path``; ``up`` is the axis that points up there where it is not the format's.

    Raises ``Problem``: ``unsupported_media``, ``too_large`` or ``undecodable_media``.
    """
    with open(path, "rb") as file:
        head = file.read(WINDOW)
        media_type = sniff(head)
        if media_type == ZIP:
            return _read_archive(path, limits, up)
        data = head + file.read()
    if not data:
        raise Problem("undecodable_media", "the file is empty: 0 bytes")
    media_type = sniff(data)
    form = FORMATS.get(media_type or "")
    if media_type is None or form is None:
        raise Problem("unsupported_media", f"{media_type or 'unknown content'} is not a mesh that is read here")
    return _loaded(_parse(form, data, lambda name: None, limits), media_type, form, limits, up)


def _read_archive(path: str, limits: MeshLimits, up: Up | None) -> LoadedMesh:
    """The one mesh in a zip, which sees no other files than those beside it there."""
    with Archive(path, ArchiveLimits(limits.max_archive_files, limits.max_archive_mb)) as archive:
        name, form = _the_mesh(archive)
        folder = posixpath.dirname(name)

        def companion(reference: str) -> bytes | None:
            found = archive.find(reference, folder)
            return None if found is None else archive.read(found)

        return _loaded(_parse(form, archive.read(name), companion, limits), ZIP, form, limits, up)


def _the_mesh(archive: Archive) -> tuple[str, str]:
    """Name and format of the mesh that is nearest to the root; of several there, of the format preferred most."""
    order = list(FORMATS.values())
    found = []
    for name in archive.names:
        head = archive.read(name, WINDOW)
        media_type = sniff(head)
        if media_type == "model/stl" and b"\0" in head and archive.size(name) != 84 + 50 * _facets(head):
            continue  # any numbers may look like the start of an STL: its length tells
        if media_type in FORMATS:
            form = FORMATS[media_type]
            found.append(((name.count("/"), order.index(form)), name, form))
    if not found:
        raise Problem("undecodable_media", "the archive holds no mesh: none of its files is " + ", ".join(order))
    place = min(found)[0]
    names = [name for at, name, _ in found if at == place]
    if len(names) > 1:
        listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise Problem("undecodable_media", f"the archive holds {len(names)} meshes: {listed[:300]}", "upload one mesh")
    return names[0], order[place[1]]


def _facets(head: bytes) -> int:
    return int.from_bytes(head[80:84], "little")


def _parse(form: str, data: bytes, files: Companions, limits: MeshLimits) -> Model:
    """The parts of a file. Whatever a parser raises on odd bytes becomes a ``Problem``."""
    try:
        return _READERS[form](data, files, limits)
    except (Problem, MemoryError):
        raise
    except Exception as error:
        what = str(error).partition("\n")[0][:200] or type(error).__name__
        raise Problem("undecodable_media", f"the {form.upper()} is malformed: {what}") from error


def _loaded(model: Model, media_type: str, form: str, limits: MeshLimits, up: Up | None) -> LoadedMesh:
    z_up = up == "z" if up else form == "stl"
    mesh, size = assemble(model, z_up, limits)
    facts = MeshFacts(
        media_type=media_type,
        format=form,
        triangles=len(mesh.faces),
        vertices=len(mesh.vertices),
        points=model.points,
        bodies=model.bodies,
        size=size,
        textured=any(material.texture is not None for material in mesh.materials),
        notes=model.notes,
    )
    return LoadedMesh(mesh, facts)
