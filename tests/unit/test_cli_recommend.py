"""``mediaverse recommend``, ``starter`` and ``interests`` against the real door with a small fake behind it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from serve_app.cli import app
from tests.unit.wire.door import services, serving
from tests.unit.wire.recommendation_port import NAME, Recommendation


def run(port: Recommendation, *arguments: object, code: int = 0) -> Any:
    with serving(services(recommendation=port)) as url:
        result = CliRunner().invoke(app, [*map(str, arguments), "--url", url])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_recommendations_say_why() -> None:
    port = Recommendation()
    assert run(port, "recommend", NAME).stdout.splitlines() == [
        "score  because of text              text",
        "0.810  cluster 1 (40%), anna/d[o]g  ben/dog",
        "0.500  outlier anna/odd             ben/[x]",
    ]
    assert port.asked == [(NAME, 10, 0.2, 0, "all-clusters")]


def test_every_option_is_passed_on() -> None:
    port = Recommendation()
    said = run(port, "recommend", "anna", "-k", 3, "--d", 0.5, "--seed", 7, "--mode", "report", "--json").stdout
    assert json.loads(said)["mode"] == "report"
    assert port.asked == [("anna", 3, 0.5, 7, "report")]


@pytest.mark.parametrize(("option", "value"), [("-k", 0), ("--d", "nan"), ("--mode", "other"), ("--seed", -1)])
def test_what_the_service_refuses_is_told(option: str, value: object) -> None:
    assert "bad_request" in run(Recommendation(), "recommend", "anna", option, value, code=1).stderr


def test_who_has_no_posts_is_shown_the_way() -> None:
    assert "mediaverse starter" in run(Recommendation(), "recommend", "cold").stdout


def test_a_starter_set_is_listed() -> None:
    assert run(Recommendation(), "starter", "-k", 1).stdout.splitlines() == ["kind   content", "image  ben/[x]"]
    assert len(json.loads(run(Recommendation(), "starter", "--json").stdout)["items"]) == 2


def test_interests_are_kept_shown_and_forgotten() -> None:
    port = Recommendation()
    assert "no interests" in run(port, "interests", NAME).stdout
    assert run(port, "interests", NAME, "ben/[x]", "b").stdout.splitlines() == ["interests", "ben/[x]", "b"]
    assert json.loads(run(port, "interests", NAME, "--json").stdout) == {"ids": ["ben/[x]", "b"]}
    assert "no interests" in run(port, "interests", NAME, "--clear").stdout
    assert port.asked[-1] == ("put", NAME, [])
    assert "not_found" in run(port, "interests", NAME, "nobody's", code=1).stderr
    assert run(port, "interests", NAME, "a", "--clear", code=2)
