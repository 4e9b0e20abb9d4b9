"""The filter language: how it reads, what it refuses, and that SQL gives what plain Python gives."""

from __future__ import annotations

import random
import unicodedata

import pytest
from catalog_samples import Clock, picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from serve_app.catalog import Catalog, Filter, Tag, filters, parse_filter
from serve_app.catalog.filters import Term
from serve_app.catalog.schema import assets
from serve_app.errors import Problem

EXAMPLES: list[tuple[str, list[Term]]] = [
    ("", []),
    (" \t\n", []),
    (
        'object:person object:dog -meme kind:image owner:anna action:"playing tennis">0.5',
        [
            Term("object", "person"),
            Term("object", "dog"),
            Term("meme", negated=True),
            Term("kind", "image"),
            Term("owner", "anna"),
            Term("action", "playing tennis", above=0.5),
        ],
    ),
    ("meme>.9", [Term("meme", above=0.9)]),
    ("-disturbing>0 OBJECT:Dog", [Term("disturbing", above=0.0, negated=True), Term("object", "Dog")]),
    (r'text:"say \"hi\" \\o/"', [Term("text", r'say "hi" \o/')]),
    ("text:12:30", [Term("text", "12:30")]),
    ("model:birds", [Term("model:birds")]),
    ("model:birds:sparrow>1", [Term("model:birds", "sparrow", above=1.0)]),
    ('-model:"my birds":"house sparrow"', [Term("model:my birds", "house sparrow", negated=True)]),
    ("created>2026-01-01", [Term("created", after=1767225600.0)]),
    ("created<2026-02-01T12:00:00Z", [Term("created", before=1769947200.0)]),
    ("-created>1970-01-01T01:00+01:00", [Term("created", negated=True, after=0.0)]),
    ("Created<1969-12-31T23:59:59.25", [Term("created", before=-0.75)]),
    ("owner:-5%_'", [Term("owner", "-5%_'")]),
]

MISTAKES = [
    ("dog", 1, "object:dog"),
    ("meme cat:1", 6, "no tag"),
    ("meme -", 7, "no tag"),
    ("kind:film", 1, "kind is one of"),
    ("kind", 1, "needs a value"),
    ("meme owner", 6, "needs a value"),
    ("object:", 8, "value is missing"),
    ('object:""', 10, "value is missing"),
    ('object:"dog', 8, "never closed"),
    ('object:"dog"s', 13, "unexpected"),
    ("object:dog>", 12, "between 0 and 1"),
    ("object:dog>1.5", 12, "between 0 and 1"),
    ("object:dog>-1", 12, "between 0 and 1"),
    ("object:dog>nan", 12, "between 0 and 1"),
    ("object:dog>0.5x", 15, "unexpected"),
    ("owner:anna>0.5", 12, "no confidence"),
    ("meme=1", 5, "unexpected"),
    ("created", 8, "created>2026-01-31"),
    ("created:2026-01-01", 8, "created>2026-01-31"),
    ("meme created>", 14, "a date as in"),
    ("created>yesterday", 9, "a date as in"),
    ("created>2026-02-30", 9, "a date as in"),
    ("created>2026-01-01T25:00", 9, "a date as in"),
    ("created<0001-01-01T00:00+14:00", 9, "a date as in"),
    ("created>2026-01-01T", 19, "unexpected 'T'"),
    ("created>2026-01-01x", 19, "unexpected"),
    ("created>\u0662026-01-01", 9, "a date as in"),
    ("created>>2026-01-01", 9, "a date as in"),
    ("model", 6, "needs a name"),
    ("model:", 7, "value is missing"),
    ("--meme", 2, "no tag"),
    ("meme " * 33, 161, "32 terms"),
]


@pytest.mark.parametrize(("text", "terms"), EXAMPLES)
def test_filters_are_read(text: str, terms: list[Term]) -> None:
    assert parse_filter(text) == Filter(tuple(terms))


@pytest.mark.parametrize(("text", "place", "what"), MISTAKES)
def test_mistakes_are_named_with_their_place(text: str, place: int, what: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_filter(text)
    assert caught.value.code == "bad_request"
    assert f"character {place}:" in caught.value.detail
    assert what in caught.value.detail


@pytest.mark.parametrize("text", ["meme " * 201, "object:a\x00", "object:\ud800"])
def test_filters_no_database_could_take_are_refused(text: str) -> None:
    with pytest.raises(Problem, match="bad_request"):
        parse_filter(text)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_filter(text)
    except Problem as problem:
        assert problem.code == "bad_request"  # noqa: PT017


VALUES = ["dog", "Dog", "straße", "100%", "a_b", "playing tennis", "x" * 199 + "y", "x" * 199 + "yz", "🐶", "\\", '"']
NAMES = ["object", "action", "caption", "text", "meme", "model:birds"]
OWNERS = ["anna", "Anna", "o'hara"]
KINDS = ["image", "video", "text"]
Row = tuple[str, str, str, list[Tag]]


def make_rows() -> list[Row]:
    dice = random.Random(7)

    def tag() -> Tag:
        name = dice.choice(NAMES)
        value = " ".join(dice.choices(VALUES, k=3)) if name in ("caption", "text") else dice.choice(VALUES)
        return Tag(name, value, dice.choice([0.0, 0.25, 0.5, 0.75, 1.0]))

    return [
        (f"a{n}", dice.choice(OWNERS), dice.choice(KINDS), [tag() for _ in range(dice.randrange(5))]) for n in range(60)
    ]


def plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def holds(term: Term, row: Row) -> bool:
    _, owner, kind, tags = row

    def fits(tag: Tag) -> bool:
        said = term.value is None or plain(term.value) == plain(tag.value)
        if term.value is not None and term.name in ("caption", "text"):
            said = plain(term.value) in plain(tag.value)
        return tag.name == term.name and said and (term.above is None or tag.confidence > term.above)

    columns = {"owner": owner, "kind": kind}
    found = columns[term.name] == term.value if term.name in columns else any(fits(tag) for tag in tags)
    return found != term.negated


def written(term: Term) -> str:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    value = "" if term.value is None else ":" + quoted(term.value)
    above = "" if term.above is None else f">{term.above}"
    return f"{'-' if term.negated else ''}{term.name}{value}{above}"


words = st.sampled_from([*VALUES, "STRASSE", "DOG", "%", "_", "tennis", "ing te", "none"])
confidences = st.sampled_from([None, 0.0, 0.25, 0.5, 1.0])
tag_terms = st.builds(Term, st.sampled_from(NAMES), st.none() | words, confidences, st.booleans())
column_terms = st.builds(Term, st.just("owner"), st.sampled_from(OWNERS), st.none(), st.booleans()) | st.builds(
    Term, st.just("kind"), st.sampled_from(KINDS), st.none(), st.booleans()
)


@pytest.fixture
def filled(catalog: Catalog) -> Catalog:
    for asset_id, owner, kind, tags in make_rows():
        catalog.assets.add(picture(asset_id, owner, kind=kind))
        catalog.annotations.put(asset_id, "task", {}, tags)
    return catalog


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(tag_terms | column_terms, max_size=3), st.sampled_from([1, 5, 5000]))
def test_the_database_selects_what_plain_python_selects(filled: Catalog, terms: list[Term], few: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filters, "FEW", few)
        _compare(filled, terms)


def _compare(filled: Catalog, terms: list[Term]) -> None:
    parsed = parse_filter(" ".join(written(term) for term in terms))
    assert parsed == Filter(tuple(terms))
    expected = [row[0] for row in make_rows() if all(holds(term, row) for term in terms)]
    found = [asset.id for asset in filled.assets.page(filter=parsed, limit=1000).items]
    assert found[::-1] == expected


def test_what_looks_like_sql_is_a_value(filled: Catalog) -> None:
    for text in ('object:"\'; DROP TABLE assets; --"', 'owner:"x\' OR 1=1"', "text:\"%' OR '1'='1\""):
        assert filled.assets.page(filter=parse_filter(text)).items == ()
    assert len(filled.assets.page(limit=100).items) == 60


def test_times_are_bounds_that_are_left_out_themselves(catalog: Catalog, clock: Clock) -> None:
    for asset_id in ("first", "second", "third"):
        catalog.assets.add(picture(asset_id))
        clock.move(60)
    second = "2026-01-02T03:05:05.678901Z"

    def found(text: str) -> list[str]:
        parsed = parse_filter(text)
        with catalog._database.read() as connection:
            query = select(assets.c.id).where(parsed.condition()).order_by(assets.c.ordinal)
            gathered = list(connection.execute(query).scalars())
        assert [asset.id for asset in catalog.assets.page(filter=parsed).items] == gathered[::-1]
        return gathered

    assert found(f"created>{second}") == ["third"]
    assert found(f"created<{second}") == ["first"]
    assert found(f"-created>{second}") == ["first", "second"]
    assert found("created>2026-01-02T03:05:05.6789 created<2026-01-02T04:05:05.678902+01:00") == ["second"]
    assert found("created>2026-01-02") == ["first", "second", "third"]
    assert found("created<2026-01-02") == []


def test_terms_say_who_can_tell() -> None:
    terms = parse_filter("caption -text:a object:dog created>1970-01-02").terms
    assert [term.is_sentence for term in terms] == [True, True, False, False]
    assert [term.created for term in terms] == [None, None, None, (86400.0, None)]
