"""Videos on a real service: annotated as they come in, stored, found by their moments, cancelled, taken up again."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid

import httpx
import pytest

from tests.cluster.test_service import assert_problem, settled
from tests.graphs.clips import video

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

RESULTS = {
    "object_detection", "action_recognition", "face_recognition", "cross_modal_embedding",
    "meme_detection", "text_recognition", "disturbing_content", "nsfw", "captioning",
}  # fmt: skip
NOT_EMBEDDED = ("disturbing_content", "nsfw", "captioning")
TYPE = "video/mp4"


@pytest.fixture(scope="module")
def two_scenes(tmp_path_factory):
    return video(tmp_path_factory.mktemp("clips") / "two.mp4", 1.0, 1.5).read_bytes()


@pytest.fixture(scope="module")
def long_one(tmp_path_factory):
    """Ten minutes: minutes of work for the annotators, and less than a second of drawing."""
    return video(tmp_path_factory.mktemp("clips") / "long.mp4", *[30.0] * 20, rate=2, size=(640, 360)).read_bytes()


def add(http, data, **fields):
    owner = uuid.uuid4().hex
    answer = http.post("/v1/assets", files={"file": ("a.mp4", data, TYPE)}, data={"owner": owner} | fields)
    assert answer.status_code == 202, answer.text
    return answer.json()


def job_of(http, asset):
    (job,) = http.get("/v1/jobs", params={"asset_id": asset["id"]}).json()["items"]
    return job


def events(lines):
    """(event, data) of a stream of server-sent events, by the WHATWG specification's field rules."""
    name, data = "message", []
    for line in lines:
        if not line:
            if data:
                yield name, json.loads("\n".join(data))
            name, data = "message", []
        elif not line.startswith(":"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)


def test_the_answer_has_scenes_and_every_annotator(http, two_scenes):
    answer = http.post("/v1/annotate/video", files={"file": two_scenes})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [(scene["start_frame"], scene["end_frame"]) for scene in body["scenes"]] == [(0, 10), (10, 25)]
    assert set(body["results"]) == RESULTS
    states = {name: result["status"] for name, result in body["results"].items()}
    assert states == dict.fromkeys(RESULTS, "ok") | dict.fromkeys(NOT_EMBEDDED, "unavailable")
    assert len(body["results"]["cross_modal_embedding"]["embeddings"]) == 2
    assert body["decoded"] == {"frames": 25, "expected": 25, "errors": 0, "complete": True}
    assert {"load_s", "annotate_s", "after_last_frame_s", "total_s"} == set(body["stage"])


def test_progress_comes_as_events(http, two_scenes):
    headers = {"Accept": "text/event-stream"}
    with http.stream("POST", "/v1/annotate/video?annotators=faces", files={"file": two_scenes}, headers=headers) as got:
        assert got.status_code == 200
        assert got.headers["content-type"].startswith("text/event-stream")
        *progress, (name, result) = events(got.iter_lines())
    assert {event for event, _ in progress} == {"progress"}
    assert name == "result"
    assert set(result["results"]) == {"face_recognition"}


def test_a_picture_is_refused_and_a_broken_video_too(service, http, two_scenes):
    assert_problem(http.post("/v1/annotate/video", files={"file": b"words"}), 415, "unsupported_media")
    assert_problem(http.post("/v1/annotate/video", files={"file": two_scenes[:80]}), 422, "undecodable_media")
    broken = http.post("/v1/assets", files={"file": two_scenes[:80]}, data={"owner": "anna"})
    assert_problem(broken, 422, "undecodable_media")


def test_every_shared_video_gives_an_answer(http, shared):
    files = sorted(path for path in (shared / "media" / "broken").rglob("*") if path.is_file())
    for file in files:
        answer = http.post("/v1/annotate/video?annotators=scenes", files={"file": file.read_bytes()})
        assert answer.status_code in (200, 413, 415, 422), f"{file.name}: {answer.text}"


def test_a_stored_video_is_found_by_its_moments(http, shared):
    film = (shared / "media" / "video" / "nasa_multistream.mp4").read_bytes()
    asset = add(http, film)
    assert (asset["kind"], asset["state"]) == ("video", "processing")
    asset = settled(http, asset["id"], 120)
    assert asset["state"] == "ready", asset
    kept = http.get(f"/v1/assets/{asset['id']}/annotations").json()
    cut = 8.080  # the manifest's hard cut
    assert any(scene["start_s"] == pytest.approx(cut, abs=0.002) for scene in kept["scenes"])
    found = http.post("/v1/search", json={"text": "a dark picture", "filter": f"owner:{asset['owner']}"}).json()
    assert found["video"]["contents"] == [asset["id"]]
    (moment,) = found["video"]["moments"]
    assert any(scene["start_s"] == moment["start_s"] for scene in kept["scenes"])
    assert http.delete(f"/v1/assets/{asset['id']}").status_code == 204


def test_a_job_is_watched_and_cancelled_within_a_second(service, http, long_one):
    asset = add(http, long_one)
    job = job_of(http, asset)
    with http.stream("GET", f"/v1/jobs/{job['id']}/events") as got:
        for _, told in events(got.iter_lines()):
            if told["state"] == "running" and told.get("detail", {}).get("frames"):
                break
    assert told["detail"]["expected"] == 1200
    assert 0 < told["progress"] < 1
    assert service.decoders()
    cancelled = http.delete(f"/v1/jobs/{job['id']}").json()
    assert cancelled["state"] == "cancelled"
    until = time.monotonic() + 1.5
    while service.decoders() and time.monotonic() < until:
        time.sleep(0.02)
    assert not service.decoders(), "the decoder runs on"
    assert http.get(f"/v1/assets/{asset['id']}").json()["state"] == "failed"
    assert http.get(f"/v1/jobs/{job['id']}").json()["state"] == "cancelled"


def test_a_client_that_leaves_stops_the_decoder(service, http, long_one):
    headers = {"Accept": "text/event-stream"}
    with http.stream("POST", "/v1/annotate/video", files={"file": long_one}, headers=headers) as got:
        told = events(got.iter_lines())  # kept, since an iterator that is dropped closes the connection
        next(told)
        assert service.decoders()
    until = time.monotonic() + 10
    while service.decoders() and time.monotonic() < until:
        time.sleep(0.05)
    assert not service.decoders()


def test_a_picture_does_not_wait_behind_films(service, http, long_one):
    from tests.cluster import pictures

    films = [add(http, long_one) for _ in range(3)]
    picture = http.post("/v1/assets", files={"file": pictures.noise(77)}, data={"owner": "anna"}).json()
    try:
        assert settled(http, picture["id"], 30)["state"] == "ready"
    finally:
        for film in films:
            assert http.delete(f"/v1/jobs/{job_of(http, film)['id']}").status_code == 200


@pytest.mark.parametrize("deployment", ["SceneSplitter", "JobRunner"])
def test_a_job_goes_on_after_the_death_of_who_does_it(service, http, long_one, deployment):
    asset = add(http, long_one)
    job = job_of(http, asset)
    first = until(lambda: set(service.decoders()), 60)
    for pid in service.replicas(deployment):
        os.kill(pid, signal.SIGKILL)
    second = until(lambda: set(service.decoders()) - first, 60)
    assert second, "nobody took it up again"
    assert until(lambda: not first & set(service.decoders()), 5), "the first decoder works for nobody"
    with_retries(http, "DELETE", f"/v1/jobs/{job['id']}")
    service.wait_ready(60)


def until(look, within_s):
    """What ``look`` gives as soon as it is something."""
    end = time.monotonic() + within_s
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def with_retries(http, method, path):
    for _ in range(50):
        try:
            answer = http.request(method, path)
            if answer.status_code == 200:
                return answer
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{method} {path}")
