"""3D models at the door: what is asked reaches the service, what it says comes back, and clients may leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from serve_app.errors import Problem
from serve_app.wire import schemas
from serve_app.wire.http import create_app
from serve_app.wire.ports import Upload
from tests.unit.wire.door import FOREVER, services, serving, soon

PATH, THUMBNAIL = "/v1/annotate/3d", "/ThumbnailFrom3D/"
PICTURE = b"\x89PNG\r\n\x1a\n..."
BROKEN = Problem("undecodable_media", "a face names vertex 9 of 3")
LATE = Problem("deadline", "not done", "post it as an asset")

ANSWER = schemas.ShapeAnnotation(
    asset=schemas.ShapeInfo(
        media_type="model/gltf-binary", sha256="0" * 64, format="glb", triangles=12, vertices=24, textured=True,
        size=(1.0, 2.0, 3.0),
    ),
    results={
        "object_detection": schemas.TaskResult(
            status="ok", labels=[schemas.Label(label="cube", confidence=0.9, box=(1, 2, 3, 4), views=[3, 0])]
        ),
        "cross_modal_embedding": schemas.TaskResult(
            status="ok", embeddings=[schemas.ViewEmbedding(view=0, embedding=[0.6, 0.8])]
        ),
    },
    views=[schemas.View(azimuth=0, elevation=0, inside=False), schemas.View(azimuth=45, elevation=0, inside=True)],
    notes=["texture x.png is missing"],
    stage=schemas.ShapeTimes(load_s=0.25, render_s=0.5, annotate_s=0.25, total_s=1.0),
    view_keys=["for the index only"],
)  # fmt: skip


class Shapes:
    """A port of 3D models that says what it was given, after a while or never."""

    def __init__(self, problem: Exception | None = None, after_s: float = 0.0) -> None:
        self.problem, self.after_s = problem, after_s
        self.asked: list[Any] = []
        self.begun, self.ended = threading.Event(), threading.Event()

    def parse_annotators(self, names: str | None) -> tuple[str, ...]:
        if names == "nonsense":
            raise Problem("bad_request", "no such annotator")
        return tuple((names or "objects,captions").split(","))

    async def annotate(self, upload: Upload, annotators: Sequence[str], up: str | None, pictures: bool) -> Any:
        self.asked.append((upload.data, annotators, up, pictures))
        await self._work()
        return ANSWER

    async def thumbnail(self, upload: Upload) -> bytes:
        self.asked.append(upload.data)
        await self._work()
        return PICTURE

    async def _work(self) -> None:
        self.begun.set()
        try:
            await asyncio.sleep(self.after_s)
        finally:
            self.ended.set()
        if self.problem:
            raise self.problem


def client(shapes: Shapes | None) -> TestClient:
    return TestClient(create_app(services(shape3d=shapes)), raise_server_exceptions=False)


def post(shapes: Shapes | None, query: str = "", path: str = PATH) -> httpx.Response:
    return client(shapes).post(path + query, files={"file": ("a.glb", b"mesh")})


def test_the_answer_names_views_and_keeps_what_is_not_for_clients() -> None:
    answer = post(Shapes())
    assert answer.status_code == 200
    body = answer.json()
    assert body["asset"]["size"] == [1.0, 2.0, 3.0]
    assert body["views"][1] == {"azimuth": 45.0, "elevation": 0.0, "inside": True}
    (cube,) = body["results"]["object_detection"]["labels"]
    assert cube == {"label": "cube", "confidence": 0.9, "box": [1, 2, 3, 4], "views": [3, 0]}
    assert body["results"]["cross_modal_embedding"]["embeddings"] == [{"view": 0, "embedding": [0.6, 0.8]}]
    assert body["notes"] == ["texture x.png is missing"]
    assert body["stage"] == {"load_s": 0.25, "render_s": 0.5, "annotate_s": 0.25, "total_s": 1.0}
    assert set(body) == {"asset", "results", "views", "notes", "stage"}


def test_what_is_asked_reaches_the_service() -> None:
    shapes = Shapes()
    post(shapes)
    post(shapes, "?annotators=embedding&up=z&pictures=true")
    assert shapes.asked == [
        (b"mesh", ("objects", "captions"), None, False),
        (b"mesh", ("embedding",), "z", True),
    ]


@pytest.mark.parametrize("query", ["?annotators=nonsense", "?up=x", "?pictures=perhaps"])
def test_nonsense_is_refused_before_the_file_is_looked_at(query: str) -> None:
    shapes = Shapes()
    answer = post(shapes, query)
    assert (answer.status_code, answer.json()["code"], shapes.asked) == (400, "bad_request", [])


def test_the_transcoders_route_answers_with_the_picture_itself() -> None:
    shapes = Shapes()
    answer = post(shapes, path=THUMBNAIL)
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "image/png", PICTURE)
    assert shapes.asked == [b"mesh"]


@pytest.mark.parametrize("path", [PATH, THUMBNAIL])
@pytest.mark.parametrize(("problem", "status"), [(BROKEN, 422), (LATE, 504), (RuntimeError("secret"), 500)])
def test_faults_are_problems(path: str, problem: Exception, status: int) -> None:
    answer = post(Shapes(problem), path=path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", [PATH, THUMBNAIL])
def test_a_service_that_draws_nothing_says_so(path: str) -> None:
    assert post(None, path=path).json()["code"] == "unavailable"


@pytest.mark.parametrize("path", [PATH, THUMBNAIL])
def test_a_url_is_not_fetched(path: str) -> None:
    answer = client(Shapes()).post(path, json={"url": "http://127.0.0.1/a.glb"})
    assert (answer.status_code, answer.json()["code"]) == (403, "url_input_disabled")


@pytest.mark.parametrize("path", [PATH, THUMBNAIL])
def test_a_client_that_leaves_ends_the_work(path: str) -> None:
    shapes = Shapes(after_s=FOREVER)
    with serving(services(shape3d=shapes)) as url:
        with httpx.Client(base_url=url, timeout=0.5) as http, pytest.raises(httpx.ReadTimeout):
            http.post(path, files={"file": b"mesh"})
        assert shapes.begun.is_set()
        assert soon(shapes.ended.is_set, 2), "the work went on without its client"


def test_it_is_documented() -> None:
    paths = client(Shapes()).get("/openapi.json").json()["paths"]
    described = paths[PATH]["post"]
    answers = described["responses"]["200"]["content"]
    assert answers["application/json"]["schema"]["$ref"].endswith("/ShapeAnnotation")
    assert {parameter["name"] for parameter in described["parameters"]} == {"annotators", "up", "pictures"}
    assert "image/png" in paths[THUMBNAIL]["post"]["responses"]["200"]["content"]
