"""The HTTP door over a small fake of what is behind it."""

import asyncio
import io
import json
from datetime import UTC, datetime

import pytest
from starlette.testclient import TestClient

from serve_app.errors import CODES, Problem
from serve_app.wire import rendition_schemas, schemas
from serve_app.wire.http import create_app
from serve_app.wire.ports import Download, Services

NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Fake:
    """Every port at once: remembers what it was asked, answers something of the right shape, fails when told to."""

    def __init__(self, problem=None):
        self.problem = problem
        self.asked = []

    def note(self, *what):
        self.asked.append(what)
        if self.problem:
            raise self.problem

    def parse_annotators(self, names):
        if names == "nonsense":
            raise Problem("bad_request", "no such annotator")
        return tuple((names or "objects").split(","))

    async def annotate(self, data, annotators, explain):
        self.note("annotate", data, annotators, explain)
        media = schemas.MediaInfo(media_type="image/png", sha256="0" * 64, width=3, height=2)
        return schemas.Annotation(asset=media, results={"object_detection": schemas.TaskResult(status="ok")})

    def asset(self, id):
        return schemas.Asset(
            id=id, owner="anna", kind="image", media_type="image/png", sha256="0" * 64, bytes=3, state="ready",
            stages={"annotate": schemas.Stage(state="ready")}, created_at=NOW,
        )  # fmt: skip

    async def add(self, new):
        self.note("add", new)
        return self.asset(new.id or "made"), True

    async def get(self, id):
        self.note("get", id)
        return self.asset(id)

    async def annotations(self, id):
        self.note("annotations", id)
        return schemas.AssetAnnotations(id=id, state="ready", results={})

    async def renditions(self, id):
        self.note("renditions", id)
        url = f"/v1/assets/{id}/files/thumbnail.png"
        made = rendition_schemas.Rendition(
            name="thumbnail.png", media_type="image/png", bytes=8, width=512, height=512, url=url
        )
        return rendition_schemas.Renditions(id=id, items=[made])

    async def download(self, id, path):
        self.note("download", id, path)
        if path == "thumbnail.png":
            return Download("image/png", 8, "a-thumbnail.png", io.BytesIO(b"\x89PNG\r\n\x1a\n"), "1" * 64, ours=True)
        if path == "web/h264-111111111111.mp4":
            return Download("video/mp4", 4, "a-web.mp4", io.BytesIO(b"moov"), "1" * 64, ours=True, immutable=True)
        return Download("text/plain", 8, "naïve.html", io.BytesIO(b"<script>"), "0" * 64)

    async def adapt(self, id, preset, idempotency_key):
        self.note("adapt", id, preset, idempotency_key)
        return schemas.Job(
            id="j", kind="adapt", asset_id=id, state="queued", progress=0, attempts=0, created_at=NOW
        ), True

    async def direct(self, upload, what, format, side):
        self.note("direct", upload.data, what, format, side)
        return b"made", "image/webp"

    async def delete(self, id):
        self.note("delete", id)

    async def page(self, **options):
        self.note("page", options)
        return schemas.AssetPage(items=[self.asset("a")], next_cursor="more")

    async def search_text(self, query):
        self.note("search_text", query)
        return schemas.SearchResult(image=schemas.Ranking(contents=["a"], scores=[0.5]), partial=False, time=0.1)

    async def search_image(self, data, query):
        self.note("search_image", data, query)
        return schemas.SearchResult(partial=False, time=0.1)

    async def add_content(self, id, type, user, data):
        self.note("add_content", id, type, user, data)

    async def retrieve(self, type, user, k, data):
        self.note("retrieve", type, user, k, data)
        return {"text": f"No contents available other than {user} ones", "image": {"contents": ["x"], "scores": [0.1]}}

    async def recommend(self, user, k):
        self.note("recommend", user, k)
        return {"text": {"text": {"contents": [], "scores": []}}}

    async def ready(self):
        return schemas.Readiness(ready=self.problem is None, profile="embedded", tasks=[])


@pytest.fixture
def fake():
    return Fake()


@pytest.fixture
def http(fake):
    services = Services(*[fake] * 7, max_upload_bytes=1000)
    return TestClient(create_app(services), raise_server_exceptions=False)


def assert_problem(response, status, code):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["code"] == code
    assert body["status"] == status
    assert body["detail"]
    return body


def test_annotate_passes_the_bytes_and_the_choice(http, fake):
    answer = http.post("/v1/annotate/image?annotators=objects,faces", files={"file": b"abc"})
    assert answer.json()["asset"] == {"media_type": "image/png", "sha256": "0" * 64, "width": 3, "height": 2}
    assert fake.asked == [("annotate", b"abc", ("objects", "faces"), False)]
    http.post("/v1/annotate/image?annotators=memes&explain=true", files={"file": b"abc"})
    assert fake.asked[-1] == ("annotate", b"abc", ("memes",), True)
    assert_problem(http.post("/v1/annotate/image?annotators=nonsense", files={"file": b"a"}), 400, "bad_request")


@pytest.mark.parametrize("path", ["/v1/annotate/image", "/v1/annotate/video", "/v1/assets"])
def test_a_url_is_refused_by_its_code(http, path):
    body = {"url": "http://169.254.169.254/latest", "owner": "anna"}
    assert_problem(http.post(path, json=body), 403, "url_input_disabled")


@pytest.mark.parametrize("path", ["/v1/annotate/image", "/v1/annotate/video", "/v1/assets", "/v1/search"])
def test_broken_bodies_are_client_errors(http, path):
    form = "multipart/form-data"
    assert_problem(http.post(path, content=b"x", headers={"content-type": "image/png"}), 415, "unsupported_media")
    assert_problem(http.post(path, content=b"x"), 415, "unsupported_media")
    assert_problem(http.post(path, content=b"x", headers={"content-type": form}), 400, "bad_request")
    torn = f"{form}; boundary=b"
    for content in (b"", b"--b\r\n", b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\nhalf"):
        answer = http.post(path, content=content, headers={"content-type": torn})
        assert 400 <= answer.status_code < 500, (content, answer.text)
    assert_problem(http.post(path, files={"other": b"x"}), 400, "bad_request")
    assert_problem(http.post(path, content=b"{", headers={"content-type": "application/json"}), 400, "bad_request")
    assert_problem(http.post(path, json=[1]), 400, "bad_request")
    deep = b'{"text":' + b"[" * 100_000
    assert_problem(http.post(path, content=deep, headers={"content-type": "application/json"}), 400, "bad_request")


@pytest.mark.parametrize("path", ["/v1/annotate/image", "/v1/annotate/video", "/v1/assets", "/v1/search"])
def test_a_file_above_the_limit_is_too_large_declared_or_not(http, path):
    assert_problem(http.post(path, files={"file": b"x" * 1001}, data={"owner": "a"}), 413, "too_large")

    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        for _ in range(40):
            yield b"x" * 100_000

    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert_problem(http.post(path, content=endless(), headers=headers), 413, "too_large")
    raw = "/mv_retrieval/v0.1/add_content?id=1&type=image&user=u"
    assert_problem(http.post(raw, content=b"x" * 1001), 413, "too_large")


def test_an_asset_is_accepted_with_its_location(http, fake):
    answer = http.post(
        "/v1/assets", files={"file": ("x.png", b"abc")}, data={"owner": "anna", "id": "a b/ü", "description": "d"},
        headers={"Idempotency-Key": "k1"},
    )  # fmt: skip
    assert answer.status_code == 202
    assert answer.headers["location"] == "/v1/assets/a%20b/%C3%BC"
    assert answer.json()["stages"] == {"annotate": {"state": "ready"}}
    new = fake.asked[0][1]
    assert (new.owner, new.id, new.description, new.idempotency_key) == ("anna", "a b/ü", "d", "k1")
    assert http.get(answer.headers["location"]).json()["id"] == "a b/ü"


def test_a_field_that_stands_twice_is_refused(http, fake):
    twice = [("file", ("f", b"a")), ("owner", (None, "a")), ("owner", (None, "b"))]
    assert_problem(http.post("/v1/assets", files=twice), 400, "bad_request")
    assert fake.asked == []


def test_an_upload_is_open_until_what_reads_it_has_ended(fake, monkeypatch):
    read = []

    async def add(new):
        await asyncio.sleep(0.3)
        read.append((new.upload.size, new.upload.file.read()))
        return fake.asset("a"), True

    monkeypatch.setattr(fake, "add", add)
    part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    body = part % (b"owner", b"", b"anna") + part % (b"file", b'; filename="f"', b"abc") + b"--b--\r\n"
    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    scope = {"type": "http", "method": "POST", "path": "/v1/assets", "query_string": b"", "headers": headers}

    async def scenario():
        received = asyncio.Queue()
        received.put_nowait({"type": "http.request", "body": body})
        asking = asyncio.create_task(create_app(Services(*[fake] * 7))(scope, received.get, lambda message: None))
        await asyncio.sleep(0.1)
        asking.cancel()  # as a server does whose client has left
        await asyncio.wait({asking})
        assert asking.cancelled()

    asyncio.run(scenario())
    assert read == [(3, b"abc")]


def test_an_asset_without_owner_or_with_unknown_fields_is_refused(http, fake):
    assert_problem(http.post("/v1/assets", files={"file": b"a"}), 400, "bad_request")
    refused = http.post("/v1/assets", files={"file": b"a"}, data={"owner": "a", "onwer": "b"})
    assert "onwer" in assert_problem(refused, 400, "bad_request")["detail"]
    assert fake.asked == []


@pytest.mark.parametrize("id", ["plain", "with/slash", "日本/🐈", "50% off?", "x/annotationsx"])
def test_ids_of_any_kind_reach_the_service(http, fake, id):
    from urllib.parse import quote

    path = f"/v1/assets/{quote(id)}"
    http.get(path)
    http.get(path + "/annotations")
    (made,) = http.get(path + "/renditions").json()["items"]
    assert (made["name"], made["media_type"], made["width"]) == ("thumbnail.png", "image/png", 512)
    http.get(path + "/files/original")
    http.delete(path)
    asked = [("get", id), ("annotations", id), ("renditions", id), ("download", id, "original"), ("delete", id)]
    assert fake.asked == asked


def test_stored_files_are_never_rendered_in_place(http):
    answer = http.get("/v1/assets/a/files/original")
    assert answer.text == "<script>"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''na%C3%AFve.html")


def test_what_the_service_made_itself_is_shown_in_place(http):
    answer = http.get("/v1/assets/a/files/thumbnail.png")
    assert answer.headers["content-disposition"].startswith("inline; ")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox"


def test_files_are_kept_by_who_fetched_them(http):
    stream = http.get("/v1/assets/a/b/files/web/h264-111111111111.mp4")
    assert stream.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert stream.headers["etag"] == f'"{"1" * 64}"'
    assert stream.headers["access-control-allow-origin"] == "*"
    original = http.get("/v1/assets/a/files/original")
    assert original.headers["cache-control"] == "no-cache"
    assert "access-control-allow-origin" not in original.headers
    for known, status in (
        (original.headers["etag"], 304), (f'"x", {original.headers["etag"]}', 304), ('"x"', 200), ("*x", 200)
    ):  # fmt: skip
        again = http.get("/v1/assets/a/files/original", headers={"If-None-Match": known})
        assert (again.status_code, len(again.content)) == (status, 0 if status == 304 else 8)
        assert again.headers["etag"] == original.headers["etag"]


def test_streams_are_made_by_a_job(http, fake):
    answer = http.post("/v1/assets/a/b/renditions", json={"preset": "web"}, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 202
    assert answer.headers["location"] == "/v1/jobs/j"
    assert answer.json()["kind"] == "adapt"
    assert fake.asked == [("adapt", "a/b", "web", "k")]
    for body in ({}, {"preset": 3}, {"preset": "web", "more": 1}):
        assert_problem(http.post("/v1/assets/a/renditions", json=body), 400, "bad_request")


def test_the_transcoders_routes_that_answer_at_once(fake):
    with TestClient(create_app(Services(*[fake] * 7, transcoding=fake, max_upload_bytes=1000))) as http:
        assert http.get("/HealthCheck/").json() == {"status": "ok"}
        answer = http.post("/ThumbnailFromVideo/?format=webp&size=100", files={"file": b"abc"})
        assert (answer.content, answer.headers["content-type"]) == (b"made", "image/webp")
        http.post("/GIFSummaryFromVideo/", files={"file": b"abc"})
        http.post("/ExtractAudioFromVideo/?format=m4a", files={"file": b"abc"})
        assert fake.asked == [
            ("direct", b"abc", "thumbnail", "webp", 100),
            ("direct", b"abc", "summary", "gif", 320),
            ("direct", b"abc", "sound", "m4a", 0),
        ]
        for wrong in ("/ThumbnailFromVideo/?format=gif", "/GIFSummaryFromVideo/?size=9999"):
            assert_problem(http.post(wrong, files={"file": b"abc"}), 400, "bad_request")


def test_a_file_that_is_deleted_while_it_is_sent_arrives_whole(http, fake, tmp_path, monkeypatch):
    place = tmp_path / "original"
    place.write_bytes(bytes(range(256)) * 1000)
    opened = []

    async def download(id, path):
        opened.append(place.open("rb"))
        place.unlink()
        return Download("image/png", 256_000, "x.png", opened[-1], "0" * 64)

    monkeypatch.setattr(fake, "download", download)
    whole = http.get("/v1/assets/a/files/original")
    assert whole.content == bytes(range(256)) * 1000
    assert whole.headers["content-length"] == "256000"
    assert opened[-1].closed
    place.write_bytes(bytes(range(256)))
    part = http.get("/v1/assets/a/files/original", headers={"Range": "bytes=10-12"})
    assert (part.status_code, part.content) == (206, bytes([10, 11, 12]))
    assert opened[-1].closed


def test_listing_is_bounded(http, fake):
    answer = http.get("/v1/assets", params={"owner": "anna", "kind": "image", "limit": 3, "filter": "object:dog"})
    assert answer.json()["next_cursor"] == "more"
    assert fake.asked[0][1]["limit"] == 3
    for bad in ({"limit": 0}, {"limit": 501}, {"kind": "x"}, {"sha256": "zz"}, {"limit": "many"}):
        assert_problem(http.get("/v1/assets", params=bad), 400, "bad_request")


def test_videos_are_found_by_their_moments(http, fake, monkeypatch):
    async def search_text(query):
        fake.note("search_text", query)
        found = schemas.VideoRanking(contents=["v"], scores=[0.5], moments=[schemas.Moment(start_s=4.2, end_s=9.8)])
        return schemas.SearchResult(video=found, partial=False, time=0.1)

    monkeypatch.setattr(fake, "search_text", search_text)
    answer = http.post("/v1/search", json={"text": "a red cube"}).json()
    assert answer["video"] == {"contents": ["v"], "scores": [0.5], "moments": [{"start_s": 4.2, "end_s": 9.8}]}
    assert fake.asked[0][1].modalities == ["text", "image", "video", "shape3d"]


def test_search_by_text_and_by_picture(http, fake):
    answer = http.post("/v1/search", json={"text": "a red cube", "k": 3, "min_score": "auto"}).json()
    assert answer == {"image": {"contents": ["a"], "scores": [0.5]}, "partial": False, "truncated": False, "time": 0.1}
    options = {"k": "4", "modalities": "image", "username": "anna", "min_score": "0.2"}
    http.post("/v1/search", files={"file": b"abc"}, data=options)
    query = fake.asked[1][2]
    assert (query.k, query.modalities, query.username, query.min_score) == (4, ["image"], "anna", 0.2)


@pytest.mark.parametrize(
    "body",
    [{"text": "a", "k": k} for k in (0, -1, 10**9, 10**30, 1.5, "x", None)]
    + [{}, {"text": 3}, {"text": "a", "modalities": []}, {"text": "a", "modalities": ["smell"]}, {"text": "a", "K": 1}]
    + [{"text": "a", "min_score": "high"}, {"text": "a" * 1_000_001}],
)
def test_nonsense_queries_are_refused(http, fake, body):
    assert_problem(http.post("/v1/search", json=body), 400, "bad_request")
    assert fake.asked == []


def test_the_legacy_routes_answer_as_existing_nodes_expect(http, fake):
    added = http.post("/mv_retrieval/v0.1/add_content?id=7/é&type=text&user=mario", content="ciao").json()
    assert added["msg"] == "Content 7/é successfully added to the indexer by user mario"
    assert isinstance(added["time"], float)
    assert set(added) == {"msg", "time"}
    found = http.post("/mv_retrieval/v0.1/retrieve_contents?user=mario&type=text&k=2", content="ciao").json()
    assert found["text"] == "No contents available other than mario ones"
    http.post("/mv_retrieval/v0.1/recommend_contents?user=mario&k=2")
    assert fake.asked == [
        ("add_content", "7/é", "text", "mario", b"ciao"),
        ("retrieve", "text", "mario", 2, b"ciao"),
        ("recommend", "mario", 2),
    ]


@pytest.mark.parametrize("k", ["0", "-1", "1000000000", "9" * 40, "x", ""])
@pytest.mark.parametrize("route", ["retrieve_contents", "recommend_contents"])
def test_the_legacy_routes_refuse_nonsense_k(http, route, k):
    answer = http.post(f"/mv_retrieval/v0.1/{route}?user=u&type=text&k={k}", content="x")
    assert_problem(answer, 400, "bad_request")


def test_the_legacy_routes_name_what_is_missing(http):
    assert (
        "user"
        in assert_problem(http.post("/mv_retrieval/v0.1/add_content?id=1&type=text", content="x"), 400, "bad_request")[
            "detail"
        ]
    )
    wrong = http.post("/mv_retrieval/v0.1/add_content?id=1&type=smell&user=u", content="x")
    assert_problem(wrong, 400, "bad_request")


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_its_status(code):
    services = Services(*[Fake(Problem(code, "why", "what to do"))] * 7)
    http = TestClient(create_app(services), raise_server_exceptions=False)
    answer = http.get("/v1/assets/x")
    body = assert_problem(answer, CODES[code], code)
    assert body["remedy"] == "what to do"
    assert ("retry-after" in answer.headers) == (CODES[code] == 503)


def test_unknown_routes_methods_and_crashes_are_problems_too():
    fake = Fake(RuntimeError("secret path /etc"))
    http = TestClient(create_app(Services(*[fake] * 7)), raise_server_exceptions=False)
    assert_problem(http.get("/nowhere"), 404, "not_found")
    refused = http.put("/v1/assets/x")
    assert_problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"]
    assert "secret" not in assert_problem(http.get("/v1/assets/x"), 500, "internal")["detail"]


def test_health_and_docs(http):
    assert http.get("/health/live").json() == {"live": True}
    assert http.head("/health/live").status_code == http.head("/health/ready").status_code == 200
    assert http.get("/health/ready").status_code == 200
    waiting = TestClient(create_app(Services(*[Fake(Problem("overloaded", "x"))] * 7)))
    assert waiting.get("/health/ready").status_code == 503
    page = http.get("/").text
    assert "swagger" in page
    assert "https://" not in page.replace("https://fastapi", ""), "the docs page must need no network"
    paths = http.get("/openapi.json").json()["paths"]
    assert {"/v1/annotate/image", "/v1/assets", "/v1/search", "/mv_retrieval/v0.1/add_content"} <= set(paths)
    json.dumps(paths)
