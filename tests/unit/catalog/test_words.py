"""Full-text search: the same words on both databases, nothing a client writes raises, rows go with their assets."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from catalog_samples import REVISION, picture, posted, steps_of, vector
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from serve_app.catalog import Addition, Catalog, Tag, parse_filter
from serve_app.catalog.filters import Term
from serve_app.errors import Problem

TEXTS = {
    "beach": "A dog runs along the beach",
    "cafe": "Café at night, straße 12:30",
    "both": "Two dogs and one DOG in a café",
}


@pytest.fixture
def filled(catalog: Catalog) -> Catalog:
    for asset_id, words in TEXTS.items():
        catalog.assets.add(picture(asset_id, data=asset_id, description=words))
    catalog.assets.add(picture("note", "ben", data="note", kind="text"))
    return catalog


def ids(catalog: Catalog, words: str, **more: object) -> set[str]:
    return {asset_id for asset_id, _ in catalog.words.search(words, None, 100, **more)}  # type: ignore[arg-type]


def test_any_word_of_a_description_is_found(filled: Catalog) -> None:
    assert ids(filled, "dog") == {"beach", "both"}
    assert ids(filled, "CAFE") == ids(filled, "ＣＡＦÉ") == {"cafe", "both"}
    assert ids(filled, "strasse beach!") == {"cafe", "beach"}
    assert ids(filled, "30") == {"cafe"}
    assert ids(filled, "do og dogs*") == {"both"}
    assert ids(filled, "cat") == ids(filled, " ?!") == ids(filled, "") == set()


def test_the_best_come_first_and_no_more_than_asked(filled: Catalog) -> None:
    (best, rank), (other, less) = filled.words.search("dog cafe", None, 3)[:1] + filled.words.search("dog", None, 9)[1:]
    assert best == "both"
    assert rank > less
    assert other in TEXTS
    assert len(filled.words.search("dog cafe", None, 2)) == 2
    assert filled.words.search("dog", None, 0) == []


def test_equals_come_newest_first(catalog: Catalog) -> None:
    for n in range(4):
        catalog.assets.add(picture(f"a{n}", data=str(n), description="the same words"))
    assert [id for id, _ in catalog.words.search("words", None, 9)] == ["a3", "a2", "a1", "a0"]


def test_the_assets_that_say_nothing_of_it_cost_nothing(tmp_path: Path) -> None:
    steps = {count: _steps(Catalog.open(f"sqlite:///{tmp_path / str(count)}.db"), count) for count in (50, 1000)}
    assert steps[1000] < 1.5 * steps[50]


def _steps(catalog: Catalog, others: int) -> int:
    """For a search that one of many pictures answers."""
    news = [picture(f"o{n}", data=f"o{n}") for n in range(others)]
    catalog.assets.add_many([Addition(each) for each in (picture("a", description="red house"), *news)])
    asked = partial(catalog.words.saying_all, "red house", {"image": 5}, filter=parse_filter("owner:anna"))
    assert asked() == {"image": ["a"]}
    return steps_of(catalog, asked)


def test_printed_words_captions_and_texts_are_found_until_they_go(filled: Catalog) -> None:
    filled.annotations.put("beach", "ocr", {}, [Tag("text", "NO ENTRY", 0.5), Tag("text", "please", 0.75)])
    filled.annotations.put("beach", "captions", {}, [Tag("caption", "somebody surfs")])
    filled.words.put("note", "body", "Buy milk and bread")
    assert [ids(filled, word) for word in ("entry", "please", "surfs", "milk")] == [{"beach"}] * 3 + [{"note"}]
    filled.annotations.put("beach", "ocr", {}, [Tag("text", "EXIT", 0.5)])
    filled.words.put("note", "body", "Sell")
    assert [ids(filled, word) for word in ("entry", "milk")] == [set(), set()]
    assert [ids(filled, word) for word in ("exit", "surfs", "runs", "sell")] == [{"beach"}] * 3 + [{"note"}]
    filled.assets.delete("beach")
    assert [ids(filled, word) for word in ("exit", "surfs", "runs")] == [set()] * 3


def test_a_file_that_is_replaced_takes_its_words_along(catalog: Catalog) -> None:
    catalog.contents.add(posted("a", data="old"), vector(1), REVISION)
    catalog.annotations.put("a", "ocr", {}, [Tag("text", "sale")])
    catalog.contents.add(posted("a", data="new"), vector(2), REVISION)
    assert ids(catalog, "sale") == set()


def test_only_the_beginning_of_a_text_is_searched(filled: Catalog) -> None:
    filled.words.put("note", "body", "first " + "filling " * 2497 + "last")  # "last" ends at character 19,986
    assert ids(filled, "last") == ids(filled, "first") == {"note"}
    filled.words.put("note", "body", "filling " * 2500 + "late")
    assert (ids(filled, "late"), ids(filled, "filling")) == (set(), {"note"})


def test_kinds_owners_and_filters_bound_the_search(filled: Catalog) -> None:
    filled.words.put("note", "body", "dog food")
    filled.annotations.put("both", "objects", {}, [Tag("object", "dog", 0.9)])
    assert {id for id, _ in filled.words.search("dog", ("text",), 9)} == {"note"}
    assert filled.words.search("dog", (), 9) == []
    assert ids(filled, "dog", without_owner="anna") == {"note"}
    assert ids(filled, "dog", filter=parse_filter("object:dog")) == {"both"}
    assert ids(filled, "dog", filter=parse_filter("-object:dog kind:image")) == {"beach"}


def test_words_of_an_unknown_asset_are_refused(filled: Catalog) -> None:
    with pytest.raises(Problem, match="not_found"):
        filled.words.put("gone", "body", "words")
    assert filled.words.put_many({"note": "kept", "gone": "lost"}) == ["gone"]
    assert ids(filled, "kept") == {"note"}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=80))
@example('"')
@example("dog' OR 1=1 --")
@example("NEAR(dog cafe) AND NOT * ^ : -{}")
@example("\x00\ud800")
@example("1e5 12:30 a@b.c http://x.y/z -5.5 a_b " + "long" * 5000)
@example(" ".join(f"w{n}" for n in range(10_000)))
def test_nothing_that_is_asked_raises(filled: Catalog, words: str) -> None:
    filled.words.search(words, None, 10)
    filled.words.put("note", "body", words)


@given(st.text(st.sampled_from("aé1.:@-/_'\" e5"), max_size=12))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_text_with_a_word_is_found_by_itself(filled: Catalog, words: str) -> None:
    filled.words.put("note", "body", words)
    has_words = any(character.isalnum() for character in words)
    assert ("note" in ids(filled, words)) == has_words


def test_assets_with_a_sentence_are_numbered(filled: Catalog) -> None:
    number = {id: filled.assets.get(id).ordinal for id in TEXTS}
    filled.annotations.put("both", "ocr", {}, [Tag("text", "100% Öffnung", 0.5), Tag("text", "auf", 0.9)])
    filled.annotations.put("beach", "ocr", {}, [Tag("text", "ÖFFNUNGEN", 0.9), Tag("caption", "100")])

    def found(filter: str) -> list[int]:
        (term,) = parse_filter(filter).terms
        numbers = filled.words.assets_with(term)
        assert numbers.dtype == "int64"
        return numbers.tolist()

    assert found("text:öffn") == found("-text:öffn") == found("text") == [number["beach"], number["both"]]
    assert found("text:öffn>0.5") == [number["beach"]]
    assert found('text:"0% ö"') == [number["both"]]
    assert found("text:100_") == found("text:gone") == []
    assert found("caption") == [number["beach"]]


PIECES = ["ab", "abc", "é", '"', "%", "*", "_", " ", "x", "'", "🐶", "ß", "AND"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), max_size=4),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join),
)
def test_a_sentence_holds_what_stands_anywhere_in_it(filled: Catalog, sentences: list[str], value: str) -> None:
    filled.annotations.put("both", "ocr", {}, [Tag("text", each) for each in sentences])
    filled.annotations.put("beach", "captions", {}, [Tag("caption", each) for each in sentences])
    expected = any(value.casefold() in each.casefold() for each in sentences)
    numbers = filled.words.assets_with(Term("text", value)).tolist()
    assert numbers == ([filled.assets.get("both").ordinal] if expected else [])
