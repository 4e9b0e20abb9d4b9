"""Pages of a search while writes go on: nothing twice, nothing left out that was there throughout."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError

import graphs.search
import serve_app.retrieval.paging
from serve_app.catalog import Tag
from serve_app.wire import schemas
from tests.graphs.test_retrieval import cosine, refused, search
from tests.graphs.test_retrieval_parts import stored
from tests.graphs.world import DIM, World, png

CAPTION = "a dog on a beach"


@dataclass
class Traffic:
    """Adds, deletes and replaces while somebody turns pages, and remembers who was there."""

    world: World
    dice: np.random.Generator
    alive: set[str] = field(default_factory=set)
    always: set[str] = field(default_factory=set)
    """Those that have been there, as they are, since the first page was asked for."""
    ever: set[str] = field(default_factory=set)
    dogs: set[str] = field(default_factory=set)

    def add(self, modality: str) -> None:
        name = f"{modality}{len(self.ever)}"
        if modality in ("text", "image"):
            self.world.post("anna", name, self.dice.normal(size=DIM), modality)
            name = f"anna/{name}"
        else:
            stored(self.world, modality, name, list(self.dice.normal(size=(int(self.dice.integers(1, 5)), DIM))))
        tags = [Tag("object", "dog", 0.9)] if self.dice.random() < 0.6 else []
        if self.dice.random() < 0.3:
            tags.append(Tag("caption", CAPTION, 0.9))
        self.world.catalog.annotations.put(name, "object_detection", {}, tags)
        if len(tags) and tags[0].name == "object":
            self.dogs.add(name)
        self.alive.add(name)
        self.ever.add(name)

    def delete(self) -> None:
        name = str(self.dice.choice(sorted(self.alive)))
        self.world.catalog.assets.delete(name)
        self.alive.discard(name)
        self.always.discard(name)

    def churn(self, modality: str) -> None:
        for _ in range(3):
            self.add(modality)
        for _ in range(2):
            self.delete()

    def fitting(self, filter: str | None) -> set[str]:
        return self.always if filter is None else self.always & self.dogs


def pages(world: World, text: str, modality: str, between: Any, **options: Any) -> list[list[str]]:
    """Every page's ids; ``between`` runs after each."""
    given: list[list[str]] = []
    cursor = None
    while True:
        answer = search(world, text, cursor=cursor, modalities=[modality], **options)
        assert not answer.partial
        given.append(getattr(answer, modality).contents)
        assert len(given[-1]) <= options["k"]
        cursor = answer.next_cursor
        if cursor is None:
            return given
        assert given[-1], "an empty page is the last"
        between()


@pytest.mark.parametrize(
    "options", [{}, {"filter": "object:dog"}, {"diversity": 0.5}, {"filter": "object:dog -owner:ben", "diversity": 0.9}]
)
@pytest.mark.parametrize("modality", ["text", "video"])
@pytest.mark.parametrize("seed", range(2))
def test_nothing_comes_twice_and_nothing_is_left_out(
    two_shards: World, seed: int, modality: str, options: dict[str, Any]
) -> None:
    traffic = Traffic(two_shards, np.random.default_rng(seed))
    for _ in range(25):
        traffic.add(modality)
    traffic.always = set(traffic.alive)
    rounds = [lambda: traffic.churn(modality)] * 3

    def between() -> None:
        if rounds:
            rounds.pop()()

    shown = pages(two_shards, CAPTION, modality, between, k=4, **options)
    flat = [id for page in shown for id in page]
    assert len(flat) == len(set(flat)), "nothing twice"
    filter = options.get("filter")
    assert set(flat) >= traffic.fitting(filter), "nothing left out that was there throughout"
    assert set(flat) <= traffic.ever
    assert not rounds, "pages were turned while it went on"


def test_pages_are_the_order_of_one_long_list_where_nothing_changes(two_shards: World) -> None:
    two_shards.choose("query", [1])
    for number in range(23):
        two_shards.post("anna", str(number), cosine(1 - number / 12))
    long = search(two_shards, "query", k=23, modalities=["text"]).text
    assert long is not None
    shown = pages(two_shards, "query", "text", lambda: None, k=5)
    assert [id for page in shown for id in page] == long.contents
    assert list(map(len, shown)) == [5, 5, 5, 5, 3]


def test_modalities_end_each_for_itself(world: World) -> None:
    for number in range(5):
        world.post("anna", f"t{number}", cosine(number / 10))
    world.post("anna", "p", cosine(0.5), "image")
    first = search(world, "query", k=2, modalities=["text", "image"])
    second = search(world, "query", k=2, modalities=["image", "text"], cursor=first.next_cursor)
    third = search(world, "query", k=2, modalities=["text", "image"], cursor=second.next_cursor)
    assert [len(each.text.contents) for each in (first, second, third) if each.text] == [2, 2, 1]
    assert [len(each.image.contents) for each in (first, second, third) if each.image] == [1, 0, 0]
    assert third.next_cursor is None


def test_an_item_that_comes_under_another_vector_is_not_shown_again(world: World) -> None:
    world.choose("query", [1])
    for name, value in (("a", 0.9), ("b", 0.8), ("c", 0.7)):
        world.post("anna", name, cosine(value))
    first = search(world, "query", k=1)
    assert first.text is not None
    assert first.text.contents == ["anna/a"]
    world.choose("another content", cosine(0.75))
    asyncio.run(world.retrieval.add_content("anna/a", "text", "anna", b"another content"))
    rest = search(world, "query", k=9, cursor=first.next_cursor)
    assert rest.text is not None
    assert rest.text.contents == ["anna/b", "anna/c"]


def test_a_floor_ends_the_pages(world: World) -> None:
    world.choose("query", [1])
    for value in (0.9, 0.8, 0.7, 0.2, 0.1):
        world.post("anna", str(value), cosine(value))
    shown = pages(world, "query", "text", lambda: None, k=2, min_score=0.5)
    assert shown == [["anna/0.9", "anna/0.8"], ["anna/0.7"]]


def test_a_picture_is_paged(world: World) -> None:
    red = png(200, 0, 0)
    world.choose(red, [1])
    for value in (0.9, 0.8, 0.7):
        world.post("anna", str(value), cosine(value), "image")
    first = asyncio.run(world.retrieval.search_image(red, schemas.TextQuery(text="", k=2)))
    again = schemas.TextQuery(text="", k=2, cursor=first.next_cursor)
    second = asyncio.run(world.retrieval.search_image(red, again))
    assert second.image is not None
    assert second.image.contents == ["anna/0.7"]
    refused("bad_request", lambda: asyncio.run(world.retrieval.search_image(png(0, 9, 0), again)))


def test_a_cursor_of_another_search_is_refused(world: World) -> None:
    for number in range(5):
        world.post("anna", f"t{number}", cosine(number / 10))
    cursor = search(world, "query", k=2).next_cursor
    assert cursor is not None
    for text, options in (
        ("other", {}), ("query", {"filter": "owner:anna"}), ("query", {"username": "ben"}),
        ("query", {"modalities": ["text"]}),
    ):  # fmt: skip
        refused("bad_request", search, world, text, cursor=cursor, **options)
    for broken in ("", "x", cursor[:-4], cursor + "AAAA", cursor[::-1]):
        refused("bad_request", search, world, "query", cursor=broken)
    wider = search(world, "query", k=3, min_score=-1, diversity=0.2, cursor=cursor).text
    assert wider is not None
    assert len(wider.contents) == 3, "how much and in which order may change"


def test_pages_go_on_after_a_shard_was_missing(two_shards: World) -> None:
    for number in range(12):
        two_shards.post("anna", str(number), cosine(number / 12))
    two_shards.shards[0].fault = ActorDiedError()
    first = search(two_shards, "query", k=20)
    assert first.partial
    assert first.text is not None
    two_shards.shards[0].fault = None
    second = search(two_shards, "query", k=20, cursor=first.next_cursor)
    assert second.text is not None
    assert len({*first.text.contents, *second.text.contents}) == 12
    assert not set(first.text.contents) & set(second.text.contents)


def test_paging_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_app.retrieval.paging, "LIMIT", 5)
    for number in range(12):
        world.post("anna", str(number), cosine(number / 12))
    assert list(map(len, pages(world, "query", "text", lambda: None, k=2))) == [2, 2, 2]


def test_the_hits_that_a_page_looks_through_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs.search, "MOST_HITS", 20)
    stored(world, "video", "long", [cosine(0.9 - part / 1000) for part in range(100)])
    stored(world, "video", "short", [cosine(0.1)])
    world.choose("query", [1])
    answer = search(world, "query", k=2, modalities=["video"])
    assert answer.video is not None
    assert answer.video.contents == ["long"]
    assert answer.next_cursor is not None, "it does not say that this is all"
    assert max(query.k for call in world.shards[0].calls for query in call[1]) == 20
