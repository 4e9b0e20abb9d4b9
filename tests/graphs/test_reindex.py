"""Another model in the place of the one that is served, over a real catalog and shards, with the test as the worker.

The models are real: the embedded encoder and one of another dimension beside it.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayTaskError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own use of pydantic
    from deployments.clip_encoder import ClipEncoder
    from deployments.replica import ModelRecipe

from graphs.embedding import ENCODER, SENTENCES, adopt, find_model, served_of
from graphs.holding import LEASE_S
from serve_app.catalog import Catalog, Served
from serve_app.errors import Problem
from serve_app.models.manifest import load_manifest
from serve_app.wire import ports, schemas
from tests import encoders
from tests.graphs.world import TEXT_DIM, Handle, World, png
from tests.unit.catalog.catalog_samples import Clock

OWN, OTHER = served_of(encoders.model(encoders.OWN)), served_of(encoders.model())
TEXTS = ("a red square", "a blue circle", "two green triangles", "a page of text")
COLOURS = ((200, 20, 20), (20, 20, 200), (20, 200, 20))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("home")
    encoders.install(home)
    return ClipEncoder.func_or_class(ModelRecipe(encoders.OWN, str(home), threads=1))


@pytest.fixture
def real(tmp_path: Path, encoder: Any) -> Iterator[World]:
    """A world with two shards and the real encoder."""
    made = World(tmp_path, shards=2, revision=OWN.revision, dim=OWN.dim)
    made.encoder.target = encoder
    yield made
    made.close()


def add(world: World, id: str, data: bytes, **more: Any) -> None:
    asyncio.run(world.assets.add(ports.NewAsset(ports.Upload.of(data), "anna", id, **more)))


def work(world: World) -> int:
    """Do all the jobs that there are."""

    async def all_of_them() -> int:
        done = 0
        while await world.processing.work_once("w"):
            done += 1
        return done

    return asyncio.run(all_of_them())


def fill(world: World) -> None:
    for text in TEXTS:
        add(world, text, text.encode())
    for number, colour in enumerate(COLOURS):
        add(world, f"picture {number}", png(*colour), description=f"picture number {number}")
    work(world)


def found(world: World, text: str, modality: str = "text", k: int = 10) -> list[str]:
    answer = asyncio.run(world.retrieval.search_text(schemas.TextQuery(text=text, k=k)))
    assert not answer.partial
    return list(getattr(answer, modality).contents)


def served(world: World) -> Served:
    return world.catalog.settings.get(ENCODER).served


def job(world: World) -> Any:
    return world.catalog.jobs.page(kind="reindex").items[0]


def expected(encoder: Any, text: str, model: str) -> list[str]:
    """The texts by their likeness to one, by the encoder itself."""

    async def vectors() -> Any:
        asked = (encoder.encode_text(each, model) for each in (text, *TEXTS))
        return [each["vector"] for each in await asyncio.gather(*asked)]

    query, *rows = asyncio.run(vectors())
    return [TEXTS[i] for i in np.argsort(-(np.stack(rows) @ query), kind="stable")]


def test_another_dimension_takes_over_and_gives_back(real: World, encoder: Any) -> None:
    fill(real)
    asked = "a red circle"
    assert [each for each in found(real, asked) if each in TEXTS] == expected(encoder, asked, OWN.model)
    queued = asyncio.run(real.index.reindex(encoders.OTHER))
    assert (queued.kind, queued.state) == ("reindex", "queued")
    assert served(real) == OWN
    status = asyncio.run(real.index.status())
    assert [(task.served.model, task.wanted.model, task.wanted.missing) for task in status.tasks] == [
        (OWN.model, OTHER.model, len(TEXTS) + 2 * len(COLOURS))
    ]
    assert [call[0] for call in real.runner.calls][-1] == "nudge"
    assert work(real) == 1
    assert job(real).state == "succeeded"
    assert served(real) == OTHER
    assert real.catalog.settings.get(ENCODER).previous == OWN
    assert real.catalog.vectors.missing(OTHER.revision, 10) == []
    assert [each for each in found(real, asked) if each in TEXTS] == expected(encoder, asked, OTHER.model)
    assert len(found(real, asked, "image")) == len(COLOURS)

    add(real, "later", b"a later text")
    work(real)
    assert real.catalog.vectors.count(OWN.revision, "text") == len(TEXTS) + len(COLOURS), (
        "only what is served is kept up"
    )
    back = asyncio.run(real.index.rollback(ENCODER))
    assert back.kind == "reindex"
    assert work(real) == 1
    assert served(real) == OWN
    assert found(real, "a later text")[0] == "later", "it was made up for before the switch"


def test_what_comes_meanwhile_gets_vectors_of_both(real: World) -> None:
    fill(real)
    asyncio.run(real.index.reindex(encoders.OTHER))
    add(real, "new", b"a new text", description=None)
    add(real, "new picture", png(1, 2, 3))
    asyncio.run(real.processing.work_many("w"))
    for target in (OWN, OTHER):
        assert not [c for c in real.catalog.vectors.missing(target.revision, 100) if c.asset_id.startswith("new")]
    assert job(real).state == "queued", "quick jobs do not wait for it"


def test_a_search_never_loses_a_hit_while_models_change(real: World) -> None:
    fill(real)
    everything = sorted([*TEXTS, *(f"picture {number}" for number in range(len(COLOURS)))])
    seen: list[str] = []

    async def ask(stop: asyncio.Event) -> None:
        while not stop.is_set():
            answer = await real.retrieval.search_text(schemas.TextQuery(text="a red circle", k=50))
            assert not answer.partial
            assert sorted(answer.text.contents) == everything
            assert len(answer.image.contents) == len(COLOURS)
            seen.append((await asyncio.to_thread(real.catalog.settings.get, ENCODER)).served.model)

    async def change() -> None:
        stop = asyncio.Event()
        asking = [asyncio.create_task(ask(stop)) for _ in range(2)]
        for wish in (lambda: real.index.reindex(encoders.OTHER), lambda: real.index.rollback(ENCODER)):
            for shard in real.shards:
                shard.target.waits = 3
            await wish()
            assert await real.processing.work_once("w", ("reindex",))
            before = len(seen)
            while len(seen) < before + 4:
                await asyncio.sleep(0.01)
        stop.set()
        await asyncio.gather(*asking)

    asyncio.run(change())
    assert {OWN.model, OTHER.model} == set(seen)
    assert served(real) == OWN


@pytest.fixture
def clocked(real: World) -> tuple[World, Clock]:
    """The same with a catalog whose clock the test moves."""
    clock = Clock()
    real.places.__dict__["catalog"] = Catalog.open(real.places.catalog_url, clock)
    for shard in real.shards:
        shard.target.log = real.catalog.vectors
    return real, clock


def test_a_worker_that_dies_midway_leaves_what_it_made_to_the_next(
    clocked: tuple[World, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, clock = clocked
    fill(world)
    monkeypatch.setattr("graphs.reindex.PAGE", 2)
    asyncio.run(world.index.reindex(encoders.OTHER))
    put, puts = world.catalog.vectors.put_many, []

    def dies(items: Any, revision: str) -> Any:
        if len(puts) == 2:
            raise KeyboardInterrupt("killed")
        puts.append(len(items))
        return put(items, revision)

    monkeypatch.setattr(world.catalog.vectors, "put_many", dies)
    with pytest.raises(BaseException, match="killed"):
        asyncio.run(world.processing.work_once("first"))
    monkeypatch.setattr(world.catalog.vectors, "put_many", put)
    assert served(world) == OWN
    left = len(world.catalog.vectors.missing(OTHER.revision, 100))
    assert 0 < left < len(TEXTS) + 2 * len(COLOURS)
    assert work(world) == 0, "its lease still runs"
    clock.move(LEASE_S + 1)
    before = len(world.encoder.calls)
    assert work(world) == 1
    assert len(world.encoder.calls) - before == left, "nothing is embedded twice"
    assert served(world) == OTHER
    assert job(world).attempts == 2


def test_a_cancelled_job_leaves_all_as_it_was(real: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(real)
    monkeypatch.setattr("graphs.holding.LOOK_S", 0.01)
    queued = asyncio.run(real.index.reindex(encoders.OTHER))
    real.shards[0].target.waits = 10**9

    async def cancel() -> None:
        working = asyncio.create_task(real.processing.work_once("w"))
        while real.catalog.jobs.get(queued.id).detail != {"stage": "prepare"}:
            await asyncio.sleep(0.01)
        await real.jobs.cancel(queued.id)
        await working

    asyncio.run(cancel())
    assert served(real) == OWN
    assert job(real).state == "cancelled"
    asyncio.run(real.upkeep.look_after())
    assert work(real) == 0, "nobody takes it up again unasked"
    real.shards[0].target.waits = 0
    asyncio.run(real.index.reindex(encoders.OTHER))
    assert work(real) == 1
    assert served(real) == OTHER


def test_a_content_that_cannot_be_embedded_is_explained_and_stops_nothing(real: World) -> None:
    fill(real)
    (file,) = (asset.file for asset in real.catalog.assets.page().items if asset.id == "picture 0")
    real.places.files.delete([file])
    asyncio.run(real.index.reindex(encoders.OTHER))
    assert work(real) == 1
    assert served(real) == OTHER
    assert sorted(found(real, "x", "image")) == ["picture 1", "picture 2"]
    asset = real.catalog.assets.get("picture 0")
    assert asset.state == "failed"
    assert "no such file" in (asset.stages["index"].error or "")
    assert real.catalog.assets.get("picture 1").state == "ready"
    asyncio.run(real.index.rollback(ENCODER))
    work(real)
    assert sorted(found(real, "x", "image")) == ["picture 0", "picture 1", "picture 2"], "the old vector is there"


def test_an_encoder_that_is_ill_or_a_shard_that_never_reads_keep_the_old_one_served(
    real: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(real)
    asyncio.run(real.index.reindex(encoders.OTHER))
    no_weights = Problem("unavailable", "weights are missing", "mediaverse models pull it")
    real.encoder.fault = RayTaskError("encode_text", "Traceback ...", no_weights).as_instanceof_cause()
    assert work(real) == 1
    assert (job(real).state, job(real).error) == (
        "failed", "unavailable: weights are missing; mediaverse models pull it",
    )  # fmt: skip
    real.encoder.fault = None
    monkeypatch.setattr("graphs.reindex.PREPARE_S", 0.2)
    monkeypatch.setattr("graphs.reindex.LOOK_S", 0.01)
    real.shards[1].target.waits = 10**9
    asyncio.run(real.index.reindex(encoders.OTHER))
    assert work(real) == 1
    assert "shard 1" in (job(real).error or "")
    assert served(real) == OWN
    assert {asset.state for asset in real.catalog.assets.page().items} == {"ready"}, "it says nothing of the contents"
    asyncio.run(real.upkeep.look_after())
    assert work(real) == 0, "not over and over again"


def test_wishes_that_cannot_be_are_refused(real: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for model, code in (("nonsense", "not_found"), ("mtcnn", "not_found"), ("clip-vit-b-32-openai", "unavailable")):
        with pytest.raises(Problem) as refused:
            asyncio.run(real.index.reindex(model))
        assert refused.value.code == code
    assert "mediaverse models pull" in (refused.value.remedy or "")
    with pytest.raises(Problem, match="conflict"):
        asyncio.run(real.index.rollback(ENCODER))
    with pytest.raises(Problem, match="not_found"):
        asyncio.run(real.index.rollback("captioning"))
    assert real.catalog.settings.get(ENCODER).wanted is None


def test_a_later_wish_ends_an_earlier_one(real: World) -> None:
    fill(real)
    asyncio.run(real.index.reindex(encoders.OTHER))
    real.catalog.settings.want(**vars(OWN))
    assert work(real) == 1
    assert (job(real).state, served(real)) == ("failed", OWN)
    assert "no longer wanted" in (job(real).error or "")


def test_what_failed_for_want_of_weights_is_made_at_the_next_start(world: World) -> None:
    no_weights = Problem("unavailable", "weights are missing", "mediaverse models pull full")
    world.encoder.fault = RayTaskError("encode_text", "Traceback ...", no_weights).as_instanceof_cause()
    add(world, "a", b"some words")
    work(world)
    assert world.catalog.assets.get("a").state == "failed"
    for _ in range(2):  # it is started again, still without weights
        again = World(world.folder)
        again.encoder.fault = world.encoder.fault
        asyncio.run(again.upkeep.look_after())
        assert work(again) == 1
        asyncio.run(again.upkeep.look_after())
        assert work(again) == 0, "once a start"
        assert again.catalog.assets.get("a").state == "failed"
        again.close()
    world.encoder.fault = None
    asyncio.run(world.upkeep.look_after())
    assert work(world) == 1
    asset = world.catalog.assets.get("a")
    assert (asset.state, asset.stages["index"].error) == ("ready", None)
    assert found(world, "some words") == ["a"]


def test_what_is_processed_already_is_left_to_its_own_job(world: World) -> None:
    add(world, "a", b"some words")
    asyncio.run(world.upkeep.look_after())
    calls = len(world.encoder.calls)
    asyncio.run(world.processing.work_once("w", ("reindex",)))
    assert len(world.encoder.calls) == calls
    asyncio.run(world.processing.work_many("w"))
    assert found(world, "some words") == ["a"]


def test_a_sentence_encoder_that_is_new_is_served_once_every_text_has_its_vector(world: World) -> None:
    add(world, "before", b"some words")
    add(world, "picture", png(), description="words about it")
    work(world)
    target = Served(SENTENCES, "sentences", "sentences@1", TEXT_DIM)
    newer = World(world.folder)
    newer.embedding.configured[SENTENCES] = target
    add(newer, "meanwhile", b"more words")
    asyncio.run(newer.processing.work_many("w"))
    assert newer.catalog.vectors.count(target.revision, "text") == 1
    assert newer.catalog.settings.get(SENTENCES) is None
    asyncio.run(newer.upkeep.look_after())
    assert work(newer) == 1
    assert newer.catalog.settings.get(SENTENCES).served == target
    assert newer.catalog.vectors.count(target.revision, "text") == 3
    assert newer.catalog.vectors.count(target.revision, "image") == 0
    assert sorted(found(newer, "words")) == ["before", "meanwhile", "picture"]
    newer.close()


def test_adopting_serves_the_first_encoder_and_never_sentences_unseen(world: World) -> None:
    catalog = Catalog.open(f"sqlite:///{world.folder / 'other.db'}")
    manifest = load_manifest()
    rows = manifest.profile("embedded")
    configured = adopt(catalog.settings, rows)
    assert configured[ENCODER] == OWN
    assert catalog.settings.get(ENCODER).served == OWN
    assert catalog.settings.get(SENTENCES) is None
    changed = adopt(catalog.settings, rows | {ENCODER: manifest.models[encoders.OTHER]})
    assert changed[ENCODER] == OTHER
    models = catalog.settings.get(ENCODER)
    assert (models.served, models.wanted) == (OWN, OTHER)
    assert find_model(encoders.OTHER) == OTHER
    catalog.close()


def test_what_was_served_is_let_go_by_the_shards_a_round_later(real: World) -> None:
    fill(real)
    asyncio.run(real.index.reindex(encoders.OTHER))
    work(real)
    for released in (False, True):
        asyncio.run(real.upkeep.look_after())
        assert any(call[0] == "release" for call in real.shards[0].calls) is released
    shard: Handle = real.shards[0]
    assert ("release", OWN.revision) in shard.calls
    assert len(found(real, "a red square")) == len(TEXTS) + len(COLOURS)
