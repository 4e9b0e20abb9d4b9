"""What ``POST /v1/search`` takes, and how it refuses the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serve_app.wire import schemas
from serve_app.wire.http import create_app
from tests.unit.wire.door import services
from tests.unit.wire.test_http import Fake


class Asked(Fake):
    """Remembers queries, and finds one picture by its words."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[schemas.TextQuery] = []

    async def search_text(self, query: schemas.TextQuery) -> schemas.SearchResult:
        self.queries.append(query)
        found = schemas.Ranking(contents=["a", "b"], scores=[0.5, 0.1], words=[False, True])
        texts = schemas.Ranking(contents=[], scores=[])
        return schemas.SearchResult(image=found, text=texts, partial=False, next_cursor="more", time=0.1)

    async def search_image(self, data: bytes, query: schemas.TextQuery) -> schemas.SearchResult:
        return await self.search_text(query)


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def http(asked: Asked) -> TestClient:
    return TestClient(create_app(services(retrieval=asked)), raise_server_exceptions=False)


def test_words_and_the_next_page_are_told_where_there_are_some(http: TestClient) -> None:
    answer = http.post("/v1/search", json={"text": "x"}).json()
    assert answer["image"] == {"contents": ["a", "b"], "scores": [0.5, 0.1], "words": [False, True]}
    assert answer["text"] == {"contents": [], "scores": []}
    assert answer["next_cursor"] == "more"
    assert "video" not in answer


def test_a_form_says_what_json_says(http: TestClient, asked: Asked) -> None:
    options = {"k": 3, "diversity": 0.25, "cursor": "abc", "min_score": -0.5, "modalities": ["image", "video"]}
    http.post("/v1/search", json={"text": "", **options})
    form = {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in options.items()}
    assert http.post("/v1/search", files={"file": b"abc"}, data=form).status_code == 200
    first, second = asked.queries
    assert first == second
    assert (first.k, first.diversity, first.cursor, first.min_score) == (3, 0.25, "abc", -0.5)


@pytest.mark.parametrize("k", [1, 10_000])
def test_k_within_its_bounds(http: TestClient, asked: Asked, k: int) -> None:
    assert http.post("/v1/search", json={"text": "x", "k": k}).status_code == 200
    assert asked.queries[0].k == k


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"k": 0}, "k must be"),
        ({"k": -1}, "k must be"),
        ({"k": 10_001}, "k must be"),
        ({"k": 10**6}, "k must be"),
        ({"k": 10**30}, "k"),
        ({"k": 1.5}, "k"),
        ({"k": "ten"}, "k"),
        ({"min_score": float("nan")}, "min_score"),
        ({"min_score": float("inf")}, "min_score"),
        ({"min_score": "high"}, "min_score"),
        ({"diversity": -0.1}, "diversity"),
        ({"diversity": 1.1}, "diversity"),
        ({"diversity": float("nan")}, "diversity"),
        ({"diversity": "much"}, "diversity"),
        ({"modalities": ["smell"]}, "modalities"),
        ({"modalities": []}, "modalities"),
        ({"modalities": ["text"] * 100}, "modalities"),
        ({"cursor": "x" * 200_000}, "cursor"),
        ({"cursor": 7}, "cursor"),
        ({"filter": "x" * 5000}, "filter"),
        ({"username": "x" * 5000}, "username"),
        ({"text": "x" * 1_000_001}, "text"),
        ({"text": None}, "text"),
        ({"diverse": 1}, "diverse"),
    ],
)
def test_nonsense_is_refused_by_name(http: TestClient, asked: Asked, options: dict[str, Any], named: str) -> None:
    body = json.dumps({"text": "x"} | options)
    answer = http.post("/v1/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_request"
    assert named in answer.json()["detail"]
    assert len(answer.content) < 3000
    assert asked.queries == []


def test_a_megabyte_of_text_is_taken(http: TestClient, asked: Asked) -> None:
    assert http.post("/v1/search", json={"text": "x " * 500_000}).status_code == 200
    assert len(asked.queries[0].text) == 1_000_000


def test_the_description_tells_of_all_of_it(http: TestClient) -> None:
    route = http.get("/openapi.json").json()["paths"]["/v1/search"]["post"]
    bodies = route["requestBody"]["content"]
    for media_type in ("application/json", "multipart/form-data"):
        assert {"diversity", "cursor", "min_score"} <= set(bodies[media_type]["schema"]["properties"])
    shapes = http.get("/openapi.json").json()["components"]["schemas"]
    assert "next_cursor" in shapes["SearchResult"]["properties"]
    assert "words" in shapes["Ranking"]["properties"]
