"""The routes of people over a small fake of what is behind them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from serve_app.wire.http import create_app
from tests.unit.wire.door import services
from tests.unit.wire.people_port import NAME, People


@pytest.fixture
def people() -> People:
    return People()


@pytest.fixture
def http(people: People) -> TestClient:
    return TestClient(create_app(services(people=people, max_upload_bytes=1000)), raise_server_exceptions=False)


def pictures(*names: str, part: str = "files", data: bytes = b"x") -> list[Any]:
    return [(part, (name, data)) for name in names]


def at(name: str) -> str:
    return f"/v1/people/{quote(name)}"


def test_pictures_make_a_person(http: TestClient, people: People) -> None:
    answer = http.put(at(NAME), files=pictures("a.png", "b.png"))
    assert (answer.status_code, answer.json()["name"]) == (201, NAME)
    assert people.asked == [("add", NAME, [("a.png", b"x"), ("b.png", b"x")])]
    assert http.put(at("known"), files=pictures("a.png")).status_code == 200
    refused = http.put(at("twins"), files=pictures("a.png", "b.png"))
    assert (refused.status_code, refused.json()["code"]) == (422, "unprocessable")
    assert "'b.png'" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"files": pictures("a.png", part="file")}, "bad_request"),
        ({"files": pictures("a.png"), "data": {"name": "x"}}, "bad_request"),
        ({"files": {"other": (None, "text")}}, "bad_request"),
        ({"files": pictures(*map(str, range(51)))}, "bad_request"),
        ({"files": pictures("a", "b", data=b"x" * 501)}, "too_large"),
        ({"json": {"url": "http://example.org/a.png"}}, "url_input_disabled"),
        ({"content": b"raw"}, "unsupported_media"),
    ],
)
def test_other_bodies_are_refused(http: TestClient, people: People, body: dict[str, Any], code: str) -> None:
    assert http.put(at("anna"), **body).json()["code"] == code
    assert people.asked == []


def test_everything_else_reaches_whom_it_is_about(http: TestClient, people: People) -> None:
    assert http.get("/v1/people", params={"limit": 2, "cursor": "c"}).json()["next_cursor"] == "more"
    assert http.get(at(NAME)).json()["faces"][0]["id"] == 7
    assert http.patch(at(NAME), json={"name": "anna"}).status_code == 200
    assert http.post(f"{at(NAME)}/merge", json={"from": "ben"}).json()["merged"] == ["B."]
    assert http.post(f"{at(NAME)}/unmerge", json={"from": "ben"}).status_code == 200
    assert http.post(f"{at(NAME)}/split", json={"faces": [7, 8], "into": "ben"}).status_code == 200
    face, export = http.get(f"{at(NAME)}/faces/7"), http.get(f"{at(NAME)}/export")
    assert (face.content, face.headers["content-type"]) == (b"jpeg", "image/jpeg")
    assert (export.content, export.headers["content-type"]) == (b"PK zip", "application/zip")
    assert (http.delete(at(NAME)).status_code, http.delete(f"{at(NAME)}?erase=true").status_code) == (204, 204)
    assert people.asked == [
        ("page", 2, "c"), ("get", NAME), ("rename", NAME, "anna"), ("merge", NAME, "ben"), ("unmerge", NAME, "ben"),
        ("split", NAME, [7, 8], "ben"), ("face", NAME, 7), ("export", NAME), ("delete", NAME, False),
        ("delete", NAME, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("PATCH", "", {}),
        ("PATCH", "", {"name": "a", "other": 1}),
        ("POST", "/merge", {"into": "ben"}),
        ("POST", "/split", {"faces": [], "into": "ben"}),
        ("POST", "/split", {"faces": ["x"], "into": "ben"}),
    ],
)
def test_nonsense_is_refused(http: TestClient, people: People, verb: str, path: str, body: Any) -> None:
    assert http.request(verb, at("anna") + path, json=body).json()["code"] == "bad_request"
    assert people.asked == []


def test_a_face_is_searched_for_among_ones_own(http: TestClient, people: People) -> None:
    answer = http.post("/v1/search/faces", files={"file": b"face"}, data={"owner": "anna", "k": "3"})
    assert answer.json()["items"][0]["asset_id"] == "a"
    assert people.asked == [("search", b"face", "anna", 3)]
    for fields in ({}, {"owner": "anna", "k": "0"}, {"owner": "anna", "k": "x"}, {"owner": "a", "k": "9" * 5000}):
        assert http.post("/v1/search/faces", files={"file": b"f"}, data=fields).json()["code"] == "bad_request", fields


def test_a_service_without_people_says_so() -> None:
    http = TestClient(create_app(services()))
    answer = http.get("/v1/people")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
