"""3D models on a real service: annotated, stored, found by words and by a picture, shown; hostile files harm nobody."""

from __future__ import annotations

import base64
import io
import os
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from serve_app import cli_examples
from tests import meshes
from tests.cluster.test_service import assert_problem, settled

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ANNOTATE, THUMBNAIL = "/v1/annotate/3d", "/ThumbnailFrom3D/"
AROUND = [0, 45, 90, 135, 180, 225, 270, 315]


@pytest.fixture(scope="module")
def solids(tmp_path_factory):
    folder = tmp_path_factory.mktemp("solids")
    cli_examples.solids(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def readers(service):
    """The processes that read 3D files; they inherit no environment, but their parents have this service's."""
    ours, found = service.processes(), []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and b"mesh_process" in (folder / "cmdline").read_bytes():
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                found += [int(folder.name)] if parent in ours else []
        except OSError:
            continue
    return found


def names(answer):
    return [label["label"] for label in answer["results"]["object_detection"]["labels"]]


def test_the_renderer_is_ready_and_says_what_it_is(http):
    tasks = {task["task"]: task for task in http.get("/health/ready").json()["tasks"]}
    task = tasks["multi_view_rendering"]
    assert (task["state"], task["model"], task["device"]) == ("ready", "embree", "cpu")


def test_a_cone_is_seen_from_all_around(http, solids):
    answer = http.post(f"{ANNOTATE}?pictures=true", files={"file": solids["cone.stl"]})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["asset"]["media_type"] == "model/stl"
    assert body["asset"]["size"] == pytest.approx([1.2, 1.5, 1.2], abs=0.02), "Z is up in this format"
    assert [(view["azimuth"], view["inside"]) for view in body["views"]] == [(at, False) for at in AROUND]
    for view in body["views"]:
        with Image.open(io.BytesIO(base64.b64decode(view["picture"]))) as picture:
            assert picture.size == (1024, 1024)
    assert names(body)[0] == "cone"
    best = body["results"]["object_detection"]["labels"][0]
    assert set(best["views"]) <= set(range(8))
    left, top, right, bottom = best["box"]
    assert left < 512 < right, "it stands in the middle"
    assert top < 512 < bottom
    vectors = body["results"]["cross_modal_embedding"]["embeddings"]
    assert [each["view"] for each in vectors] == list(range(8))
    assert body["results"]["captioning"]["status"] == "unavailable"
    assert {"load_s", "render_s", "annotate_s", "total_s"} == set(body["stage"])


def test_a_room_is_seen_from_inside(http, solids):
    body = http.post(f"{ANNOTATE}?annotators=objects", files={"file": solids["room.glb"]}).json()
    assert {view["inside"] for view in body["views"]} == {True}
    assert body["asset"]["size"] == pytest.approx([5, 2.6, 4], abs=1e-4)


def test_a_stored_model_is_found_shown_and_deleted(http, solids):
    owner = uuid.uuid4().hex
    ids = {}
    for name in ("cube.glb", "cone.stl"):
        answer = http.post("/v1/assets", files={"file": (name, solids[name])}, data={"owner": owner})
        assert answer.status_code == 202, answer.text
        assert answer.json()["kind"] == "shape3d"
        ids[name] = answer.json()["id"]
    for id in ids.values():
        assert settled(http, id, 120)["state"] == "ready"
    ask = {"filter": f"owner:{owner}", "modalities": ["shape3d"]}
    for text, first in (("a red cube", "cube.glb"), ("a grey cone", "cone.stl")):
        found = http.post("/v1/search", json=ask | {"text": text}).json()["shape3d"]
        assert sorted(found["contents"]) == sorted(ids.values())
        assert found["contents"][0] == ids[first], text
    seen = http.post(f"{ANNOTATE}?annotators=objects&pictures=true", files={"file": solids["cone.stl"]}).json()
    picture = base64.b64decode(seen["views"][3]["picture"])
    found = http.post("/v1/search", files={"file": picture}, data={"filter": f"owner:{owner}", "k": 1}).json()
    assert found["shape3d"]["contents"] == [ids["cone.stl"]]
    assert found["shape3d"]["scores"][0] == pytest.approx(1, abs=1e-3)
    cone = ids["cone.stl"]
    check_previews(http, cone)
    for name, id in ids.items():
        filter = {"owner": owner, "filter": f"object:{name.partition('.')[0]}"}
        assert [item["id"] for item in http.get("/v1/assets", params=filter).json()["items"]] == [id]
    kept = http.get(f"/v1/assets/{cone}/annotations").json()
    assert kept["shape"]["format"] == "stl"
    assert len(kept["views"]) == 8
    assert http.delete(f"/v1/assets/{cone}").status_code == 204
    assert http.get(f"/v1/assets/{cone}/files/thumbnail.png").status_code == 404
    assert cone not in http.post("/v1/search", json=ask | {"text": "a cone"}).json()["shape3d"]["contents"]


def check_previews(http, id):
    until = time.monotonic() + 60
    while not (made := http.get(f"/v1/assets/{id}/renditions").json()["items"]) and time.monotonic() < until:
        time.sleep(0.1)
    shapes = {}
    for each in made:
        file = http.get(each["url"])
        assert file.headers["content-type"] == each["media_type"]
        assert file.headers["content-disposition"].startswith("inline")
        with Image.open(io.BytesIO(file.content)) as picture:
            shapes[each["name"]] = (picture.size, getattr(picture, "n_frames", 1))
    assert shapes == {
        "thumbnail.png": ((512, 512), 1), "thumbnail.webp": ((512, 512), 1),
        "turntable.gif": ((320, 320), 24), "turntable.webp": ((320, 320), 24),
    }  # fmt: skip


def test_a_zip_with_its_texture_is_drawn_for_an_existing_node(http):
    answer = http.post(THUMBNAIL, files={"file": meshes.zipped(meshes.obj_files())})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.size == (512, 512)
        colours = {colour[:3] for _, colour in picture.getcolors(1 << 20) if colour[3] > 250}
    assert any(red > 100 > 50 > max(green, blue) for red, green, blue in colours), "the texture's red quarter"


def broken():
    escaping = meshes.Gltf()
    escaping.add_mesh({"POSITION": [(0, 0, 0), (1, 0, 0), (0, 1, 0)]})
    glb = meshes.file(meshes.solid("sphere"), "glb")
    ply = b"ply\nformat binary_little_endian 1.0\nelement vertex 1000000000\nproperty float x\nend_header\n"
    return {
        "half a glb": glb[: len(glb) // 2],
        "a header alone": ply,
        "an index out of range": b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n",
        "no area": b"OFF\n3 1 0\n0 0 0\n0 0 0\n0 0 0\n3 0 1 2\n",
        "nothing": b"OFF\n0 0 0\n",
        "no mesh in it": meshes.zipped({"a.txt": b"words"}),
        "a way out": meshes.zipped({"../a.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"}),
        "a gltf without its buffer": escaping.gltf("../../../etc/passwd"),
    }


def test_broken_files_are_refused_and_harm_nobody(service, http, solids):
    replicas = service.replicas("MultiViewRenderer")
    files = broken()

    def post(name):
        return http.post(f"{ANNOTATE}?annotators=objects", files={"file": files[name]})

    with ThreadPoolExecutor(4) as pool:
        answers = dict(zip(files, pool.map(post, files), strict=True))
    for name, answer in answers.items():
        assert (name, answer.status_code) == (name, 422), answer.text
        assert answer.json()["code"] in ("undecodable_media", "unprocessable"), answer.text
    for name in ("half a glb", "no mesh in it"):
        assert http.post("/v1/assets", files={"file": files[name]}, data={"owner": "anna"}).status_code == 422
    assert http.post(THUMBNAIL, files={"file": solids["cone.stl"]}).status_code == 200
    assert service.replicas("MultiViewRenderer") == replicas
    assert_problem(http.post(ANNOTATE, files={"file": b"words"}), 415, "unsupported_media")


def test_the_death_of_a_reader_costs_its_request_alone(service, http, solids):
    replicas = service.replicas("MultiViewRenderer")
    with ThreadPoolExecutor(1) as pool:
        doomed = pool.submit(http.post, THUMBNAIL, files={"file": solids["ball.ply"]})
        until = time.monotonic() + 30
        while not (found := readers(service)) and time.monotonic() < until:
            time.sleep(0.005)
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        answer = doomed.result()
    assert_problem(answer, 422, "undecodable_media")
    assert "SIGKILL" in answer.json()["detail"]
    assert http.post(THUMBNAIL, files={"file": solids["ball.ply"]}).status_code == 200
    assert service.replicas("MultiViewRenderer") == replicas


@pytest.mark.parametrize("name", ["OutOfMemory.off", "recursive_nodes.gltf", "empty_nodes.glb", "empty.ply"])
def test_shared_broken_files_are_refused(http, shared, name):
    (file,) = (shared / "media" / "broken").rglob(name)
    answer = http.post(f"{ANNOTATE}?annotators=objects", files={"file": file.read_bytes()})
    assert_problem(answer, 422, "undecodable_media")


def test_a_real_room_is_seen_from_inside_too(http, shared):
    file = (shared / "media" / "3d" / "simple_room.glb").read_bytes()
    answer = http.post(f"{ANNOTATE}?annotators=objects", files={"file": file})
    assert answer.status_code == 200, answer.text
    assert {view["inside"] for view in answer.json()["views"]} == {False, True}, "it has no walls, so both are fair"
