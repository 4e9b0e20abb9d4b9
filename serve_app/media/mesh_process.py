"""Reading of meshes in a child process, which holds one file and sends nothing but arrays."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.errors import Problem
from serve_app.media.child import Child, Message, child_main, inheritable
from serve_app.media.confinement import ChildLimits
from serve_app.media.mesh_loading import LoadedMesh, MeshFacts, Up
from serve_app.media.mesh_parts import MeshLimits
from serve_app.media.meshes import Material, Mesh

__all__ = ["LoadedMesh", "MeshFacts", "MeshLimits", "Up", "load", "load_now"]

_MODULE = "serve_app.media.mesh_process"
_START_S = 30.0
"""For Python and its modules on a busy machine."""


async def load(file: str | int, limits: MeshLimits | None = None, up: Up | None = None) -> LoadedMesh:
    """The mesh in ``file``, a path or an open descriptor of a regular file; ``up`` overrides the format's up axis.

    Raises ``Problem`` as ``mesh_loading.read_mesh`` does, and ``undecodable_media`` where the child dies or is late.
    """
    limits = limits or MeshLimits()
    with inheritable(file) as descriptor:
        rules = ChildLimits(limits.max_memory_mb, int(limits.max_load_s + _START_S) + 1)
        async with await Child.start(_MODULE, (descriptor,), rules, limits.max_load_s + _START_S) as child:
            await child.send({"file": descriptor, "limits": asdict(limits), "up": up})
            message = await child.receive()
    if message is None:
        raise Problem("internal", "the process that reads meshes ended without an answer")
    return await asyncio.to_thread(_rebuilt, message, limits)


def load_now(file: str | int, limits: MeshLimits | None = None, up: Up | None = None) -> LoadedMesh:
    """As :func:`load`, where no event loop runs."""
    return asyncio.run(load(file, limits, up))


def _rebuilt(message: Message, limits: MeshLimits) -> LoadedMesh:
    """The mesh out of a child's message, which a hostile file may have dictated: whatever it says is checked."""
    header = message.header
    # Copied one by one, as what came is read-only and large.
    blobs = {name: np.array(message.blobs.pop(name)) for name in [*message.blobs]}
    try:
        materials = tuple(
            Material(**{**item, "colour": tuple(item["colour"]), "texture": blobs.get(str(item["texture"]))})
            for item in header["materials"]
        )
        mesh = Mesh(
            blobs["vertices"], blobs["faces"], blobs.get("normals"), blobs.get("uvs"), blobs.get("colours"),
            blobs.get("face_materials"), materials,
        )  # fmt: skip
        facts = {**header["facts"], "size": tuple(header["facts"]["size"]), "notes": tuple(header["facts"]["notes"])}
        _check(mesh, limits)
        loaded = LoadedMesh(mesh, MeshFacts(**facts))
        if (loaded.facts.triangles, loaded.facts.vertices) != (len(mesh.faces), len(mesh.vertices)):
            raise ValueError("the facts are of another mesh")
        return loaded
    except (KeyError, TypeError, ValueError) as error:
        raise Problem("undecodable_media", "the process that read the mesh answered with no mesh") from error


def _check(mesh: Mesh, limits: MeshLimits) -> None:
    """Raises ``ValueError`` unless ``mesh`` is what its type promises."""
    count, corners = len(mesh.faces), (len(mesh.faces), 3)
    _check_array(mesh.vertices, np.float32, (len(mesh.vertices), 3))
    _check_array(mesh.faces, np.int32, corners, (0, len(mesh.vertices) - 1))
    _check_array(mesh.normals, np.float32, (*corners, 3))
    _check_array(mesh.uvs, np.float32, (*corners, 2))
    _check_array(mesh.colours, np.uint8, (*corners, 4))
    _check_array(mesh.face_materials, np.int32, (count,), (0, len(mesh.materials) - 1))
    for material in mesh.materials:
        shares = [*material.colour, material.cutoff]
        if (
            len(shares) != 5
            or material.alpha not in ("opaque", "mask", "blend")
            or not all(0 <= x <= 1 for x in shares)
        ):
            raise ValueError("a material is none")
        if material.texture is not None:
            _check_array(material.texture, np.uint8, (*material.texture.shape[:2], 4))
    if not 0 < count <= limits.max_triangles or not mesh.materials:
        raise ValueError("there are too many triangles, or none")


def _check_array(
    array: NDArray[Any] | None, kind: type[np.generic], shape: tuple[int, ...], bounds: tuple[int, int] | None = None
) -> None:
    if array is None:
        return
    if array.dtype != kind or array.shape != shape or not array.size:
        raise ValueError("an array has the wrong shape")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("an array has numbers that are not finite")
    if bounds and not bounds[0] <= array.min() <= array.max() <= bounds[1]:
        raise ValueError("an index is out of range")


def _handle(request: Message, send: Callable[..., None]) -> None:
    """In the child: reads the one file."""
    from serve_app.media.mesh_loading import read_mesh

    header = request.header
    # The descriptor by its path, so that it is read from its start, whatever was read of it before.
    answer = read_mesh(f"/proc/self/fd/{header['file']}", MeshLimits(**header["limits"]), header["up"])
    mesh = answer.mesh
    textures: dict[int, str] = {}
    blobs: dict[str, NDArray[Any]] = {}
    materials = []
    for item in mesh.materials:
        name = None
        if item.texture is not None:
            name = textures.setdefault(id(item.texture), f"texture_{len(textures)}")
            blobs[name] = item.texture
        values = {field.name: getattr(item, field.name) for field in fields(item)}
        materials.append({**values, "texture": name})
    arrays = {name: getattr(mesh, name) for name in
              ("vertices", "faces", "normals", "uvs", "colours", "face_materials")}  # fmt: skip
    blobs.update({name: array for name, array in arrays.items() if array is not None})
    send({"materials": materials, "facts": asdict(answer.facts)}, **blobs)


if __name__ == "__main__":
    sys.exit(child_main(_handle))
