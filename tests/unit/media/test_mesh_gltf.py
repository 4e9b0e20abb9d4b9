"""glTF put together by hand: what its specification says must be seen, and what must be refused."""

from __future__ import annotations

import json
import math
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest

from serve_app.errors import Problem
from serve_app.media.mesh_parts import MeshLimits
from tests import meshes
from tests.meshes import Gltf

SQUARE = [(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)]
TWO = [0, 1, 2, 0, 2, 3]
# glTF's v runs downwards: the lower left corner of the square has (0, 1).
UVS = [(0, 1), (1, 1), (1, 0), (0, 0)]
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
UPRIGHT = {(-1, 1, 0): RED, (1, 1, 0): GREEN, (-1, -1, 0): BLUE, (1, -1, 0): WHITE}


def box() -> Gltf:
    gltf = Gltf()
    solid = meshes.solid("box")
    gltf.add_mesh({"POSITION": solid.vertices}, solid.faces.ravel())
    return gltf


def square(**material: Any) -> Gltf:
    gltf = Gltf()
    gltf.add_mesh({"POSITION": SQUARE, "TEXCOORD_0": UVS}, TWO, material)
    return gltf


def refused(gltf: Gltf | bytes, words: str, code: str = "undecodable_media", limits: MeshLimits | None = None) -> None:
    with pytest.raises(Problem, match=words) as caught:
        meshes.read(gltf if isinstance(gltf, bytes) else gltf.glb(), limits=limits)
    assert caught.value.code == code


def test_transforms_of_nested_nodes_apply_from_the_inside_out() -> None:
    gltf = Gltf()
    gltf.add_mesh({"POSITION": [(0, 0, 0), (1, 0, 0), (0, 1, 0)]}, [0, 1, 2])
    half = math.sqrt(0.5)
    gltf.tree["nodes"] = [
        {"children": [1], "translation": [0, 0, 5]},
        {"mesh": 0, "rotation": [0, half, 0, half], "scale": [4, 2, 1]},  # a quarter turn about Y: x becomes -z
    ]
    loaded = meshes.read(gltf.glb())
    assert loaded.facts.size == pytest.approx((0, 2, 4), abs=1e-6)
    # The corners (0, 0, 5), (0, 0, 1), (0, 2, 5), about the middle of their box, over half its diagonal.
    expected = np.array([(0, -1, 2), (0, -1, -2), (0, 1, 2)]) / math.sqrt(5)
    assert loaded.mesh.vertices == pytest.approx(expected, abs=1e-6)


def test_a_matrix_is_stored_by_columns() -> None:
    gltf = box()
    gltf.tree["nodes"][0]["matrix"] = [0, 3, 0, 0, -1, 0, 0, 0, 0, 0, 1, 0, 7, 0, 0, 1]
    assert meshes.read(gltf.glb()).facts.size == pytest.approx((1, 3, 1))


@pytest.mark.parametrize("scale", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (-2, -1, -1)])
@pytest.mark.parametrize("normals", [True, False])
def test_fronts_stay_in_front_in_a_mirror(scale: tuple[float, ...], normals: bool) -> None:
    solid = meshes.solid("sphere")
    gltf = Gltf()
    attributes = {"POSITION": solid.vertices, **({"NORMAL": solid.vertices} if normals else {})}
    gltf.add_mesh(attributes, solid.faces.ravel(), scale=list(scale))
    mesh = meshes.read(gltf.glb()).mesh
    assert meshes.volume(mesh) > 0
    assert mesh.normals is not None
    outwards = (mesh.normals * mesh.vertices[mesh.faces]).sum(axis=2)
    assert outwards.min() > 0.3


def test_instances_are_drawn_each_and_counted() -> None:
    gltf = box()
    for at in (3, 6):
        gltf.add_node(mesh=0, translation=[at, 0, 0])
    facts = meshes.read(gltf.glb()).facts
    assert (facts.triangles, facts.bodies) == (36, 3)
    assert facts.size == pytest.approx((7, 1, 1))


def test_shared_vertices_are_not_copied_for_each_of_many_primitives() -> None:
    gltf = Gltf()
    position = gltf.add_array(np.random.default_rng(0).random((20_000, 3)))
    indices = gltf.add_array([7, 77, 777], np.uint32)
    gltf.add("meshes", {"primitives": [{"attributes": {"POSITION": position}, "indices": indices}] * 1000})
    gltf.add_node(mesh=0)
    data = gltf.glb()
    tracemalloc.start()
    assert meshes.read(data).facts.triangles == 1000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # a copy for each would take 480 MB


def test_triangles_without_area_do_not_count_for_the_size() -> None:
    gltf = Gltf()
    gltf.add_mesh({"POSITION": [*SQUARE, (900, 0, 0)]}, [*TWO, 4, 4, 4, 0, 4, 4])
    loaded = meshes.read(gltf.glb())
    assert (loaded.facts.triangles, loaded.facts.vertices) == (2, 4)
    assert loaded.facts.size == pytest.approx((2, 2, 0))
    assert np.linalg.norm(loaded.mesh.vertices, axis=1) == pytest.approx(1)


def test_linear_factors_become_display_colours() -> None:
    gltf = square(pbrMetallicRoughness={"baseColorFactor": [0.5, 0.2140, 0.0021, 0.25]}, alphaMode="BLEND")
    (material,) = meshes.read(gltf.glb()).mesh.materials
    # IEC 61966-2-1: linear .5 is .7354, linear .2140 is .5, below .0031 it is a line of slope 12.92.
    assert material.colour == pytest.approx((0.7354, 0.5, 0.0021 * 12.92, 0.25), abs=1e-3)
    assert (material.alpha, material.double_sided) == ("blend", False)


def test_masks_and_sides() -> None:
    (material,) = meshes.read(square(alphaMode="MASK", alphaCutoff=0.3, doubleSided=True).glb()).mesh.materials
    assert (material.alpha, material.cutoff, material.double_sided) == ("mask", 0.3, True)


def test_textures_stand_upright() -> None:
    gltf = square(pbrMetallicRoughness={"baseColorTexture": {"index": 0}})
    gltf.add_texture(meshes.quarters())
    loaded = meshes.read(gltf.glb())
    assert loaded.facts.textured
    assert meshes.painted(loaded.mesh) == UPRIGHT


@pytest.mark.parametrize("from_extension", [True, False])
def test_a_texture_may_use_the_second_coordinates(from_extension: bool) -> None:
    reference = {"index": 0, "texCoord": 1}
    if from_extension:
        reference = {"index": 0, "texCoord": 0, "extensions": {"KHR_texture_transform": {"texCoord": 1}}}  # type: ignore[dict-item]
    gltf = square(pbrMetallicRoughness={"baseColorTexture": reference})
    gltf.tree["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_1"] = gltf.add_array(UVS[::-1])
    gltf.add_texture(meshes.quarters())
    swapped = {(x, -y, z): colour for (x, y, z), colour in UPRIGHT.items()}
    assert meshes.painted(meshes.read(gltf.glb()).mesh) == swapped


def test_a_texture_transform_moves_coordinates() -> None:
    transform = {"offset": [0.5, 0.0], "scale": [1.0, 1.0]}
    reference = {"index": 0, "extensions": {"KHR_texture_transform": transform}}
    gltf = square(pbrMetallicRoughness={"baseColorTexture": reference})
    gltf.add_texture(meshes.quarters())
    moved = {(-1, 1, 0): GREEN, (1, 1, 0): RED, (-1, -1, 0): WHITE, (1, -1, 0): BLUE}
    assert meshes.painted(meshes.read(gltf.glb()).mesh) == moved


def test_a_texture_transform_turns_the_picture_clockwise() -> None:
    """u' = u cos + v sin, v' = v cos - u sin, as CesiumGS and three.js have it: what was upper left is upper right."""
    reference = {"index": 0, "extensions": {"KHR_texture_transform": {"rotation": math.pi / 2}}}
    gltf = square(pbrMetallicRoughness={"baseColorTexture": reference})
    gltf.add_texture(meshes.quarters())
    turned = {(-1, 1, 0): BLUE, (1, 1, 0): RED, (-1, -1, 0): WHITE, (1, -1, 0): GREEN}
    assert meshes.painted(meshes.read(gltf.glb()).mesh) == turned


def test_a_zip_brings_buffers_and_pictures_with_spaces_in_their_names() -> None:
    gltf = square(pbrMetallicRoughness={"baseColorTexture": {"index": 0}})
    gltf.add("images", {"uri": "../my%20textures/wood%231.png"})
    gltf.add("textures", {"source": 0})
    files = {"m/a.gltf": gltf.gltf("a%20b.bin"), "m/a b.bin": gltf.binary}
    loaded = meshes.read(meshes.zipped({**files, "my textures/wood#1.png": meshes.png(meshes.quarters())}))
    assert (loaded.facts.format, loaded.facts.notes) == ("gltf", ())
    assert meshes.painted(loaded.mesh) == UPRIGHT


def test_of_several_meshes_in_a_zip_the_nearest_and_richest_is_taken() -> None:
    glb, obj = box().glb(), meshes.file(meshes.solid("sphere"), "obj")
    loaded = meshes.read(
        meshes.zipped({"a/deep.glb": glb, "b.stl": meshes.file(meshes.solid("box"), "stl"), "c.obj": obj})
    )
    assert (loaded.facts.format, loaded.facts.triangles) == ("obj", 1280)
    with pytest.raises(Problem, match=r"2 meshes: a\.glb, b\.glb"):
        meshes.read(meshes.zipped({"a.glb": glb, "b.glb": glb, "c.obj": obj}))


def test_a_broken_or_missing_texture_is_left_out_and_noted() -> None:
    gltf = square(pbrMetallicRoughness={"baseColorTexture": {"index": 0}})
    gltf.add("images", {"uri": "wood.png"})
    gltf.add("textures", {"source": 0})
    assert meshes.read(gltf.glb()).facts.notes == ("texture wood.png is missing: drawn without",)
    gltf.tree["images"][0] = {"uri": meshes.data_uri(b"\x89PNG\r\n\x1a\nno", "image/png")}
    loaded = meshes.read(gltf.glb())
    assert "cannot be read" in loaded.facts.notes[0]
    assert not loaded.facts.textured


def test_vertex_colours_are_linear_too() -> None:
    gltf = Gltf()
    colours = [(0.5, 0, 1), (0.5, 0, 1), (0.5, 0, 1), (0.5, 0, 1)]
    gltf.add_mesh({"POSITION": SQUARE, "COLOR_0": colours}, TWO)
    mesh = meshes.read(gltf.glb()).mesh
    assert mesh.colours is not None
    assert np.unique(mesh.colours.reshape(-1, 4), axis=0).tolist() == [[188, 0, 255, 255]]


def test_normalised_integers_are_fractions_and_sparse_values_replace() -> None:
    gltf = Gltf()
    corners = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 0)])
    position = gltf.add_array(corners, np.uint8, normalized=True)
    gltf.tree["accessors"][position]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": gltf.add_bytes(struct.pack("<H", 1)), "componentType": 5123},
        "values": {"bufferView": gltf.add_bytes(bytes((51, 0, 0)))},
    }
    gltf.add(
        "meshes",
        {"primitives": [{"attributes": {"POSITION": position}, "indices": gltf.add_array([0, 1, 2], np.uint8)}]},
    )
    gltf.add_node(mesh=0)
    assert meshes.read(gltf.glb()).facts.size == pytest.approx((0.2, 1, 0))


def test_interleaved_arrays_keep_their_stride() -> None:
    gltf = Gltf()
    rows = np.array([(*corner, 9.0, 9.0) for corner in SQUARE], np.float32)
    view = gltf.add_bytes(rows.tobytes())
    gltf.tree["bufferViews"][view]["byteStride"] = 20
    position = gltf.add("accessors", {"bufferView": view, "componentType": 5126, "count": 4, "type": "VEC3"})
    gltf.add(
        "meshes", {"primitives": [{"attributes": {"POSITION": position}, "indices": gltf.add_array(TWO, np.uint8)}]}
    )
    gltf.add_node(mesh=0)
    assert meshes.read(gltf.glb()).facts.size == pytest.approx((2, 2, 0))


@pytest.mark.parametrize(("mode", "order"), [(4, TWO), (5, [0, 1, 3, 2]), (6, [0, 1, 2, 3])])
def test_strips_and_fans_face_as_lists_do(mode: int, order: list[int]) -> None:
    for indices in (order, None):
        gltf = Gltf()
        corners = np.array(SQUARE)[order] if indices is None else SQUARE
        gltf.add_mesh({"POSITION": corners}, indices, mode=mode)
        mesh = meshes.read(gltf.glb()).mesh
        assert len(mesh.faces) == 2
        assert mesh.normals is not None
        assert mesh.normals.reshape(-1, 3) == pytest.approx(np.tile((0, 0, 1), (6, 1)))


def test_points_alone_are_a_cloud() -> None:
    gltf = Gltf()
    gltf.add_mesh({"POSITION": SQUARE, "COLOR_0": [(1, 0, 0)] * 4}, mode=0)
    loaded = meshes.read(gltf.glb())
    assert (loaded.facts.points, loaded.facts.triangles) == (4, 32)
    assert loaded.mesh.colours is not None
    assert (loaded.mesh.colours == (255, 0, 0, 255)).all()


def test_skins_move_vertices_and_not_the_node_that_has_them() -> None:
    gltf = Gltf()
    attributes = {"POSITION": SQUARE, "WEIGHTS_0": [(1, 0, 0, 0)] * 4}
    gltf.add_mesh(attributes, TWO, skin=0, scale=[50, 50, 50])
    joints = gltf.add_array([(0, 0, 0, 0), (0, 0, 0, 0), (1, 0, 0, 0), (1, 0, 0, 0)], np.uint8)
    gltf.tree["meshes"][0]["primitives"][0]["attributes"]["JOINTS_0"] = joints
    gltf.add_node(name="hip")
    gltf.add_node(name="head", translation=[0, 10, 0])
    eye, lowered = np.eye(4), np.eye(4)
    lowered[3, 1] = -4.0  # by columns: the joint was bound at y = 4, and stands at 10
    matrices = gltf.add_bytes(np.stack([eye, lowered]).astype(np.float32).tobytes())
    bind = gltf.add("accessors", {"bufferView": matrices, "componentType": 5126, "count": 2, "type": "MAT4"})
    gltf.add("skins", {"joints": [1, 2], "inverseBindMatrices": bind})
    assert meshes.read(gltf.glb()).facts.size == pytest.approx((2, 8, 0))


def test_a_file_may_hold_its_buffer_and_picture() -> None:
    gltf = square(pbrMetallicRoughness={"baseColorTexture": {"index": 0}})
    gltf.add("images", {"uri": meshes.data_uri(meshes.png(meshes.quarters()), "image/png")})
    gltf.add("textures", {"source": 0})
    assert meshes.painted(meshes.read(gltf.gltf()).mesh) == UPRIGHT


@pytest.mark.parametrize("name", ["KHR_draco_mesh_compression", "EXT_meshopt_compression"])
def test_compressed_files_are_refused_by_name(name: str) -> None:
    gltf = box()
    gltf.tree["extensionsRequired"] = [name]
    refused(gltf, "Draco" if "draco" in name else "meshopt")
    gltf = box()
    gltf.tree["meshes"][0]["primitives"][0]["extensions"] = {name: {}}
    del gltf.tree["accessors"][0]["bufferView"]
    refused(gltf, "Draco" if "draco" in name else "meshopt")


def cyclic() -> Gltf:
    gltf = box()
    gltf.tree["nodes"] = [{"children": [1]}, {"children": [2]}, {"children": [1], "mesh": 0}]
    return gltf


def test_nodes_that_are_no_tree_are_refused() -> None:
    refused(cyclic(), "reaches nodes")
    gltf = cyclic()
    gltf.tree["scenes"] = [{"nodes": [1]}]
    refused(gltf, "contain themselves")
    gltf.tree["nodes"] = [{"children": [0], "mesh": 0}]
    gltf.tree["scenes"] = [{"nodes": [0]}]
    refused(gltf, "contain themselves")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("accessors", 0, "count"), 10**9, "declares an array|beyond"),
        (("accessors", 0, "count"), -1, "where a count"),
        (("accessors", 0, "bufferView"), 99, "does not exist"),
        (("accessors", 0, "componentType"), 1, "array of type"),
        (("bufferViews", 0, "byteOffset"), 10**9, "beyond"),
        (("bufferViews", 0, "buffer"), 1, "does not exist"),
        (("meshes", 0, "primitives", 0, "indices"), 0, "does not fit|whole|index"),
        (("meshes", 0, "primitives", 0, "attributes", "POSITION"), 7, "does not exist"),
        (("meshes", 0, "primitives", 0, "material"), 7, "does not exist"),
        (("nodes", 0, "mesh"), True, "does not exist"),
        (("nodes", 0, "children"), [5], "does not exist"),
        (("nodes", 0, "scale"), [1, 2], "3 numbers"),
        (("nodes", 0, "matrix"), [float("nan")] * 16, "finite"),
        (("scene",), 4, "does not exist"),
        (("asset", "version"), "1.0", "version"),
    ],
)  # fmt: skip
def test_broken_references_are_refused(path: tuple[Any, ...], value: Any, words: str) -> None:
    gltf = box()
    place = gltf.tree
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    refused(gltf, words)


def test_indices_out_of_range_are_refused() -> None:
    gltf = Gltf()
    gltf.add_mesh({"POSITION": SQUARE}, [0, 1, 4])
    refused(gltf, "index 4 where there are 4 vertices")


def test_a_missing_buffer_is_refused_by_name() -> None:
    refused(box().gltf(uri="box.bin"), r"lacks its buffer box\.bin")
    refused(box().gltf(uri="http://example.org/box.bin"), "lacks its buffer http")
    gltf = box()
    gltf.binary = b""
    refused(gltf, "does not exist")


def test_what_is_cut_off_or_empty_is_refused() -> None:
    whole = box().glb()
    refused(whole[:-10], "cut off")
    refused(whole[:15], "within its header")
    refused(meshes.glb({"asset": {"version": "2.0"}}), "neither triangles nor points")
    refused(b"glTF" + struct.pack("<II", 1, 20) + bytes(20), "version 1")


def test_limits_are_told_before_anything_is_placed() -> None:
    gltf = box()
    for at in range(9):
        gltf.add_node(mesh=0, translation=[at, 0, 0])
    refused(gltf, "120 triangles", "too_large", MeshLimits(max_triangles=119))
    refused(gltf, "bodies", "too_large", MeshLimits(max_bodies=9))
    assert meshes.read(gltf.glb(), limits=MeshLimits(max_triangles=120, max_bodies=10)).facts.bodies == 10


def test_textures_share_the_pixels_that_they_may_have() -> None:
    gltf = square(pbrMetallicRoughness={"baseColorTexture": {"index": 0}})
    gltf.add_texture(np.zeros((64, 128, 3), np.uint8))
    for side, shape in ((4096, (64, 128)), (32, (16, 32))):
        texture = meshes.read(gltf.glb(), limits=MeshLimits(max_texture_side=side)).mesh.materials[0].texture
        assert texture is not None
        assert texture.shape == (*shape, 4)
    gltf.add("images", {"uri": "other.png"})
    texture = meshes.read(gltf.glb(), limits=MeshLimits(max_texture_total=2 * 32 * 32)).mesh.materials[0].texture
    assert texture is not None
    assert texture.shape == (16, 32, 4)


def test_json_of_a_million_brackets_is_refused() -> None:
    text = json.dumps(box().tree)[:-1].encode() + b', "extras": ' + b"[" * 100_000
    refused(text, "not JSON")
