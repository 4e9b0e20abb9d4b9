"""Words beside vectors, sentences, diversity and floors of a search, over a real catalog and real shards."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest

from graphs.search import telling_words
from serve_app.catalog import NewContent, Tag
from serve_app.errors import Problem
from serve_app.retrieval.hits import MODALITIES
from serve_app.wire import schemas
from tests.graphs.test_retrieval import add, cosine, found, refused, retrieve, search
from tests.graphs.test_retrieval_parts import stored
from tests.graphs.world import TEXT_DIM, World, png, unit


def says(world: World, id: str, name: str, words: str) -> None:
    """Give a stored asset words: a caption, or text that is printed in it."""
    world.catalog.annotations.put(id, f"of {name}", {}, [Tag(name, words, 0.9)])


def ranked(world: World, text: str, modality: str = "image", **options: Any) -> list[tuple[str, float, bool]]:
    ranking = getattr(search(world, text, **options), modality)
    words = ranking.words or [False] * len(ranking.contents)
    return list(zip(ranking.contents, [round(score, 4) for score in ranking.scores], words, strict=True))


def pictures(world: World, *cosines: float, query: str = "one does not simply") -> None:
    """Pictures anna/0, anna/1, ... at these cosines to a query."""
    world.choose(query, [1])
    for number, value in enumerate(cosines):
        world.post("anna", str(number), cosine(value), "image")


def test_what_words_find_is_blended_with_what_vectors_find(two_shards: World) -> None:
    pictures(two_shards, 0.9, 0.8, 0.7, 0.1)
    says(two_shards, "anna/3", "text", "ONE DOES NOT SIMPLY walk")
    says(two_shards, "anna/1", "caption", "he who simply does not, one hears")
    # By hand: words rank two of them; 1 has 1/62 + 1/61 or 1/62, so it is first; 3 has 1/64 + the other.
    answer = ranked(two_shards, "one does not simply")
    assert answer[0] == ("anna/1", 0.8, True)
    assert answer[1] == ("anna/3", 0.1, True)
    assert answer[2:] == [("anna/0", 0.9, False), ("anna/2", 0.7, False)]


def test_what_words_alone_find_has_its_cosine_and_stays_below_the_floor(two_shards: World) -> None:
    pictures(two_shards, 0.9, 0.8, 0.7, -0.25)
    says(two_shards, "anna/3", "text", "ONE DOES NOT SIMPLY")
    both = [("anna/0", 0.9, False), ("anna/3", -0.25, True)]
    assert ranked(two_shards, "one does not simply", min_score=0.85) == both
    assert ranked(two_shards, "one does not simply", k=2) == both, "k is a maximum of both together"
    assert ranked(two_shards, "one does not simply", k=1) == both[:1]
    nothing = search(two_shards, "one does not simply", min_score=0.95, modalities=["video", "image"]).image
    assert nothing is not None
    assert (nothing.contents, nothing.words) == (["anna/3"], [True])


def test_without_words_the_answer_says_nothing_of_them(world: World) -> None:
    pictures(world, 0.9, 0.8)
    says(world, "anna/1", "text", "ONE DOES NOT")
    answer = search(world, "one does not simply")
    assert answer.image is not None
    assert answer.image.words is None, "it has to say all of them"
    assert "words" not in answer.model_dump_json(exclude_none=True)


def test_a_picture_has_no_words_to_look_for(world: World) -> None:
    red = png(200, 0, 0)
    world.choose(red, [1])
    world.post("anna", "a", cosine(0.5), "image")
    says(world, "anna/a", "text", "")
    answer = asyncio.run(world.retrieval.search_image(red, schemas.TextQuery(text="")))
    assert answer.image is not None
    assert (answer.image.contents, answer.image.words) == (["anna/a"], None)


def test_words_keep_to_filters_owners_and_modalities(world: World) -> None:
    pictures(world, 0.5, 0.4)
    for name in ("0", "1"):
        says(world, f"anna/{name}", "text", "ONE DOES NOT SIMPLY")
    world.catalog.annotations.put("anna/1", "object_detection", {}, [Tag("object", "dog", 0.9)])
    assert ranked(world, "one does not simply", filter="object:dog") == [("anna/1", 0.4, True)]
    assert ranked(world, "one does not simply", filter="owner:ben") == []
    assert ranked(world, "one does not simply", username="anna") == []
    assert ranked(world, "one does not simply", filter="text:simply -object:dog") == [("anna/0", 0.5, True)]
    assert ranked(world, "one does not simply", modalities=["text"], modality="text") == []


def test_a_text_that_was_just_posted_is_found_by_its_words(world: World) -> None:
    add(world, "t", "anna", "Segmentation of touching cells")
    add(world, "u", "anna", "something else")
    answer = ranked(world, "the segmentation of cells", "text")
    assert ("t", True) not in [(id, words) for id, _, words in answer], "it does not say: the"
    answer = ranked(world, "segmentation of cells", "text")
    assert answer[0][0] == "t"
    assert answer[0][2]
    add(world, "t", "anna", "now it says nothing of the kind")
    assert not any(words for *_, words in ranked(world, "segmentation of cells", "text"))


def test_of_equal_contents_the_latest_is_shown_whichever_has_the_words(world: World) -> None:
    world.choose("dog", [1])
    for id in ("old", "new"):
        add(world, id, "anna", png(9, 9, 9), "image")
    says(world, "old", "caption", "a dog")
    assert [(id, words) for id, _, words in ranked(world, "dog")] == [("new", True)]


def test_words_find_films_and_shapes_at_their_best_part(two_shards: World) -> None:
    two_shards.choose("dog", [1])
    for modality in ("video", "shape3d"):
        stored(two_shards, modality, f"far {modality}", [cosine(value) for value in (0.1, 0.3, 0.2)])
        stored(two_shards, modality, f"near {modality}", [cosine(0.9)])
        says(two_shards, f"far {modality}", "caption", "a dog")
    answer = search(two_shards, "dog", min_score=0.5)
    assert answer.video is not None
    assert (answer.video.contents, answer.video.words) == (["near video", "far video"], [False, True])
    assert answer.video.moments[1] == schemas.Moment(start_s=2, end_s=4)
    assert answer.video.scores == pytest.approx([0.9, 0.3])
    assert answer.shape3d is not None
    assert (answer.shape3d.contents, answer.shape3d.views) == (["near shape3d", "far shape3d"], [0, 1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A dog on the Beach!", "dog the beach"),
        ("go on", "go on"),
        ("\u00dcber-Gr\u00f6\u00dfe", "uber grosse"),
        ("... --", ""),
    ],
)
def test_which_words_tell(text: str, words: str) -> None:
    assert telling_words(text) == words


def test_texts_are_found_by_sentences_and_the_rest_by_the_encoder(two_shards: World) -> None:
    revision = two_shards.serve_sentences()
    two_shards.choose("query", [1])
    two_shards.sentences.target.chosen["query"] = unit([0, 1], TEXT_DIM)
    for number, value in enumerate((0.2, 0.9)):
        new = NewContent(f"t{number}", "anna", "text", "text/plain", f"{number}" * 64, 3, f"aa/{number}")
        mine, other = unit(cosine(-value)), unit([math.sqrt(1 - value**2), value], TEXT_DIM)
        two_shards.catalog.contents.add(new, mine, two_shards.places.revision, {revision: other})
    two_shards.post("anna", "p", cosine(0.4), "image")
    answer = search(two_shards, "query")
    assert answer.text is not None
    assert answer.text.contents == ["t1", "t0"]
    assert answer.text.scores == pytest.approx([0.9, 0.2], abs=1e-6)
    assert answer.image is not None
    assert answer.image.scores == pytest.approx([0.4], abs=1e-6)
    legacy = retrieve(two_shards, "ben", "query")
    assert legacy["text"] == {"contents": ["t1", "t0"], "scores": pytest.approx([0.9, 0.2], abs=1e-6)}
    asked = [call[1] for call in two_shards.shards[0].calls[-2:]]
    assert {(query.revision, query.modalities) for (query,) in asked} == {
        (revision, ("text",)), (two_shards.places.revision, ("image",)),
    }  # fmt: skip
    calls = len(two_shards.encoder.calls)
    assert found(two_shards, "query", modalities=["text"]) == ["t1", "t0"]
    assert len(two_shards.encoder.calls) == calls, "nothing is asked that is not needed"


def test_a_posted_text_is_found_by_sentences_at_once(world: World) -> None:
    add(world, "before", "anna", "first")
    world.serve_sentences()
    add(world, "t", "anna", "second")
    answer = search(world, "second")
    assert answer.text is not None
    assert answer.text.contents == ["t"]
    assert answer.text.scores == [pytest.approx(1, abs=1e-6)]
    picture = png(1, 2, 3)
    world.choose(picture, [1])
    by_picture = asyncio.run(world.retrieval.search_image(picture, schemas.TextQuery(text="")))
    assert by_picture.text is not None
    assert sorted(by_picture.text.contents) == ["before", "t"], "pictures find texts by the encoder"


def test_a_cut_text_is_said_to_be_cut_by_whichever_reads_it(world: World) -> None:
    world.serve_sentences()
    world.encoder.target.limit, world.sentences.target.limit = 5, 10
    assert search(world, "longer than that").truncated
    assert not search(world, "as it is", modalities=["text"]).truncated
    assert search(world, "as it is", modalities=["image"]).truncated


def test_a_search_is_answered_by_the_revision_that_is_served(world: World) -> None:
    world.choose("query", [1])
    world.post("anna", "old", cosine(0.5))
    (other,) = world.catalog.vectors.missing("other@2", 10)
    from serve_app.catalog import Key, Served

    key = Key(other.owner, other.modality, other.sha256)
    world.catalog.vectors.put(key.owner, key.modality, key.sha256, "other@2", unit(cosine(0.25)))
    world.catalog.settings.switch("cross_modal_embedding", Served("cross_modal_embedding", "other", "other@2", 16))
    answer = search(world, "query", min_score="auto")
    assert answer.text is not None
    assert answer.text.scores == [pytest.approx(0.25)], "nothing is known of the thresholds of another model"
    assert world.encoder.calls[-1] == ("encode_texts", ["query"], "other")
    world.catalog.settings.rollback("cross_modal_embedding")
    assert found(world, "query") == ["anna/old"]
    assert found(world, "query", min_score="auto") == []
    assert world.encoder.calls[-1][2] == "clip-embedded"


def test_diverse_results_repeat_less(two_shards: World) -> None:
    two_shards.choose("query", [1])
    near = [[0.9, math.sqrt(0.19)], [0.89, math.sqrt(1 - 0.89**2)], [0.6, 0, 0.8], [0.2, 0, 0, math.sqrt(0.96)]]
    for number, vector in enumerate(near):
        two_shards.post("anna", str(number), vector)
    assert found(two_shards, "query") == ["anna/0", "anna/1", "anna/2", "anna/3"]
    assert found(two_shards, "query", k=2) == ["anna/0", "anna/1"]
    assert found(two_shards, "query", k=2, diversity=0.5) == ["anna/0", "anna/2"]
    some = search(two_shards, "query", diversity=0.5).text
    assert some is not None
    assert set(some.contents) == {f"anna/{number}" for number in range(4)}, "it changes the order alone"
    assert some.scores == pytest.approx([float(near[int(id[-1])][0]) for id in some.contents], abs=1e-6)
    assert found(two_shards, "query", k=1, diversity=1) == ["anna/0"]
    assert found(two_shards, "query", k=4, diversity=0.5, min_score=0.5)[-1] in ("anna/1", "anna/2")


def test_many_diverse_results_are_as_many_as_there_are(world: World) -> None:
    dice = np.random.default_rng(0)
    for number in range(60):
        world.post("anna", str(number), dice.normal(size=8))
    world.choose("query", [1])
    for k in (1, 7, 59, 60, 10_000):
        assert len(set(found(world, "query", k=k, diversity=0.7))) == min(k, 60)


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_an_empty_text_is_refused_before_anything_is_asked(world: World, text: str) -> None:
    refused("bad_request", search, world, text)
    assert world.encoder.calls == []


@pytest.mark.parametrize("modalities", [[name] for name in MODALITIES])
def test_nothing_is_found_in_an_empty_catalog(world: World, modalities: Any) -> None:
    answer = search(world, "anything", modalities=modalities, diversity=0.5)
    assert not answer.partial
    assert answer.next_cursor is None
    assert getattr(answer, modalities[0]).contents == []


def test_a_filter_that_is_none_is_refused_before_anything_is_asked(world: World) -> None:
    for wrong in ("object:", "smell:rose", 'caption:"', "kind:smell", "x" * 2000, "a\0b"):
        refused("bad_request", search, world, "dog", filter=wrong)
    assert world.encoder.calls == []


def test_a_search_before_anything_is_served_is_unavailable(world: World) -> None:
    from serve_app.catalog.rows import State

    async def nothing() -> State:
        return State(0, {})

    object.__setattr__(world.retrieval.all_shards, "state", nothing)
    with pytest.raises(Problem) as caught:
        search(world, "dog")
    assert caught.value.code == "unavailable"
