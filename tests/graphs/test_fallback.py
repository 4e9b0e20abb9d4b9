"""The sentence encoder is down: texts are found and added by CLIP meanwhile, and what is lacking is said."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError

from graphs.embedding import ENCODER, SENTENCES
from serve_app.catalog import NewContent, Served
from serve_app.errors import Problem
from tests.graphs.test_retrieval import add, cosine, found, refused, retrieve, search
from tests.graphs.world import TEXT_DIM, Texts, World, png, unit

DOWN = [
    Problem("unavailable", "the weights are missing"), Problem("deadline", "too late"), ActorDiedError(),
    BackPressureError(1, 1),
]  # fmt: skip


def texts(world: World) -> str:
    """t0 and t1 lie one way round by CLIP and the other by sentences; a picture lies at .4 by CLIP. Two queries are the
    same to both."""
    revision = world.serve_sentences()
    for query in ("query", "another"):
        world.choose(query, [1])
        world.sentences.target.chosen[query] = unit([1], TEXT_DIM)
    for number, (by_clip, by_sentences) in enumerate([(0.9, 0.2), (0.3, 0.8)]):
        new = NewContent(f"t{number}", "anna", "text", "text/plain", f"{number}" * 64, 3, f"aa/{number}")
        other = {revision: unit(cosine(by_sentences), TEXT_DIM)}
        world.catalog.contents.add(new, unit(cosine(by_clip)), world.places.revision, other)
    world.post("anna", "p", cosine(0.4), "image")
    return revision


def healthy(world: World) -> bool:
    return asyncio.run(world.index.examine()).healthy


def lines(world: World) -> dict[str, tuple[int, int, int, int]]:
    """Of texts by revision: contents, vectors, what is worked on, explained failures."""
    findings = asyncio.run(world.index.examine()).findings
    return {
        each.revision: (each.keys, each.vectors, each.processing, each.explained_failures)
        for each in findings
        if each.modality == "text"
    }


@pytest.mark.parametrize("fault", DOWN, ids=lambda fault: type(fault).__name__)
def test_texts_are_found_by_clip_meanwhile(two_shards: World, fault: BaseException) -> None:
    texts(two_shards)
    assert found(two_shards, "query") == ["t1", "t0"]
    two_shards.sentences.fault = fault
    assert found(two_shards, "query") == ["t1", "t0"], "whose vector is kept"
    answer = search(two_shards, "another")
    assert answer.text is not None
    assert answer.image is not None
    assert (answer.text.contents, answer.image.contents) == (["t0", "t1"], ["anna/p"])
    assert answer.text.scores == pytest.approx([0.9, 0.3], abs=1e-6)
    assert not answer.partial
    assert found(two_shards, "another", modalities=["text"]) == ["t0", "t1"], "also where CLIP was not asked before"
    assert retrieve(two_shards, "ben", "another")["text"]["contents"] == ["t0", "t1"]
    two_shards.sentences.fault = None
    assert found(two_shards, "another") == ["t1", "t0"]


def test_thresholds_are_those_of_the_encoder_that_stands_in(world: World) -> None:
    revision = texts(world)
    theirs = {revision: {("text", "text"): 0.1}}
    world.retrieval = replace(world.retrieval, thresholds={**world.retrieval.thresholds, **theirs})
    assert found(world, "query", min_score="auto") == ["t1", "t0"]
    world.sentences.fault = DOWN[0]
    assert found(world, "another", min_score="auto") == ["t0"], "t1 is at .3, and CLIP's own threshold at .6"


def test_what_is_cut_is_told_by_the_encoder_that_stands_in(world: World) -> None:
    texts(world)
    world.sentences.fault = DOWN[0]
    world.encoder.target.limit = 3
    assert search(world, "query", modalities=["text"]).truncated


def test_an_encoder_that_hangs_is_not_waited_for_longer_than_a_shard(world: World) -> None:
    texts(world)
    never = asyncio.Event()

    class Stuck(Texts):
        async def encode_text(self, text: str, *more: Any) -> dict[str, Any]:
            await never.wait()
            raise AssertionError("unreachable")

    world.sentences.target = Stuck()
    world.retrieval = replace(world.retrieval, deadline_s=0.2)
    assert found(world, "query") == ["t0", "t1"]


def test_what_is_wrong_with_the_text_is_said_and_not_worked_around(world: World) -> None:
    texts(world)
    world.sentences.fault = Problem("bad_request", "the text has no visible character")
    refused("bad_request", search, world, "query")
    world.sentences.fault = world.encoder.fault = DOWN[0]
    refused("unavailable", search, world, "another")


def test_a_text_is_added_without_its_sentence_vector_and_a_job_makes_it(world: World) -> None:
    revision = world.serve_sentences()
    world.sentences.fault = DOWN[0]
    add(world, "t", "anna", "some words")
    assert len(world.sentences.calls) == 1, "who is down is not asked again by the same request"
    assert found(world, "some words") == ["t"]
    assert lines(world) == {world.places.revision: (1, 1, 0, 0), revision: (1, 0, 1, 0)}
    assert world.catalog.assets.get("t").state == "processing"
    add(world, "t", "anna", "some words")
    assert [job.kind for job in world.catalog.jobs.page().items] == ["index"], "one job does for both"
    world.sentences.fault = None
    assert asyncio.run(world.processing.work_many("w")) == 1
    assert lines(world) == {world.places.revision: (1, 1, 0, 0), revision: (1, 1, 0, 0)}
    assert world.catalog.assets.get("t").state == "ready"
    assert search(world, "some words").text.scores == pytest.approx([1], abs=1e-6)  # type: ignore[union-attr]


def test_a_text_that_never_gets_its_vector_says_why(world: World) -> None:
    revision = world.serve_sentences()
    world.sentences.fault = Problem("unavailable", "the weights are missing", "mediaverse models pull light")
    add(world, "t", "anna", "some words")
    assert asyncio.run(world.processing.work_many("w")) == 1
    assert lines(world)[revision] == (1, 0, 0, 1)
    asset = world.catalog.assets.get("t")
    assert (asset.state, asset.stages["index"].state) == ("failed", "failed")
    assert asset.stages["index"].error == "unavailable: the weights are missing; mediaverse models pull light"
    assert healthy(world)
    assert found(world, "some words") == ["t"]
    world.sentences.fault = None
    asyncio.run(world.index.repair())
    while asyncio.run(world.processing.work_once("w")):
        pass
    assert lines(world)[revision] == (1, 1, 0, 0)
    assert world.catalog.assets.get("t").state == "ready"


@pytest.mark.parametrize("type", ["text", "image"])
def test_a_model_that_is_only_to_be_served_does_not_fail_what_is_added(world: World, type: str) -> None:
    world.catalog.settings.want(ENCODER, "other", "other@2", 16)
    encode = world.encoder.target

    class OneIsDown(Texts):
        async def encode_text(self, text: str, *more: Any) -> Any:
            if more == ("other",):
                raise Problem("overloaded", "too many")
            return await encode.encode_text(text, *more)

        async def encode_image(self, data: bytes, model: str | None = None) -> Any:
            if model == "other":
                raise Problem("overloaded", "too many")
            return await encode.encode_image(data, model)

    world.encoder.target = OneIsDown()
    add(world, "new", "anna", png(1, 2, 3) if type == "image" else "words", type)
    assert found(world, "words", type) == ["new"]
    assert healthy(world)
    world.encoder.target = encode
    assert asyncio.run(world.processing.work_many("w")) == 1
    assert world.catalog.vectors.missing("other@2", 10) == []


def test_a_repair_that_fails_says_why_of_what_was_ready(world: World) -> None:
    add(world, "t", "anna", "some words")
    with world.catalog._database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE vectors SET data = NULL")
    assert not healthy(world)
    asyncio.run(world.index.repair())
    world.encoder.fault = DOWN[0]
    while asyncio.run(world.processing.work_once("w")):
        pass
    assert healthy(world)
    assert lines(world)[world.places.revision] == (1, 0, 0, 1)
    assert "the weights are missing" in str(world.catalog.assets.get("t").stages["index"].error)


def test_a_text_whose_file_is_gone_fails_and_is_not_processed_for_ever(world: World) -> None:
    world.serve_sentences()
    world.sentences.fault = DOWN[0]
    add(world, "t", "anna", "some words")
    world.sentences.fault = None
    assert asyncio.run(world.index.examine(files=True)).healthy
    world.files()[0].unlink()
    assert asyncio.run(world.processing.work_many("w")) == 1
    asset = world.catalog.assets.get("t")
    assert (asset.state, asset.stages["index"].error) == ("failed", "not_found: there is no such file")
    told = asyncio.run(world.index.examine(files=True))
    assert not told.healthy
    assert told.files is not None
    assert told.files.missing_assets == ["t"]
    assert told.remedy is None, "no job brings a file back"


def test_the_vectors_of_one_sentence_encoder_are_not_asked_by_those_of_another(world: World) -> None:
    """A new encoder runs here from the start on; what is served is the old one's, until all texts have new vectors."""
    old = texts(world)
    world.configured[SENTENCES] = Served(SENTENCES, "newer", "newer@1", TEXT_DIM)
    world.catalog.settings.adopt(**vars(world.configured[SENTENCES]))
    assert found(world, "query") == ["t0", "t1"], "by CLIP"
    add(world, "t", "anna", "more words")
    assert [each.asset_id for each in world.catalog.vectors.missing(old, 10, modalities=["text"])] == ["t"]
    missing = world.catalog.vectors.missing("newer@1", 10, modalities=["text"])
    assert [each.asset_id for each in missing] == ["t0", "t1"]


def test_a_crash_after_the_row_leaves_the_job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job comes with the row, in one transaction."""
    world.serve_sentences()
    world.sentences.fault = DOWN[0]

    def crash(*_: Any) -> None:
        raise SystemError("killed")

    monkeypatch.setattr(world.catalog.words, "put", crash)
    with pytest.raises(SystemError):
        add(world, "t", "anna", "some words")
    assert [job.asset_id for job in world.catalog.jobs.page(state="queued").items] == ["t"]
