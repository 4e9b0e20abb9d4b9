"""Hostile meshes: nothing outside an upload is read, whatever is mangled is a clear answer, and the caller lives on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.errors import Problem
from serve_app.media import child, mesh_process
from serve_app.media.mesh_loading import read_mesh
from serve_app.media.mesh_parts import MeshLimits
from tests import meshes
from tests.meshes import Gltf


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an upload in it, beside and above files that no upload may read."""
    (tmp_path / "secret.mtl").write_text("newmtl paint\nKd 0.123 0.456 0.789\n")
    (tmp_path / "secret.png").write_bytes(meshes.png(np.full((2, 2, 3), 77, np.uint8)))
    (tmp_path / "secret.bin").write_bytes(np.zeros(9, np.float32).tobytes())
    place = tmp_path / "uploads"
    place.mkdir()
    for name in ("secret.mtl", "secret.png", "secret.bin"):
        (place / name).write_bytes((tmp_path / name).read_bytes())
    return place


def leads(folder: Path, name: str) -> list[str]:
    """Ways to name a file that lies beside and above the upload."""
    return [name, f"../{name}", f"..\\{name}", f"{folder}/{name}", f"file://{folder}/{name}", f"file:{folder}/{name}",
            f"%2e%2e/{name}", f"/proc/self/cwd/{name}"]  # fmt: skip


@contextmanager
def listening() -> Iterator[tuple[str, list[bytes]]]:
    """An HTTP address, and what was asked of it."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)

        def answer() -> None:
            try:
                while True:
                    with server.accept()[0] as caller:
                        asked.append(caller.recv(1000))
            except OSError:
                return

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def stored(folder: Path, data: bytes) -> str:
    path = folder / "upload"
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("packed", [False, True])
def test_no_material_or_texture_comes_from_outside(folder: Path, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for name in leads(folder, "secret.mtl"):
        files = {"m.obj": meshes.obj_files()["square.obj"].replace(b"square.mtl", name.encode())}
        data = meshes.zipped(files) if packed else files["m.obj"]
        loaded = read_mesh(stored(folder, data), MeshLimits())
        assert loaded.mesh.materials[0].colour == (1, 1, 1, 1), name
        assert "missing" in loaded.facts.notes[0]
    for name in leads(folder, "secret.png"):
        files = {"m.obj": meshes.obj_files()["square.obj"], "square.mtl": f"newmtl paint\nmap_Kd {name}\n".encode()}
        loaded = read_mesh(stored(folder, meshes.zipped(files)), MeshLimits())
        assert not loaded.facts.textured, name


@pytest.mark.parametrize("packed", [False, True])
def test_no_buffer_or_image_comes_from_outside(folder: Path, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for name in leads(folder, "secret.bin"):
        gltf = Gltf()
        gltf.add_mesh({"POSITION": [(0, 0, 0), (1, 0, 0), (0, 1, 0)]})
        data = gltf.gltf(uri=name)
        with pytest.raises(Problem, match="lacks its buffer"):
            read_mesh(stored(folder, meshes.zipped({"m.gltf": data}) if packed else data), MeshLimits())
    for name in leads(folder, "secret.png"):
        gltf = Gltf()
        attributes = {"POSITION": [(0, 0, 0), (1, 0, 0), (0, 1, 0)], "TEXCOORD_0": [(0, 0), (1, 0), (0, 1)]}
        gltf.add_mesh(attributes, material={"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}})
        gltf.add("images", {"uri": name})
        gltf.add("textures", {"source": 0})
        data = meshes.zipped({"m.glb": gltf.glb()}) if packed else gltf.glb()
        assert not read_mesh(stored(folder, data), MeshLimits()).facts.textured, name


def test_nothing_is_fetched(folder: Path) -> None:
    with listening() as (address, asked):
        gltf = Gltf()
        gltf.add_mesh({"POSITION": [(0, 0, 0), (1, 0, 0), (0, 1, 0)]})
        with pytest.raises(Problem, match="lacks its buffer"):
            mesh_process.load_now(stored(folder, gltf.gltf(uri=f"{address}/b.bin")))
        obj = meshes.obj_files()["square.obj"].replace(b"square.mtl", f"{address}/m.mtl".encode())
        assert mesh_process.load_now(stored(folder, obj)).facts.notes
    assert asked == []


def test_the_child_reads_from_the_start_of_an_unlinked_file(tmp_path: Path) -> None:
    path = stored(tmp_path, meshes.file(meshes.solid("box"), "glb"))
    with open(path, "rb") as file:
        file.read(100)
        os.unlink(path)
        assert mesh_process.load_now(file.fileno()).facts.triangles == 12


def test_a_child_that_is_killed_costs_its_own_request_alone(tmp_path: Path) -> None:
    path = stored(tmp_path, meshes.file(meshes.solid("sphere", subdivisions=5), "glb"))

    async def killed() -> None:
        started: list[child.Child] = []
        start = child.Child.start

        async def remembered(*given: object, **named: object) -> child.Child:
            started.append(await start(*given, **named))  # type: ignore[arg-type]
            return started[-1]

        with mock.patch.object(child.Child, "start", remembered):
            task = asyncio.create_task(mesh_process.load(path))
            while not started:
                await asyncio.sleep(0.005)
            os.kill(started[0].pid, signal.SIGKILL)
            with pytest.raises(Problem) as caught:
                await task
        assert caught.value.code == "undecodable_media"
        assert (await mesh_process.load(path)).facts.triangles == 20480

    asyncio.run(killed())


def test_too_little_memory_and_time_are_told(tmp_path: Path) -> None:
    sphere = meshes.file(meshes.solid("sphere", subdivisions=7), "glb")
    with pytest.raises(Problem, match="memory") as caught:
        mesh_process.load_now(stored(tmp_path, sphere), MeshLimits(max_memory_mb=240))
    assert caught.value.code == "undecodable_media"
    with mock.patch.object(mesh_process, "_START_S", 0.0), pytest.raises(Problem, match=r"given up|stopped") as caught:
        mesh_process.load_now(stored(tmp_path, sphere), MeshLimits(max_load_s=0.05))
    assert caught.value.code == "undecodable_media"


def test_the_parent_does_not_believe_the_child() -> None:
    loaded = meshes.read(meshes.zipped(meshes.obj_files()))
    sent: list[tuple[dict[str, object], dict[str, np.ndarray]]] = []
    with mock.patch("serve_app.media.mesh_loading.read_mesh", return_value=loaded):
        request = child.Message({"file": 0, "limits": {}, "up": None}, {})
        mesh_process._handle(request, lambda header, **blobs: sent.append((header, blobs)))
    header, blobs = json.loads(json.dumps(sent[0][0])), sent[0][1]
    honest = mesh_process._rebuilt(child.Message(header, dict(blobs)), MeshLimits())
    assert honest.facts == loaded.facts
    assert meshes.painted(honest.mesh) == meshes.painted(loaded.mesh)
    count = len(blobs["vertices"])
    lies: list[dict[str, np.ndarray]] = [
        {"faces": blobs["faces"] + np.int32(count)},
        {"faces": blobs["faces"] - np.int32(1)},
        {"faces": blobs["faces"].astype(np.int64)},
        {"vertices": blobs["vertices"] * np.float32(np.nan)},
        {"vertices": blobs["vertices"][:, :2]},
        {"normals": blobs["normals"][:1]},
        {"uvs": blobs["uvs"] + np.float32(np.inf)},
        {"texture_0": blobs["texture_0"][:, :, :3]},
        {"face_materials": np.ones(len(blobs["faces"]), np.int32)},
        {"faces": blobs["faces"][:0]},
    ]
    for lie in lies:
        with pytest.raises(Problem, match="no mesh"):
            mesh_process._rebuilt(child.Message(json.loads(json.dumps(header)), {**blobs, **lie}), MeshLimits())
    for where, what in (("colour", [1, 1, 1, float("nan")]), ("colour", [1, 1]), ("cutoff", "a"), ("alpha", "none")):
        lying = json.loads(json.dumps(header))
        lying["materials"][0][where] = what
        with pytest.raises(Problem, match="no mesh"):
            mesh_process._rebuilt(child.Message(lying, dict(blobs)), MeshLimits())
    with pytest.raises(Problem, match="no mesh"):
        mesh_process._rebuilt(child.Message(header, dict(blobs)), MeshLimits(max_triangles=1))


def _originals() -> list[bytes]:
    solid = meshes.solid("box")
    gltf = Gltf()
    textured = {"POSITION": solid.vertices, "NORMAL": solid.vertices, "TEXCOORD_0": solid.vertices[:, :2]}
    gltf.add_mesh(textured, solid.faces.ravel(), {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}})
    gltf.add_texture(meshes.quarters())
    gltf.add_node(children=[], translation=[1, 2, 3])
    polygons = b"COFF\n4 2 0\n0 0 0 1 0 0\n1 0 0 1 0 0\n0 1 0 1 0 0\n0 0 1 1 0 0\n3 0 1 2\n4 0 1 2 3 9 9 9\n"
    kinds = ("obj", "ply", "stl", "stl_ascii", "ply_ascii")
    packed = meshes.zipped(meshes.obj_files(), 0), meshes.zipped(meshes.obj_files())
    return [gltf.glb(), gltf.gltf(), polygons, *packed, *(meshes.file(solid, kind) for kind in kinds)]


ORIGINALS = _originals()
WAYS = ["flip", "cut", "insert", "number", "repeat"]
CHANGE = st.tuples(st.integers(0, 1 << 30), st.sampled_from(WAYS), st.binary(min_size=1, max_size=8))


def mangled(data: bytes, changes: list[tuple[int, str, bytes]]) -> bytes:
    for where, what, extra in changes:
        at = where % max(len(data), 1)
        if what == "flip":
            data = data[:at] + bytes(byte ^ 255 for byte in extra) + data[at + len(extra) :]
        elif what == "cut":
            data = data[:at]
        elif what == "insert":
            data = data[:at] + extra + data[at:]
        elif what == "repeat":
            data = data[:at] + data[at : at + 40] * 3 + data[at + 40 :]
        else:
            digits = [index for index, byte in enumerate(data[:4000]) if 48 <= byte <= 57]
            at = digits[where % len(digits)] if digits else at
            data = data[:at] + [b"999999999", b"-1", b"nan", b"1e400", b"null"][where % 5] + data[at + 1 :]
    return data


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ORIGINALS), st.lists(CHANGE, min_size=1, max_size=4))
def test_mangled_files_give_a_mesh_or_a_problem(data: bytes, changes: list[tuple[int, str, bytes]]) -> None:
    try:
        mesh = meshes.read(mangled(data, changes)).mesh
    except Problem as problem:
        code = problem.code
    else:
        mesh_process._check(mesh, MeshLimits())
        assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(1, abs=1e-4)
        return
    assert code in ("undecodable_media", "unsupported_media", "too_large")


STARTS = [
    b"glTF", b"ply\nformat ascii 1.0\n", b"OFF\n", b"solid x\nfacet normal ", b"v 1 2 3\n", b"PK\3\4",
    b'{"asset":{"version":"2.0"},',
]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(STARTS), st.binary(max_size=300))
def test_bytes_behind_a_signature_give_a_problem(start: bytes, rest: bytes) -> None:
    with pytest.raises(Problem):
        meshes.read(start + rest)


def test_bombs_are_told_in_little_time(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(Problem, match="inflates more than"):
        mesh_process.load_now(stored(tmp_path, meshes.zipped({"m.obj": b"v 0 0 0\n" * (9 << 20)})))
    with pytest.raises(Problem, match="holds no mesh"):
        mesh_process.load_now(stored(tmp_path, meshes.zipped({"readme.txt": b"hello"})))
    assert time.monotonic() - start < 30
