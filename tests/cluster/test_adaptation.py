"""Streams of a stored video on a real service: made by a job, watched, fetched in ranges, played in a browser."""

from __future__ import annotations

import io
import os
import signal
import time
import uuid

import httpx
import m3u8
import pytest
from PIL import Image

from tests.cluster.browser import BROWSER, play
from tests.cluster.test_service import assert_problem
from tests.made_videos import noise, write_video

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

FRAMES = 150


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    place = tmp_path_factory.mktemp("clip")
    return write_video(place / "clip.mp4", noise(FRAMES, (640, 360)), rate=25).read_bytes()


@pytest.fixture(scope="module")
def film(service, clip):
    """A video with the streams of ``web``."""
    with httpx.Client(base_url=service.url, timeout=120) as http:
        id = post(http, clip)
        job = ended(http, order(http, id))
    assert job["state"] == "succeeded", job
    return id


def post(http, data):
    answer = http.post("/v1/assets", files={"file": ("clip.mp4", data)}, data={"owner": uuid.uuid4().hex})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def order(http, id, preset="web"):
    answer = http.post(f"/v1/assets/{id}/renditions", json={"preset": preset})
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    return answer.json()["id"]


def ended(http, id, within_s=120):
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        job = http.get(f"/v1/jobs/{id}").json()
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.2)
    raise AssertionError(job)


def test_the_transcoder_says_what_it_is(http):
    tasks = {task["task"]: task for task in http.get("/health/ready").json()["tasks"]}
    assert tasks["transcoding"]["state"] == "ready"
    assert tasks["transcoding"]["model"].startswith("ffmpeg ")


def test_streams_are_listed_and_fetched_as_players_do(http, film):
    found = {each["name"]: each for each in http.get(f"/v1/assets/{film}/renditions").json()["items"]}
    assert {"web/master.m3u8", "web/manifest.mpd", "web/h264-240.m3u8", "web/h264-360.m3u8"} <= set(found)
    place = f"/v1/assets/{film}/files/web"
    main = http.get(f"{place}/master.m3u8")
    assert main.headers["content-type"].startswith("application/vnd.apple.mpegurl")
    assert main.headers["cache-control"] == "no-cache"
    assert main.headers["access-control-allow-origin"] == "*"
    again = http.get(f"{place}/master.m3u8", headers={"If-None-Match": main.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for variant in m3u8.loads(main.text).playlists:
        media = m3u8.loads(http.get(f"{place}/{variant.uri}").text)
        for part in (media.segment_map[0], *media.segments):
            size, _, start = part.byterange.partition("@")
            last = int(start) + int(size) - 1
            answer = http.get(f"{place}/{part.uri}", headers={"Range": f"bytes={start}-{last}"})
            assert answer.status_code == 206
            assert len(answer.content) == int(size)
            assert answer.headers["content-range"] == f"bytes {start}-{last}/{found[f'web/{part.uri}']['bytes']}"
            assert answer.headers["content-type"] == "video/mp4"
            assert "immutable" in answer.headers["cache-control"]
    assert_problem(http.get(f"{place}/../original/x"), 404, "not_found")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_a_browser_plays_every_frame(service, film):
    seen = play(f"{service.url}/v1/assets/{film}/files/web/master.m3u8")
    assert seen["why"] == "ended", seen
    assert seen["total"] == FRAMES
    assert seen["first"] == 0, "the pictures begin at once"


def test_what_cannot_be_made_is_told(http, film):
    address = f"/v1/assets/{film}/renditions"
    assert_problem(http.post(address, json={"preset": "none"}), 400, "bad_request")
    assert_problem(http.post(address, json={"presets": "web"}), 400, "bad_request")
    assert_problem(http.post("/v1/assets/nobody/renditions", json={"preset": "web"}), 404, "not_found")


def test_a_transcoder_that_is_killed_is_followed_by_another(service, http, clip):
    id = post(http, clip)
    job = order(http, id)
    until = time.monotonic() + 60
    while http.get(f"/v1/jobs/{job}").json()["state"] != "running" and time.monotonic() < until:
        time.sleep(0.05)
    for pid in service.replicas("Transcoder"):
        os.kill(pid, signal.SIGKILL)
    assert ended(http, job, 180)["state"] == "succeeded"
    names = [each["name"] for each in http.get(f"/v1/assets/{id}/renditions").json()["items"]]
    assert "web/master.m3u8" in names
    assert httpx.get(f"{service.url}/health/live", timeout=10).status_code == 200


def test_answers_at_once(http, clip):
    answer = http.post("/ThumbnailFromVideo/?size=320", files={"file": clip})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg"), answer.text
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.size == (320, 180)
    answer = http.post("/GIFSummaryFromVideo/", files={"file": clip})
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.format == "GIF"
        assert picture.n_frames > 20
    assert_problem(http.post("/ExtractAudioFromVideo/", files={"file": clip}), 422, "unprocessable")
    assert_problem(http.post("/ThumbnailFromVideo/", files={"file": b"no video"}), 415, "unsupported_media")
    assert http.get("/HealthCheck/").json() == {"status": "ok"}
