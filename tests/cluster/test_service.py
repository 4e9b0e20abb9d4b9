"""The main job on a real service: a picture goes in by HTTP, is annotated and found again."""

from __future__ import annotations

import importlib
import json
import subprocess
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.cluster import pictures
from tests.cluster.conftest import MEDIAVERSE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

RESULTS = {
    "object_detection", "action_recognition", "face_recognition", "meme_detection", "disturbing_content", "nsfw",
    "captioning", "text_recognition", "cross_modal_embedding",
}  # fmt: skip
GOOD, BAD = pictures.good(), pictures.bad()


def fresh(prefix="t"):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def add(http, data, owner, **fields):
    answer = http.post("/v1/assets", files={"file": data}, data={"owner": owner} | fields)
    assert answer.status_code == 202, answer.text
    return answer.json()


def settled(http, id, within_s=60):
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        asset = http.get(f"/v1/assets/{id}").json()
        if asset["state"] != "processing":
            return asset
        time.sleep(0.05)
    raise AssertionError(f"still processing: {asset}")


def found(http, data, **options):
    answer = http.post("/v1/search", files={"file": data}, data=options)
    assert answer.status_code == 200, answer.text
    return answer.json()["image"]["contents"]


def assert_problem(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_ready_names_every_task(http):
    body = http.get("/health/ready").json()
    states = {task["task"]: task for task in body["tasks"]}
    assert body["ready"]
    for task in ("cross_modal_embedding", "object_detection", "face_detection", "face_identity", "meme_detection"):
        assert states[task]["state"] == "ready"
        assert states[task]["model"]
        assert states[task]["revision"]
    for task in ("nsfw", "disturbing_content", "captioning"):
        assert states[task]["state"] == "unavailable"
        assert states[task]["remedy"]


def test_a_photograph_is_annotated(http):
    astronaut = Path(str(importlib.resources.files("skimage") / "data" / "astronaut.png")).read_bytes()
    answer = http.post("/v1/annotate/image", files={"file": astronaut}).json()
    assert answer["asset"]["width"] == answer["asset"]["height"] == 512
    assert set(answer["results"]) == RESULTS
    faces = answer["results"]["face_recognition"]
    assert [face["label"] for face in faces["labels"]] == ["unknown"]
    x1, y1, x2, y2 = faces["labels"][0]["box"]
    # Eileen Collins' eyes are near (200, 98) and (250, 98), her mouth near (226, 140).
    assert x1 < 200 < 250 < x2
    assert y1 < 98 < 140 < y2
    vector = np.asarray(answer["results"]["cross_modal_embedding"]["embedding"])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
    assert answer["results"]["disturbing_content"]["status"] == "unavailable"
    assert answer["results"]["disturbing_content"]["remedy"]


def test_only_the_annotators_asked_for_answer(http):
    answer = http.post("/v1/annotate/image?annotators=embedding", files={"file": pictures.noise(1)}).json()
    assert set(answer["results"]) == {"cross_modal_embedding"}
    assert_problem(http.post("/v1/annotate/image?annotators=smell", files={"file": b"x"}), 400, "bad_request")


def test_an_asset_is_stored_annotated_found_and_deleted(http):
    owner, data = fresh("anna"), pictures.noise(2)
    asset = add(http, data, owner, description="pure television noise")
    assert asset["state"] == "processing"
    asset = settled(http, asset["id"])
    assert asset["state"] == "ready", asset
    assert {asset["stages"][stage]["state"] for stage in ("annotate", "index")} == {"ready"}
    assert set(http.get(f"/v1/assets/{asset['id']}/annotations").json()["results"]) == RESULTS
    assert found(http, data, k=1) == [asset["id"]]
    by_words = http.post("/v1/search", json={"text": "pure television noise", "k": 1}).json()
    assert by_words["text"]["contents"] == [asset["id"]]
    assert by_words["text"]["scores"][0] == pytest.approx(1, abs=1e-3)
    assert asset["id"] not in found(http, data, k=50, username=owner)
    assert http.get(f"/v1/assets/{asset['id']}/files/original").content == data
    part = http.get(f"/v1/assets/{asset['id']}/files/original", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, data[10:20])
    assert asset["id"] in [each["id"] for each in http.get("/v1/assets", params={"owner": owner}).json()["items"]]

    assert http.delete(f"/v1/assets/{asset['id']}").status_code == 204
    assert_problem(http.get(f"/v1/assets/{asset['id']}"), 404, "not_found")
    assert_problem(http.get(f"/v1/assets/{asset['id']}/files/original"), 404, "not_found")
    assert asset["id"] not in found(http, data, k=100)
    assert http.get("/v1/assets", params={"owner": owner}).json()["items"] == []


def test_filters_narrow_a_search_to_exactly_what_matches(http):
    anna, ben = fresh("anna"), fresh("ben")
    ids = [add(http, pictures.noise(10 + i), (anna, ben)[i % 2])["id"] for i in range(6)]
    assert all(settled(http, id)["state"] == "ready" for id in ids)
    assert set(found(http, pictures.noise(10), k=50, filter=f"owner:{anna}")) == set(ids[::2])
    assert set(found(http, pictures.noise(10), k=2, filter=f"owner:{ben} kind:image")) < set(ids[1::2])
    assert found(http, pictures.noise(10), k=5, filter=f"owner:{anna} kind:text") == []
    assert_problem(
        http.post("/v1/search", json={"text": "x", "filter": "object:"}), 400, "bad_request"
    )  # fmt: skip


def test_the_same_content_again_is_one_result_with_the_latest_id(http):
    owner, other, data = fresh("anna"), fresh("ben"), pictures.noise(30)
    first, second = add(http, data, owner)["id"], add(http, data, owner)["id"]
    theirs = add(http, data, other)["id"]
    for id in (first, second, theirs):
        settled(http, id)
    assert first != second
    assert set(found(http, data, k=2)) == {second, theirs}
    http.delete(f"/v1/assets/{second}")
    assert set(found(http, data, k=2)) == {first, theirs}


def test_an_id_is_one_asset(http):
    id, owner = fresh("id/mit ü"), fresh("anna")
    first = add(http, pictures.noise(40), owner, id=id)
    assert add(http, pictures.noise(40), owner, id=id)["created_at"] == first["created_at"]
    taken = {"owner": fresh("ben"), "id": id}
    assert_problem(http.post("/v1/assets", files={"file": pictures.noise(40)}, data=taken), 409, "conflict")
    changed = {"owner": owner, "id": id}
    assert_problem(http.post("/v1/assets", files={"file": pictures.noise(41)}, data=changed), 409, "conflict")
    assert settled(http, id)["id"] == id


def test_an_idempotency_key_makes_one_asset(http):
    owner, headers = fresh("anna"), {"Idempotency-Key": fresh("key")}
    one, two = (
        http.post("/v1/assets", files={"file": pictures.noise(50)}, data={"owner": owner}, headers=headers).json()["id"]
        for _ in range(2)
    )
    assert one == two
    again = http.post("/v1/assets", files={"file": pictures.noise(51)}, data={"owner": owner}, headers=headers)
    assert_problem(again, 409, "conflict")


@pytest.mark.parametrize("name", GOOD)
def test_awkward_pictures_are_answered(http, name):
    data, size = GOOD[name]
    answer = http.post("/v1/annotate/image", files={"file": ("x.png", data, "image/png")})
    assert answer.status_code == 200, answer.text
    asset = answer.json()["asset"]
    assert (asset["width"], asset["height"]) == size
    assert "failed" not in {result["status"] for result in answer.json()["results"].values()}
    assert settled(http, add(http, data, fresh())["id"])["state"] == "ready"
    assert found(http, data, k=1)


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_get_a_code_and_harm_nobody(http, name):
    data, status, code = BAD[name]
    assert_problem(http.post("/v1/annotate/image", files={"file": data}), status, code)
    stored = (422, "undecodable_media") if name == "zip" else (status, code)  # an archive may hold a 3D model
    assert_problem(http.post("/v1/assets", files={"file": data}, data={"owner": "x"}), *stored)
    assert_problem(http.post("/v1/search", files={"file": data}), status, code)
    legacy = "/mv_retrieval/v0.1/add_content?id=bad&type=image&user=x"
    assert_problem(http.post(legacy, content=data), status, code)
    assert_problem(http.get("/v1/assets/bad"), 404, "not_found")


def test_a_bad_picture_costs_no_other_its_answer(http):
    jobs = [pictures.noise(100 + i) if i % 3 else BAD["truncated png"][0] for i in range(30)]
    with ThreadPoolExecutor(15) as pool:
        answers = list(pool.map(lambda data: http.post("/v1/annotate/image", files={"file": data}).status_code, jobs))
    assert answers == [200 if i % 3 else 422 for i in range(30)]


@pytest.mark.parametrize("text", ["🐈 im Gras", "null\0byte", "a " * 10_000, "<script>", "'; drop table assets; --"])
def test_awkward_texts_are_answered(http, text):
    answer = http.post("/v1/search", json={"text": text})
    assert answer.status_code == 200, answer.text
    assert answer.json()["truncated"] == (len(text) > 1000)


def test_empty_texts_and_nonsense_ids_are_refused(http):
    for text in ("", "   ", "\0"):
        assert_problem(http.post("/v1/search", json={"text": text}), 400, "bad_request")
    for id in ("a\0b", "x" * 600):
        data = {"owner": "anna", "id": id}
        assert_problem(http.post("/v1/assets", files={"file": pictures.noise(3)}, data=data), 400, "bad_request")


@pytest.mark.parametrize("route", ["/v1/annotate/image", "/v1/assets"])
def test_a_url_is_not_fetched(http, route):
    assert_problem(http.post(route, json={"url": "http://127.0.0.1:8265/", "owner": "x"}), 403, "url_input_disabled")


def test_text_assets_are_indexed(http):
    owner, words = fresh("anna"), f"the quick brown fox {uuid.uuid4().hex}".encode()
    asset = settled(http, add(http, words, owner)["id"])
    assert (asset["kind"], asset["state"]) == ("text", "ready")
    answer = http.post("/v1/search", json={"text": words.decode(), "k": 1}).json()
    assert answer["text"]["contents"] == [asset["id"]]


def test_the_legacy_routes_serve_an_existing_node(http):
    mario, john = fresh("mario"), fresh("john")

    def post(route, user, content=b"", **params):
        return http.post(f"/mv_retrieval/v0.1/{route}", params={"user": user} | params, content=content)

    added = post("add_content", mario, b"a page of text", id=f"{mario}-t", type="text").json()
    assert added["msg"] == f"Content {mario}-t successfully added to the indexer by user {mario}"
    assert added["time"] > 0
    post("add_content", mario, pictures.noise(60), id=f"{mario}-i", type="image").raise_for_status()
    post("add_content", john, pictures.noise(61), id=f"{john}-i", type="image").raise_for_status()

    answer = post("retrieve_contents", john, pictures.noise(60), type="image", k=10_000).json()
    assert answer["image"]["contents"][0] == f"{mario}-i"
    assert answer["image"]["scores"] == sorted(answer["image"]["scores"], reverse=True)
    assert f"{john}-i" not in answer["image"]["contents"]
    assert f"{mario}-t" in answer["text"]["contents"]

    recommended = post("recommend_contents", john, k=3).json()
    assert set(recommended) == {"text", "image"}
    assert len(set(recommended["image"]["image"]["contents"])) == 3
    assert f"{john}-i" not in recommended["image"]["image"]["contents"]
    nobody = post("recommend_contents", fresh("nobody"), k=3).json()
    assert nobody["text"]["image"] == {"contents": [], "scores": []}

    taken = post("add_content", john, b"other", id=f"{mario}-t", type="text")
    assert_problem(taken, 409, "conflict")
    assert_problem(post("add_content", john, b"\xff\xfe\xff", id=fresh(), type="text"), 400, "bad_request")


def command(service, *words):
    done = subprocess.run(
        [str(MEDIAVERSE), *words], env=service.environment | {"MEDIAVERSE_URL": service.url, "COLUMNS": "200"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_the_command_line_annotates_indexes_and_searches(service, tmp_path):
    owner = fresh("anna")
    folder = tmp_path / "holiday"
    (folder / "deep").mkdir(parents=True)
    for i, name in enumerate(["a.png", "deep/b.png", "ü 🐈.png"]):
        (folder / name).write_bytes(pictures.noise(200 + i))
    (folder / "broken.jpg").write_bytes(BAD["truncated jpeg"][0])
    (folder / ".hidden").write_bytes(b"x")

    status, out, _ = command(service, "index", str(folder), "--owner", owner, "--json")
    report = json.loads(out)
    assert status == 1
    assert sorted(report["added"]) == sorted(f"{owner}/{name}" for name in ("a.png", "deep/b.png", "ü 🐈.png"))
    assert [each["id"] for each in report["failed"]] == [f"{owner}/broken.jpg"]
    (folder / "broken.jpg").unlink()
    status, out, _ = command(service, "index", str(folder), "--owner", owner)
    assert (status, out) == (0, "0 added, 3 already there, 0 failed\n")
    (folder / "a.png").write_bytes(pictures.noise(210))
    assert command(service, "index", str(folder), "--owner", owner)[0] == 1
    status, out, _ = command(service, "index", str(folder), "--owner", owner, "--replace")
    assert (status, out) == (0, "1 added, 2 already there, 0 failed\n")

    status, out, _ = command(service, "search", str(folder / "a.png"), "-k", "1", "--json")
    assert json.loads(out)["image"]["contents"] == [f"{owner}/a.png"]
    status, out, _ = command(service, "search", "noise", "--filter", f"owner:{owner}")
    assert status == 0
    assert f"{owner}/deep/b.png" in out

    status, out, _ = command(service, "annotate", str(folder / "a.png"), "--json")
    assert set(json.loads(out)["results"]) == RESULTS
    status, out, err = command(service, "annotate", str(folder / "nowhere.png"))
    assert (status, "nowhere.png" in err) == (1, True)
    assert command(service, "search", "x", "--url", "http://127.0.0.1:9")[0] == 1


def test_every_shared_file_gets_an_answer_or_a_code(http, shared):
    files = [
        file for part in ("images", "broken") for file in sorted((shared / "media" / part).rglob("*")) if file.is_file()
    ]

    def through(file):
        data = file.read_bytes()
        annotated = http.post("/v1/annotate/image", files={"file": data})
        statuses = [
            annotated.status_code,
            http.post("/v1/assets", files={"file": data}, data={"owner": "shared"}).status_code,
            http.post("/v1/search", files={"file": data}, data={"k": 1}).status_code,
        ]
        failed = [
            name for name, result in annotated.json().get("results", {}).items() if result["status"] == "failed"
        ]  # fmt: skip
        return file.relative_to(shared).as_posix(), statuses, failed

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(through, files))
    wrong = [answer for answer in answers if answer[2] or any(status >= 500 for status in answer[1])]
    assert not wrong
    refused = [name for name, statuses, _ in answers if name.startswith("media/images") and statuses != [200, 202, 200]]
    assert not refused
