"""``mediaverse search`` page by page, over the real door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from serve_app.wire import schemas
from tests.unit.test_cli_videos import run
from tests.unit.wire.door import services, serving
from tests.unit.wire.test_http import Fake

PAGES = [
    schemas.SearchResult(
        image=schemas.Ranking(contents=["a", "b"], scores=[0.9, 0.2], words=[False, True]),
        video=schemas.VideoRanking(contents=["v"], scores=[0.5], moments=[schemas.Moment(start_s=1, end_s=2)]),
        partial=False, next_cursor="one", time=0.1,
    ),
    schemas.SearchResult(
        image=schemas.Ranking(contents=["c"], scores=[0.1]), partial=True, next_cursor="two", time=0.1,
    ),
    schemas.SearchResult(image=schemas.Ranking(contents=[], scores=[]), partial=False, time=0.1),
]  # fmt: skip
SHOWN = """\
score  words  image
0.900         a
0.200  yes    b
0.100         c
score  moment           video
0.500  00:01.0-00:02.0  v
"""


class Book(Fake):
    """Gives a page a cursor."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[schemas.TextQuery] = []

    def _page(self, query: schemas.TextQuery) -> schemas.SearchResult:
        self.queries.append(query)
        return PAGES[{None: 0, "one": 1, "two": 2}[query.cursor]]

    async def search_text(self, query: schemas.TextQuery) -> schemas.SearchResult:
        return self._page(query)

    async def search_image(self, data: bytes, query: schemas.TextQuery) -> schemas.SearchResult:
        return self._page(query)


def asked(*arguments: Any) -> tuple[Any, list[schemas.TextQuery]]:
    book = Book()
    with serving(services(retrieval=book)) as url:
        return run("search", *arguments, "--url", url), book.queries


def test_every_page_is_shown_as_one_table_a_modality() -> None:
    result, queries = asked("two dogs", "--all-pages", "--diversity", "0.3", "--modalities", "image,video")
    assert result.stdout == SHOWN
    assert "did not answer in time" in result.stderr
    assert [query.cursor for query in queries] == [None, "one", "two"]
    assert {(query.text, query.diversity, tuple(query.modalities)) for query in queries} == {
        ("two dogs", 0.3, ("image", "video"))
    }


def test_a_picture_is_paged_too(tmp_path: Path) -> None:
    file = tmp_path / "dog.png"
    file.write_bytes(b"one")
    result, queries = asked(file, "--all-pages", "--modalities", "image,video", "--diversity", "1", "-k", "2")
    assert result.stdout == SHOWN
    assert [(query.cursor, query.k, query.diversity) for query in queries] == [
        (None, 2, 1),
        ("one", 2, 1),
        ("two", 2, 1),
    ]
    assert queries[0].modalities == ["image", "video"]


def test_programs_get_a_line_a_page_and_go_on_by_themselves() -> None:
    result, _ = asked("x", "--json", "--all-pages")
    pages = [json.loads(line) for line in result.stdout.splitlines()]
    assert [page["image"]["contents"] for page in pages] == [["a", "b"], ["c"], []]
    assert [page.get("next_cursor") for page in pages] == ["one", "two", None]
    assert "words" not in pages[1]["image"]
    result, queries = asked("x", "--json", "--cursor", "one")
    assert [json.loads(line)["image"]["contents"] for line in result.stdout.splitlines()] == [["c"]]
    assert [query.cursor for query in queries] == ["one"]


def test_one_page_is_what_is_asked_for_otherwise() -> None:
    result, queries = asked("x")
    assert len(queries) == 1
    assert result.stdout.splitlines()[1:3] == ["0.900         a", "0.200  yes    b"]


@pytest.mark.parametrize("value", ["nan", "inf", "2", "-0.1"])
def test_a_diversity_that_is_none_is_wrong_usage(value: str) -> None:
    run("search", "x", f"--diversity={value}", code=2)


@pytest.mark.parametrize("value", ["nan", "-inf", ""])
def test_a_least_score_that_is_none_is_wrong_usage(value: str) -> None:
    run("search", "x", f"--min-score={value}", code=2)


def test_a_modality_that_is_none_is_refused() -> None:
    book = Book()
    with serving(services(retrieval=book)) as url:
        said = run("search", "x", "--modalities", "smell", "--url", url, code=1).stderr
    assert "modalities" in said
    assert "bad_request" in said
    assert book.queries == []
