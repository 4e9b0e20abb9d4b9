"""Annotations: answers as JSON that both databases keep, and their tags."""

from __future__ import annotations

import pytest
from catalog_samples import picture

from serve_app.catalog import Catalog, Tag, parse_filter
from serve_app.errors import Problem


def test_answers_come_back_by_task(catalog: Catalog) -> None:
    catalog.assets.add(picture())
    answer = {"status": "ok", "labels": [{"label": "dög 🐶", "confidence": 0.1, "box": [1.5, 2, 3, 4]}], "model": None}
    catalog.annotations.put("a", "object_detection", answer)
    catalog.annotations.put("a", "captioning", {"status": "unavailable"})
    assert catalog.annotations.of_asset("a") == {"captioning": {"status": "unavailable"}, "object_detection": answer}


def test_annotating_again_replaces_the_answer_and_its_tags_only(catalog: Catalog) -> None:
    catalog.assets.add(picture())
    catalog.annotations.put("a", "object_detection", {"n": 1}, [Tag("object", "dog", 0.9)])
    catalog.annotations.put("a", "meme_detection", {}, [Tag("meme", "meme", 0.7, "m")])
    catalog.annotations.put("a", "object_detection", {"n": 2}, [Tag("object", "cat", 0.8)])
    assert catalog.annotations.of_asset("a")["object_detection"] == {"n": 2}
    assert catalog.annotations.tags_of("a") == [Tag("meme", "meme", 0.7, "m"), Tag("object", "cat", 0.8)]


def test_the_most_confident_of_equal_tags_is_kept(catalog: Catalog) -> None:
    catalog.assets.add(picture())
    tags = [Tag("object", "dog", c, m) for c, m in [(0.2, "x"), (0.9, "x"), (0.3, "x"), (0.1, "y")]]
    catalog.annotations.put("a", "object_detection", {}, tags)
    assert catalog.annotations.tags_of("a") == [Tag("object", "dog", 0.9, "x"), Tag("object", "dog", 0.1, "y")]


def test_text_that_models_read_never_breaks_the_database(catalog: Catalog) -> None:
    catalog.assets.add(picture())
    read = "null \x00 half \ud83d " + "long " * 20_000
    catalog.annotations.put("a", "text", {"te\x00xt": [read]}, [Tag("text", read)])
    (kept,) = catalog.annotations.tags_of("a")
    assert kept.value.startswith("null \ufffd half ")
    assert catalog.annotations.of_asset("a") == {"text": {"te\ufffdxt": [kept.value]}}
    assert [asset.id for asset in catalog.assets.page(filter=parse_filter("text:LONG")).items] == ["a"]


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan")])
def test_a_confidence_out_of_range_is_a_mistake_of_the_annotator(catalog: Catalog, confidence: float) -> None:
    catalog.assets.add(picture())
    with pytest.raises(ValueError, match="confidence"):
        catalog.annotations.put("a", "object_detection", {}, [Tag("object", "dog", confidence)])


def test_nan_is_not_json_on_either_database(catalog: Catalog) -> None:
    catalog.assets.add(picture())
    with pytest.raises(ValueError, match="finite"):
        catalog.annotations.put("a", "object_detection", {"x": float("nan")})
    with pytest.raises(Problem, match="not_found"):
        catalog.annotations.put("b", "object_detection", {})
