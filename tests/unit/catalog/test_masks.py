"""What a shard lets through is what the database selects: the same filter read twice, in any catalog as it changes.

``Filter.condition`` on the real database is the truth; the shard has what the log of changes told it, page by page.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from catalog_samples import REVISION, Clock, picture, posted, vector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from serve_app.catalog import Catalog, Filter, Moment, Tag
from serve_app.catalog.filters import Term
from serve_app.catalog.schema import assets, contents, counters, metadata, vectors
from serve_app.catalog.vector_rows import live, same_key
from serve_app.errors import Problem
from serve_app.retrieval import attributes
from serve_app.retrieval import shard as shards
from serve_app.retrieval.hits import MODALITIES
from serve_app.retrieval.shard import Shard

IDS = [f"a{n}" for n in range(6)]
OWNERS = ["anna", "Anna", "o'hara"]
NAMES = ["object", "meme", "caption", "text"]
VALUES = ["dog", "Dog", "straße", "a dog", "x" * 199 + "y", "x" * 199 + "yz"]
ASKED = [*VALUES, "STRASSE", "a", "%"]
CONFIDENCES = [0.1, 0.3]
STARTED = Clock().now

tags = st.lists(
    st.builds(Tag, st.sampled_from(NAMES), st.sampled_from(VALUES), st.sampled_from(CONFIDENCES)),
    min_size=1,
    max_size=4,
)
ids = st.sampled_from(IDS)
Step = Callable[[Catalog, Clock], None]


def embed(catalog: Catalog, asset_id: str) -> None:
    for content in catalog.vectors.missing_of_asset(asset_id, REVISION):
        catalog.vectors.put(content.owner, content.modality, content.sha256, REVISION, vector(content.ordinal))


def quietly(act: Callable[[Catalog], object]) -> Step:
    """``act``, which may be refused, for want of the asset or as another's; then whatever lacks a vector gets one."""

    def step(catalog: Catalog, clock: Clock) -> None:
        try:
            act(catalog)
        except Problem as problem:
            assert problem.code in ("not_found", "conflict")  # noqa: PT017

    return step


def add(id: str, owner: str, kind: str, data: str, description: str | None) -> Step:
    def act(catalog: Catalog) -> None:
        catalog.assets.add(picture(id, owner, data, kind=kind, description=description))
        if kind == "video":
            catalog.contents.put_moments(id, [Moment(n, n + 1, n, n + 1) for n in range(len(data))])
        embed(catalog, id)

    return quietly(act)


steps = st.lists(
    st.one_of(
        st.builds(
            add, ids, st.sampled_from(OWNERS), st.sampled_from(["image", "text", "video"]), st.sampled_from("123"),
            st.none() | st.sampled_from("45"),
        ),
        st.builds(
            lambda id, owner, data: quietly(
                lambda catalog: catalog.contents.add(posted(id, owner, data), vector(1), REVISION)
            ),
            ids, st.sampled_from(OWNERS), st.sampled_from("123"),
        ),
        st.builds(
            lambda id, task, found: quietly(lambda catalog: catalog.annotations.put(id, task, {}, found)),
            ids, st.sampled_from(["one", "other"]), tags,
        ),
        st.builds(lambda id: quietly(lambda catalog: catalog.assets.delete(id)), ids),
        st.builds(lambda seconds: lambda _, clock: clock.move(seconds), st.sampled_from([1e-6, 0.5, 60.0])),
    ),
    min_size=1, max_size=14,
)  # fmt: skip
times = st.sampled_from([0.0, 1e-6, 0.5, 0.500001, 60.0, 120.0]).map(
    lambda seconds: (STARTED + timedelta(seconds=seconds)).timestamp()
)
terms = st.one_of(
    st.builds(
        Term, st.sampled_from(NAMES), st.none() | st.sampled_from(ASKED), st.none() | st.sampled_from(CONFIDENCES),
        st.booleans(),
    ),
    st.builds(Term, st.just("kind"), st.sampled_from(["image", "text", "video", "audio"]), negated=st.booleans()),
    st.builds(Term, st.just("owner"), st.sampled_from([*OWNERS, "ANNA", "nobody"]), negated=st.booleans()),
    st.builds(Term, st.just("created"), negated=st.booleans(), after=times),
    st.builds(Term, st.just("created"), negated=st.booleans(), before=times),
)  # fmt: skip
begun = st.lists(
    st.tuples(st.sampled_from(OWNERS), st.sampled_from(["image", "text", "video"]), st.sampled_from("123"), tags),
    min_size=5, max_size=len(IDS),
)  # fmt: skip
filters = st.lists(terms, min_size=1, max_size=3).map(lambda some: Filter(tuple(some)))


def selected(catalog: Catalog, filter: Filter, modality: str) -> set[int]:
    """The live vectors that stand for an asset that the database says fits."""
    query = select(vectors.c.vid).join(contents, same_key()).join(assets, assets.c.id == contents.c.asset_id)
    query = query.where(live(REVISION), vectors.c.modality == modality, filter.condition())
    with catalog._database.read() as connection:
        return set(connection.execute(query).scalars())


def let_through(catalog: Catalog, shard: Shard, filter: Filter, modality: str) -> set[int]:
    sentences = [catalog.words.assets_with(term) for term in filter.terms if term.is_sentence]
    index = shard.indexes[modality]
    mask = index.mask(filter, sentences)
    return set(index.vids[index.alive if mask is None else mask].tolist())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few changes are many pages, and few labels enough to sort."""
    monkeypatch.setattr(shards, "_PAGE", 3)
    monkeypatch.setattr(attributes, "_UNSORTED", 2)


@pytest.mark.usefixtures("small")
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(begun, st.lists(steps, min_size=1, max_size=2), st.lists(filters, min_size=8, max_size=12))
def test_a_shard_lets_through_what_the_database_selects(
    catalog: Catalog, clock: Clock, first: list[tuple[str, str, str, list[Tag]]], rounds: list[list[Step]],
    asked: list[Filter],
) -> None:  # fmt: skip
    clock.now = STARTED
    with catalog._database.engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            if table is not counters:
                connection.execute(delete(table))
    for id, (owner, kind, data, found) in zip(IDS, first, strict=False):
        add(id, owner, kind, data, None)(catalog, clock)
        catalog.annotations.put(id, "one", {}, found)
        clock.move(0.5)
    shard = Shard(catalog.vectors, REVISION, 8)
    # Between the rounds the shard reads on, so that what it has learned changes under it.
    for some in rounds:
        for step in some:
            step(catalog, clock)
        shard.catch_up()
        for filter in asked:
            for modality in MODALITIES:
                assert let_through(catalog, shard, filter, modality) == selected(catalog, filter, modality)


def test_the_property_is_about_something(catalog: Catalog, clock: Clock) -> None:
    """One filter that lets some through and not all, told by hand."""
    for number, label in enumerate(["dog", "Dog", "cat"]):
        add(f"a{number}", "anna", "image", str(number), None)(catalog, clock)
        catalog.annotations.put(f"a{number}", "one", {}, [Tag("object", label, 0.5)])
    shard = Shard(catalog.vectors, REVISION, 8)
    shard.catch_up()
    dogs = Filter((Term("object", "DOG", 0.25),))
    assert len(selected(catalog, dogs, "image")) == 2
    assert let_through(catalog, shard, dogs, "image") == selected(catalog, dogs, "image")
    assert np.count_nonzero(shard.indexes["image"].alive) == 3
