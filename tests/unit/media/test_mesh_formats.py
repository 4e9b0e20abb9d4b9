"""OBJ, PLY, OFF and STL as tools write them, and zips of them: shapes and colours known from the text itself."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from serve_app.errors import Problem
from serve_app.media.mesh_parts import MeshLimits
from tests import meshes

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
UPRIGHT = {(-1, 1, 0): RED, (1, 1, 0): GREEN, (-1, -1, 0): BLUE, (1, -1, 0): WHITE}
PENTAGON = "0 0 0\n2 0 0\n2 1 0\n1 2 0\n0 1 0\n"
AREA = 3.0
"""Of the pentagon: a square of 2 x 1 and a triangle of 2 x 1."""


def area(loaded: meshes.LoadedMesh) -> float:
    """In the file's units."""
    a, b, c = (loaded.mesh.vertices[loaded.mesh.faces[:, corner]] for corner in range(3))
    scale = max(loaded.facts.size) / float(np.ptp(loaded.mesh.vertices, axis=0).max())
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2 * scale**2


def refused(data: bytes, words: str, code: str = "undecodable_media", limits: MeshLimits | None = None) -> None:
    with pytest.raises(Problem, match=words) as caught:
        meshes.read(data, limits=limits)
    assert caught.value.code == code


# OBJ


def obj(text: str, **files: bytes) -> meshes.LoadedMesh:
    if not files:
        return meshes.read(text.encode())
    return meshes.read(meshes.zipped({"m.obj": text.encode(), **{n.replace("_", "."): d for n, d in files.items()}}))


def test_a_zip_brings_materials_and_textures() -> None:
    loaded = meshes.read(meshes.zipped(meshes.obj_files()))
    assert (loaded.facts.format, loaded.facts.media_type) == ("obj", "application/zip")
    assert (loaded.facts.textured, loaded.facts.notes) == (True, ())
    assert meshes.painted(loaded.mesh) == UPRIGHT


def test_an_obj_alone_is_drawn_without_and_says_so() -> None:
    loaded = meshes.read(meshes.obj_files()["square.obj"])
    assert not loaded.facts.textured
    assert loaded.facts.notes == ("material file square.mtl is missing: drawn without",)
    files = meshes.obj_files()
    del files["square.png"]
    assert meshes.read(meshes.zipped(files)).facts.notes == ("texture square.png is missing: drawn without",)


@pytest.mark.parametrize(
    "line", ["map_Kd square.png", "map_kd -s 1 1 1 -o 0 0 square.png", "map_Kd C:\\tex\\SQUARE.PNG"]
)
def test_textures_are_found_as_exporters_name_them(line: str) -> None:
    files = meshes.obj_files()
    files["square.mtl"] = f"newmtl paint\n{line}\n".encode()
    assert meshes.painted(meshes.read(meshes.zipped(files)).mesh) == UPRIGHT


def test_faces_keep_the_materials_of_their_groups() -> None:
    points = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
    text = f"mtllib a.mtl b.mtl\n{points}usemtl red one\nf 1 2 3\nusemtl glass\nf 1 2 4\nf 1 3 4\n"
    loaded = obj(text, a_mtl=b"newmtl red one\nKd 1 0 0\n", b_mtl=b"newmtl glass\nKd 0 .5 1\nd .25\n")
    assert loaded.mesh.face_materials is not None
    used, numbers = np.unique(loaded.mesh.face_materials, return_counts=True)
    counts = {loaded.mesh.materials[index].colour: int(n) for index, n in zip(used, numbers, strict=True)}
    assert counts == {(1.0, 0.0, 0.0, 1.0): 1, (0.0, 0.5, 1.0, 0.25): 2}
    assert {material.alpha for material in loaded.mesh.materials} == {"opaque", "blend"}


@pytest.mark.parametrize(
    "faces",
    [
        "f 1 2 3 4 5",
        "f 1 2 3\nf 1 3 4 5",
        "f 1/1 2/1 3/1 4/1\nf 1/1 4/1 5/1",
        "f -5 -4 -3 -2 -1",
        "  f   1//1   2//1\t3//1 4//1 5//1 ",
        "f 1 2 3 \\\n4 5",
        "# five corners\nf 1 2 3 4 5 # as one",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_polygons_of_any_notation(faces: str, end: str) -> None:
    text = "\n".join(f"v {line}" for line in PENTAGON.split("\n")[:5]) + "\nvt 0 0\nvn 0 0 1\n" + faces + "\n"
    loaded = meshes.read(text.replace("\n", end).encode())
    assert loaded.facts.triangles == 3
    assert area(loaded) == pytest.approx(AREA)


def test_relative_corners_count_from_their_line() -> None:
    first = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\n"
    loaded = meshes.read((first + first.replace("v 0 0 0\nv 1 0 0\nv 0 1 0", "v 0 0 9\nv 1 0 9\nv 0 1 9")).encode())
    assert loaded.facts.size == pytest.approx((1, 1, 9))
    refused(b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf -4 -2 -1\n", "before the first vertex")


def test_vertex_colours_of_an_obj() -> None:
    loaded = obj("v 0 0 0 1 0 0\nv 1 0 0 1 0 0\nv 0 1 0 1 0 0\nf 1 2 3\n")
    assert loaded.mesh.colours is not None
    assert (loaded.mesh.colours == (255, 0, 0, 255)).all()


def test_given_normals_are_kept_and_impossible_ones_replaced() -> None:
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvn 0 3 4\nvn 0 0 0\nf 1//1 2//1 3//2\n"
    mesh = obj(text).mesh
    assert mesh.normals is not None
    assert mesh.normals[0] == pytest.approx(np.array([(0, 0.6, 0.8), (0, 0.6, 0.8), (0, 0, 1)]), abs=1e-6)


def test_a_cut_out_texture_lets_through() -> None:
    texture = np.concatenate([meshes.quarters(), np.array([[[255], [0]], [[255], [255]]], np.uint8)], axis=2)
    files = meshes.obj_files(texture)
    (material,) = meshes.read(meshes.zipped(files)).mesh.materials
    assert material.alpha == "blend"
    assert material.texture is not None
    assert material.texture[:, :, 3].tolist() == [[255, 0], [255, 255]]


def test_a_second_picture_may_cut_holes() -> None:
    files = meshes.obj_files()
    files["square.mtl"] += b"map_d holes.png\n"
    files["holes.png"] = meshes.png(np.array([[0, 255, 255, 255], [0, 0, 255, 255]], np.uint8))
    (material,) = meshes.read(meshes.zipped(files)).mesh.materials
    assert material.alpha == "blend"
    assert material.texture is not None
    assert material.texture[:, :, 3].tolist() == [[0, 255], [0, 255]]
    files["square.mtl"] = b"newmtl paint\nmap_d holes.png\n"
    (material,) = meshes.read(meshes.zipped(files)).mesh.materials
    assert material.texture is not None
    assert material.texture[0].tolist() == [[255, 255, 255, 0], *[[255, 255, 255, 255]] * 3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "malformed|does not exist"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf a b c\n", "malformed|no |nothing"),
        ("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "without area"),
        ("v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "at one point"),
        ("v 1 2 3\n", "single point"),
        ("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not numbers|unknown|not a mesh"),
        ("v 0 0 0\nv 1 0 0\nv inf 1 0\nf 1 2 3\n", "not numbers"),
    ],
)
def test_an_obj_with_nothing_to_draw_is_refused(text: str, words: str) -> None:
    with pytest.raises(Problem, match=words):
        obj(text)


# PLY


def ply(body: bytes, header: str, encoding: str = "ascii") -> bytes:
    return f"ply\nformat {encoding} 1.0\n{header}end_header\n".encode() + body


XYZ = "property float x\nproperty float y\nproperty float z\n"
LIST = "property list uchar int vertex_indices\n"


@pytest.mark.parametrize("faces", ["5 0 1 2 3 4\n", "3 0 1 2\n4 0 2 3 4\n"])
def test_ascii_ply_polygons(faces: str) -> None:
    count = faces.count("\n")
    data = ply((PENTAGON + faces).encode(), f"element vertex 5\n{XYZ}element face {count}\n{LIST}")
    assert area(meshes.read(data)) == pytest.approx(AREA)


@pytest.mark.parametrize("endian", ["<", ">"])
def test_binary_ply_with_polygons_of_several_sizes(endian: str) -> None:
    points = np.array([line.split() for line in PENTAGON.split("\n")[:5]], f"{endian}f4")
    faces = struct.pack(f"{endian}fB3iB", 0.5, 3, 0, 1, 2, 7) + struct.pack(f"{endian}fB4iB", 0.5, 4, 0, 2, 3, 4, 7)
    header = f"element vertex 5\n{XYZ}element face 2\nproperty float quality\n{LIST}property uchar flags\n"
    encoding = "binary_little_endian" if endian == "<" else "binary_big_endian"
    data = ply(points.tobytes() + faces, header, encoding)
    assert area(meshes.read(data)) == pytest.approx(AREA)
    refused(data[:-3], "cut off")


def test_sizes_of_polygons_that_only_add_up_to_the_first_are_told_apart() -> None:
    """4 + 3 + 5 corners take as many bytes as 3 x 4."""
    points = np.array([line.split() for line in PENTAGON.split("\n")[:5]], "<f4")
    faces = b"".join(struct.pack(f"<B{len(face)}i", len(face), *face) for face in ((0, 1, 2, 4), (0, 1, 2), range(5)))
    data = ply(points.tobytes() + faces, f"element vertex 5\n{XYZ}element face 3\n{LIST}", "binary_little_endian")
    loaded = meshes.read(data)
    assert loaded.facts.triangles == 6
    assert area(loaded) == pytest.approx(2 + 1 + AREA)


def test_face_colours_of_a_ply() -> None:
    header = (
        f"element vertex 5\n{XYZ}element face 1\n{LIST}property uchar red\nproperty uchar green\nproperty uchar blue\n"
    )
    mesh = meshes.read(ply((PENTAGON + "5 0 1 2 3 4 9 8 7\n").encode(), header)).mesh
    assert mesh.colours is not None
    assert mesh.colours.shape == (3, 3, 4)
    assert (mesh.colours == (9, 8, 7, 255)).all()


def test_a_ply_names_its_texture() -> None:
    vertex = f"element vertex 4\n{XYZ}property float s\nproperty float t\n"
    header = f"comment TextureFile wall.png\n{vertex}element face 1\n{LIST}"
    data = ply(b"-1 -1 0 0 0\n1 -1 0 1 0\n1 1 0 1 1\n-1 1 0 0 1\n4 0 1 2 3\n", header)
    files = {"m.ply": data, "wall.png": meshes.png(meshes.quarters())}
    assert meshes.painted(meshes.read(meshes.zipped(files)).mesh) == UPRIGHT
    assert meshes.read(data).facts.notes == ("texture wall.png is missing: drawn without",)


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian"])
def test_a_ply_may_have_texture_coordinates_at_its_corners(encoding: str) -> None:
    points = [(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)]
    faces = [((0, 1, 2), (0, 0, 1, 0, 1, 1)), ((0, 2, 3), (0, 0, 1, 1, 0, 1))]
    if encoding == "ascii":
        rows = [*points, *((3, *face, 6, *uv) for face, uv in faces)]
        data = "".join(" ".join(map(str, row)) + "\n" for row in rows).encode()
    else:
        data = np.array(points, "<f4").tobytes()
        data += b"".join(struct.pack("<B3iB6f", 3, *face, 6, *uv) for face, uv in faces)
    face = f"element face 2\n{LIST}property list uchar float texcoord\n"
    header = f"comment TextureFile wall.png\nelement vertex 4\n{XYZ}{face}"
    files = {"m.ply": ply(data, header, encoding), "wall.png": meshes.png(meshes.quarters())}
    assert meshes.painted(meshes.read(meshes.zipped(files)).mesh) == UPRIGHT


def test_points_are_drawn_as_splats_in_their_colours() -> None:
    header = f"element vertex 27\n{XYZ}property uchar red\nproperty uchar green\nproperty uchar blue\n"
    grid = "".join(f"{x} {y} {z} 200 100 50\n" for x in range(3) for y in range(3) for z in range(3))
    loaded = meshes.read(ply(grid.encode(), header))
    assert (loaded.facts.points, loaded.facts.triangles) == (27, 27 * 8)
    assert loaded.mesh.colours is not None
    assert (loaded.mesh.colours == (200, 100, 50, 255)).all()
    assert meshes.volume(loaded.mesh) > 0
    refused(ply(grid.encode(), header), "27 points", "too_large", MeshLimits(max_points=26))


def test_many_points_are_sampled_the_same_way_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.media.mesh_points.MAX_SPLATS", 100)
    points = np.random.default_rng(0).random((150, 3)).astype("<f4")
    data = ply(points.tobytes(), f"element vertex 150\n{XYZ}", "binary_little_endian")
    first, second = meshes.read(data), meshes.read(data)
    assert (first.facts.points, first.facts.triangles) == (150, 800)
    assert np.array_equal(first.mesh.vertices, second.mesh.vertices)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (f"element vertex 1000000000\n{XYZ}", "more than it can hold"),
        (f"element vertex 5\n{XYZ}element face 1000000000\n{LIST}", "more than it can hold"),
        (
            f"element vertex 5\n{XYZ}element face 1\nproperty list int int vertex_indices\n",
            "malformed|not exist|cut off|corner",
        ),
        ("element vertex 5\n", "malformed|no vertices"),
    ],
)
@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian"])
def test_a_ply_that_promises_too_much_is_refused(header: str, words: str, encoding: str) -> None:
    refused(ply(PENTAGON.encode() + b"\xff\xff\xff\x7f", header, encoding), words)


# OFF


@pytest.mark.parametrize(
    "text",
    [
        f"OFF\n5 1 0\n{PENTAGON}5 0 1 2 3 4\n",
        f"OFF 5 2 0\n{PENTAGON}3 0 1 2\n4 0 2 3 4\n",
        f"# a comment\nOFF # more\n\n5 1 0\n{PENTAGON}5  0 1 2 3 4  # the face\n",
        "NOFF\n5 1 0\n" + PENTAGON.replace("\n", " 0 0 1\n") + "5 0 1 2 3 4\n",
    ],
)
def test_off_polygons(text: str) -> None:
    assert area(meshes.read(text.encode())) == pytest.approx(AREA)


@pytest.mark.parametrize("colour", ["10 20 30", "10 20 30 255"])
def test_colours_of_off_faces_and_vertices(colour: str) -> None:
    by_face = meshes.read(f"OFF\n5 1 0\n{PENTAGON}5 0 1 2 3 4 {colour}\n".encode()).mesh.colours
    coloured = PENTAGON.replace("\n", f" {colour}\n")
    by_vertex = meshes.read(f"COFF\n5 1 0\n{coloured}5 0 1 2 3 4\n".encode()).mesh.colours
    for colours in (by_face, by_vertex):
        assert colours is not None
        assert (colours == (10, 20, 30, 255)).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"OFF\n1000000000 1 0\n{PENTAGON}5 0 1 2 3 4\n", "holds 6 lines"),
        (f"OFF\n5 2 0\n{PENTAGON}5 0 1 2 3 4\n", "declares"),
        (f"OFF\n5 1 0\n{PENTAGON}5 0 1 2 3 5\n", "does not exist"),
        (f"OFF\n5 1 0\n{PENTAGON}5 0 1 2 3 -1\n", "does not exist"),
        (f"OFF\n5 1 0\n{PENTAGON}2 0 1\n", "none has three corners"),
        (f"4OFF\n5 1 0\n{PENTAGON}5 0 1 2 3 4\n", "three dimensions"),
        ("OFF BINARY\nxx\n", "binary"),
        ("OFF\nno numbers\n", "no counts"),
    ],
)
def test_a_broken_off_is_refused(text: str, words: str) -> None:
    refused(text.encode(), words)


# STL


def test_stl_corners_at_one_place_are_one_vertex() -> None:
    loaded = meshes.read(meshes.file(meshes.solid("sphere"), "stl"))
    assert (loaded.facts.triangles, loaded.facts.vertices) == (1280, 642)
    normals = loaded.mesh.normals
    assert normals is not None
    away = (normals * loaded.mesh.vertices[loaded.mesh.faces]).sum(axis=2)
    assert away.min() > 0.99  # smooth: nearly those of the ideal sphere


def test_stl_stands_on_z_unless_told_otherwise() -> None:
    data = meshes.file(meshes.solid("box", extents=(1, 2, 3)), "stl")
    assert meshes.read(data).facts.size == pytest.approx((1, 3, 2))
    assert meshes.read(data, up="y").facts.size == pytest.approx((1, 2, 3))
    glb = meshes.file(meshes.solid("box", extents=(1, 2, 3)), "glb")
    assert meshes.read(glb, up="z").facts.size == pytest.approx((1, 3, 2))


def test_what_was_on_top_stays_on_top() -> None:
    """A cone along Z, its tip up: turned, the tip is at the largest Y, and it is not mirrored."""
    cone = meshes.trimesh.creation.cone(radius=1, height=2)
    mesh = meshes.read(meshes.file(cone, "stl")).mesh
    tip = mesh.vertices[mesh.vertices[:, 1].argmax()]
    assert tip[[0, 2]] == pytest.approx((0, 0), abs=1e-6)
    assert (mesh.vertices[:, 1] > tip[1] - 1e-4).sum() == 1
    assert meshes.volume(mesh) > 0


@pytest.mark.parametrize("count", [0, 10**9])
def test_an_stl_whose_count_lies_is_no_stl(count: int) -> None:
    data = bytearray(meshes.file(meshes.solid("box"), "stl"))
    data[80:84] = struct.pack("<I", count)
    refused(bytes(data), "not a mesh", "unsupported_media")


# all


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
@pytest.mark.parametrize("kind", ["glb", "obj", "ply", "stl"])
def test_scale_does_not_matter(kind: str, scale: float) -> None:
    solid = meshes.solid("box", extents=(1, 2, 3))
    solid.apply_scale(scale)
    if kind == "obj":
        data = "".join(f"v {x:.9e} {y:.9e} {z:.9e}\n" for x, y, z in solid.vertices).encode()
        data += b"".join(b"f %d %d %d\n" % tuple(face + 1) for face in solid.faces)
    else:
        data = meshes.file(solid, kind)
    loaded = meshes.read(data)
    assert loaded.facts.triangles == 12
    assert abs(meshes.volume(loaded.mesh)) == pytest.approx(6 * (2 / np.sqrt(14)) ** 3, rel=1e-4)


def test_a_few_faces_of_no_numbers_are_dropped_and_many_refused() -> None:
    solid = meshes.solid("sphere")
    solid.vertices[0] = np.nan  # of 6 or 5 faces among 1280
    gltf = meshes.Gltf()
    gltf.add_mesh({"POSITION": solid.vertices}, solid.faces.ravel())
    assert meshes.read(gltf.glb()).facts.triangles in (1274, 1275)
    solid.vertices[:20] = np.inf
    gltf = meshes.Gltf()
    gltf.add_mesh({"POSITION": solid.vertices}, solid.faces.ravel())
    refused(gltf.glb(), "not numbers")


def test_too_many_triangles_are_refused_before_they_are_parsed() -> None:
    for kind in ("glb", "obj", "ply", "off", "stl", "stl_ascii"):
        refused(meshes.file(meshes.solid("box"), kind), "12 triangles", "too_large", MeshLimits(max_triangles=11))


def test_an_stl_with_facets_that_cannot_be_read_is_refused() -> None:
    text = meshes.file(meshes.solid("box"), "stl_ascii")
    assert meshes.read(text).facts.triangles == 12
    refused(text.replace(b"vertex", b"vortex", 3), "not all of which")
    refused(text.replace(b"vertex ", b"vertex x", 1), "malformed|not all of which")
