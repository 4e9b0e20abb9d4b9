"""The routes of recommendation over a small fake of what is behind them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from serve_app.wire.http import create_app
from tests.unit.wire.door import services
from tests.unit.wire.recommendation_port import NAME, Recommendation


@pytest.fixture
def port() -> Recommendation:
    return Recommendation()


@pytest.fixture
def http(port: Recommendation) -> TestClient:
    return TestClient(create_app(services(recommendation=port)), raise_server_exceptions=False)


def at(user: str, what: str = "recommendations", safe: str = "") -> str:
    return f"/v1/users/{quote(user, safe=safe)}/{what}"


@pytest.mark.parametrize("safe", ["", "/"])
def test_any_name_reaches_whom_it_is_about(http: TestClient, port: Recommendation, safe: str) -> None:
    assert http.get(at(NAME, safe=safe)).status_code == 200
    assert http.get(at(NAME, "interests", safe)).json() == {"ids": []}
    assert http.put(at(NAME, "interests", safe), json={"ids": ["a/b"]}).json() == {"ids": ["a/b"]}
    assert port.asked == [(NAME, 10, 0.2, 0, "all-clusters"), ("interests", NAME), ("put", NAME, ["a/b"])]


def test_every_parameter_is_passed_on(http: TestClient, port: Recommendation) -> None:
    asked = {"k": 10_000, "d": 1, "seed": 2**63 - 1, "mode": "report"}
    body = http.get(at("anna"), params=asked).json()
    assert port.asked == [("anna", 10_000, 1.0, 2**63 - 1, "report")]
    assert body["mode"] == "report"
    assert body["text"]["text"]["contents"] == ["ben/dog", "ben/[x]"]
    assert body["text"]["text"]["explanations"] == [
        {"seed": "anna/d[o]g", "role": "medoid", "cluster": 0, "share": 0.4, "similarity": 0.81},
        {"seed": "anna/odd", "role": "outlier", "similarity": 0.5},
    ]
    assert body["image"] == {kind: {"contents": [], "scores": [], "explanations": []} for kind in ("text", "image")}
    assert body["clusters"] == {"text": [{"size": 8, "share": 0.4, "medoid": "anna/d[o]g"}], "image": []}
    assert (body["cold_start"], body["partial"], body["time"]) == (False, False, 0.1)


@pytest.mark.parametrize(
    "asked",
    [
        {"k": 0}, {"k": -1}, {"k": 10_001}, {"k": 10**6}, {"k": "ten"}, {"k": "9" * 5000}, {"k": 1.5}, {"d": -0.1},
        {"d": 1.1}, {"d": "nan"}, {"d": "inf"}, {"d": "x"}, {"seed": -1}, {"seed": 2**63}, {"mode": "Report"},
        {"mode": ""},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(http: TestClient, port: Recommendation, asked: dict[str, Any]) -> None:
    answer = http.get(at("anna"), params=asked)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), asked
    assert port.asked == []


@pytest.mark.parametrize(
    "body", [{}, {"ids": "a"}, {"ids": [""]}, {"ids": [1]}, {"ids": ["a"] * 101}, {"ids": [], "x": 1}, [], "a" * 600]
)
def test_other_picks_are_refused(http: TestClient, port: Recommendation, body: Any) -> None:
    assert http.put(at("anna", "interests"), json=body).json()["code"] == "bad_request"
    assert port.asked == []


def test_problems_keep_their_codes(http: TestClient) -> None:
    answer = http.get(at("broken"))
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline")
    unknown = http.put(at("anna", "interests"), json={"ids": ["nobody's"]})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("k", [0, 201, "x", -1])
def test_a_starter_set_is_bounded(http: TestClient, port: Recommendation, k: object) -> None:
    assert http.get("/v1/starter", params={"k": k}).json()["code"] == "bad_request"
    assert http.get("/v1/starter", params={"k": 1}).json()["items"] == [{"id": "ben/[x]", "kind": "image"}]
    assert http.get("/v1/starter").status_code == 200
    assert port.asked == [("starter", 1), ("starter", 20)]
