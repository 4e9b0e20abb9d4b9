"""Skinned meshes of a glTF in the pose that its nodes have at rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from serve_app.media.gltf_buffers import Buffers, Tree
from serve_app.media.mesh_parts import Doubles, Surface, broken


def posed(surface: Surface, attributes: Tree, skin: Tree, buffers: Buffers, worlds: Mapping[int, Doubles]) -> Surface:
    """``surface`` in the world: each vertex moved by its joints (glTF 2.0, section 3.7.3.3).

    ``worlds`` are the transforms of the nodes. Where the primitive has no weights, it follows its first joint.
    """
    joints = skin.get("joints")
    if not isinstance(joints, list) or not joints or not all(joint in worlds for joint in joints):
        raise broken("gltf", "has a skin whose joints are not in its scene")
    matrices = np.stack([worlds[joint] for joint in joints])
    if "inverseBindMatrices" in skin:
        inverse = buffers.array(skin["inverseBindMatrices"])
        if inverse.shape[1] != 16 or len(inverse) < len(joints):
            raise broken("gltf", "has a skin with fewer matrices than joints")
        matrices = matrices @ inverse[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)
    count = len(surface.vertices)
    index, weights = np.zeros((count, 1), np.int64), np.ones((count, 1))
    if "JOINTS_0" in attributes and "WEIGHTS_0" in attributes:
        index, weights = buffers.array(attributes["JOINTS_0"]), buffers.array(attributes["WEIGHTS_0"])
    fits = index.shape == weights.shape and len(index) == count and index.dtype.kind == "i"
    if not fits or index.max(initial=0) >= len(joints):
        raise broken("gltf", "has weights of joints that do not fit its vertices")
    weights = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    vertices = np.zeros_like(surface.vertices)
    normals = None if surface.normals is None else np.zeros_like(surface.normals)
    for column in range(index.shape[1]):
        moves, share = matrices[index[:, column]], weights[:, column, None]
        vertices += share * (np.einsum("vij,vj->vi", moves[:, :3, :3], surface.vertices) + moves[:, :3, 3])
        if normals is not None and surface.normals is not None:
            turns = (share[:, :, None] * moves[:, :3, :3])[surface.faces]
            normals += np.einsum("fcij,fcj->fci", turns, surface.normals)
    return replace(surface, vertices=vertices, normals=normals)
