"""Assets from the upload to the index: over a real catalog, with the test as the worker."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayTaskError
from ray.serve.exceptions import BackPressureError

from graphs.holding import LEASE_S
from graphs.processing import MAX_ATTEMPTS
from serve_app.catalog import Catalog, Tag
from serve_app.errors import Problem
from serve_app.wire import ports, schemas
from tests.graphs.world import Handle, World, png
from tests.unit.catalog.catalog_samples import Clock

PICTURE = png(10, 20, 200)
DONE = {"preview": "skipped", "adapt": "skipped"}


def add(
    world: World, id: str | None = "a", data: bytes = PICTURE, owner: str = "anna", **more: Any
) -> tuple[schemas.Asset, bool]:
    new = ports.NewAsset(ports.Upload.of(data, "photo.png"), owner, id, **more)
    return asyncio.run(world.assets.add(new))


def work(world: World, worker: str = "w") -> bool:
    return asyncio.run(world.processing.work_once(worker))


def get(world: World, id: str = "a") -> schemas.Asset:
    return asyncio.run(world.assets.get(id))


def annotations(world: World, id: str = "a") -> dict[str, schemas.TaskResult]:
    return asyncio.run(world.assets.annotations(id)).results


def found(world: World, text: str = "anything", modality: str = "image") -> list[str]:
    ranking = getattr(asyncio.run(world.retrieval.search_text(schemas.TextQuery(text=text))), modality)
    return list(ranking.contents)


def states(asset: schemas.Asset) -> dict[str, str]:
    return {name: stage.state for name, stage in asset.stages.items()}


def crash(error: Exception) -> Any:
    return RayTaskError("encode_image", "Traceback ...", error).as_instanceof_cause()


NO_WEIGHTS = crash(Problem("unavailable", "weights are missing", "mediaverse models pull full"))


def test_a_picture_is_stored_annotated_and_found(world: World) -> None:
    asset, created = add(world, description="a blue thing")
    assert created
    assert asset.state == "processing"
    assert [call[0] for call in world.runner.calls] == ["nudge"]
    assert found(world) == []
    assert work(world)
    assert not work(world)
    asset = get(world)
    assert asset.state == "ready"
    assert states(asset) == DONE | {"annotate": "ready", "index": "ready"}
    assert found(world) == ["a"]
    assert found(world, "a blue thing", "text") == ["a"]
    results = annotations(world)
    assert [label.label for label in results["object_detection"].labels] == ["dog", "dog", "cat"]
    assert results["cross_modal_embedding"].embedding is None, "a vector is kept once, as a row of the index"
    assert world.catalog.annotations.tags_of("a") == [
        Tag("meme", "meme", 0.9, results["meme_detection"].model),
        Tag("object", "dog", 0.9, results["object_detection"].model),
        Tag("object", "cat", 0.4, results["object_detection"].model),
        Tag("person", "unknown", 0.8, results["face_recognition"].model),
        Tag("text", "ONE DOES NOT", 0.9, results["text_recognition"].model),
        Tag("text", "ONE DOES NOT SIMPLY", 0.8, results["text_recognition"].model),
        Tag("text", "SIMPLY", 0.8, results["text_recognition"].model),
    ]
    assert len([call for call in world.encoder.calls if call[0] == "encode_image"]) == 1, "one look at the picture"


def test_a_text_is_indexed_without_being_looked_at(world: World) -> None:
    add(world, "t", "un testo \u00e8 qui".encode())
    assert work(world)
    asset = get(world, "t")
    assert (asset.kind, asset.state) == ("text", "ready")
    assert states(asset) == DONE | {"annotate": "skipped", "index": "ready"}
    assert found(world, "un testo \u00e8 qui", "text") == ["t"]
    assert world.objects.calls == []


def test_the_same_again_is_the_same_asset(world: World) -> None:
    add(world)
    again, created = add(world)
    assert (again.id, created) == ("a", False)
    assert len(world.files()) == 1
    assert len(world.runner.calls) == 1
    assert work(world)
    assert not work(world)


def test_what_a_client_who_leaves_began_is_finished(world: World) -> None:
    new = ports.NewAsset(ports.Upload.of(PICTURE), "anna", "a")

    async def scenario(wait_s: float) -> None:
        adding = asyncio.create_task(world.assets.add(new))
        await asyncio.sleep(wait_s)
        adding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await adding
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others)

    for wait_s in (0.001, 0.005, 0.02):
        asyncio.run(scenario(wait_s))
        assert get(world).bytes == len(PICTURE)
        assert len(world.files()) == 1, "no file without its row"
        asyncio.run(world.assets.delete("a"))


def test_an_id_that_is_taken_leaves_no_file(world: World) -> None:
    add(world)
    for data, owner in ((png(1), "anna"), (PICTURE, "ben")):
        with pytest.raises(Problem) as refused:
            add(world, "a", data, owner)
        assert refused.value.code == "conflict"
    assert len(world.files()) == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "undecodable_media"),
        (PICTURE[:45], "undecodable_media"),
        (b"\x7fELF" + bytes(100), "unsupported_media"),
        (b" \n\t ", "unprocessable"),
    ],
    ids=["empty", "truncated", "program", "blank"],
)
def test_what_cannot_be_stored_leaves_nothing(world: World, data: bytes, code: str) -> None:
    with pytest.raises(Problem) as refused:
        add(world, "a", data)
    assert refused.value.code == code
    assert world.files() == []
    with pytest.raises(Problem, match="not_found"):
        get(world)


def test_a_description_without_a_word_is_none(world: World) -> None:
    add(world, description=" \n ")
    work(world)
    assert get(world).state == "ready"
    assert get(world).description is None
    assert found(world, "x", "text") == []


def test_an_annotator_that_crashes_costs_the_asset_nothing_else(world: World) -> None:
    world.objects.fault = crash(ZeroDivisionError())
    add(world)
    work(world)
    assert get(world).state == "ready"
    results = annotations(world)
    assert results["object_detection"].status == "failed"
    assert results["face_recognition"].status == "ok"
    assert {tag.name for tag in world.catalog.annotations.tags_of("a")} == {"meme", "person", "text"}
    assert found(world) == ["a"]


def test_a_picture_that_only_a_model_finds_broken_fails_with_the_reason(world: World) -> None:
    world.faces.fault = crash(Problem("undecodable_media", "it ends in the middle"))
    add(world)
    work(world)
    asset = get(world)
    assert asset.state == "failed"
    assert asset.stages["annotate"].state == "failed"
    assert "it ends in the middle" in (asset.stages["annotate"].error or "")
    assert "running" not in states(asset).values()
    assert "pending" not in states(asset).values()


def test_an_overloaded_encoder_is_asked_again(world: World) -> None:
    add(world, "t", b"some words")
    world.encoder.fault = BackPressureError(num_queued_requests=9, max_queued_requests=9)

    async def scenario() -> None:
        working = asyncio.create_task(world.processing.work_once("w"))
        while not world.encoder.calls:
            await asyncio.sleep(0.01)
        world.encoder.fault = None
        await working

    asyncio.run(scenario())
    assert get(world, "t").state == "ready"


def test_without_an_embedding_the_index_fails_with_its_remedy(world: World) -> None:
    world.encoder.fault = NO_WEIGHTS
    add(world)
    work(world)
    asset = get(world)
    assert asset.state == "failed"
    assert states(asset) == DONE | {"annotate": "ready", "index": "failed"}
    assert "mediaverse models pull full" in (asset.stages["index"].error or "")
    assert annotations(world)["object_detection"].status == "ok"
    assert world.catalog.jobs.page(state="failed").items[0].asset_id == "a"


@pytest.fixture
def clocked(tmp_path: Path) -> Any:
    """A world whose catalog's clock is moved by the test."""
    clock = Clock()
    world = World(tmp_path)
    world.places.__dict__["catalog"] = Catalog.open(world.places.catalog_url, clock)
    world.shards[0].target.log = world.catalog.vectors
    yield world, clock
    world.close()


def give_up(world: World, clock: Clock) -> None:
    """Work until there is nothing to do, with the time between that it takes a crashed job's lease to run out."""
    for _ in range(10):
        if not work(world):
            return
        clock.move(LEASE_S + 1)
    raise AssertionError("it never ends")


def test_a_model_that_always_crashes_fails_the_asset_in_the_end(clocked: tuple[World, Clock]) -> None:
    world, clock = clocked
    world.encoder.fault = crash(ZeroDivisionError())
    add(world)
    give_up(world, clock)
    asset = get(world)
    assert asset.state == "failed"
    assert asset.stages["index"].state == "failed"
    assert "internal" in (asset.stages["index"].error or "")
    assert world.catalog.jobs.page().items[0].attempts == MAX_ATTEMPTS


def test_a_worker_that_lost_its_lease_stops_and_the_other_ends_the_job(clocked: tuple[World, Clock]) -> None:
    world, clock = clocked
    add(world)
    detector = world.objects.target
    others: list[asyncio.Task[bool]] = []

    class Slow:
        async def detect(self, payload: bytes) -> Any:
            if not others:
                clock.move(LEASE_S + 1)
                others.append(asyncio.create_task(world.processing.work_once("other")))
                assert await asyncio.shield(others[0])
            return await detector.detect(payload)

    async def scenario() -> None:
        assert await world.processing.work_once("first")
        assert await others[0]

    world.objects.target = Slow()
    asyncio.run(scenario())
    (job,) = world.catalog.jobs.page().items
    assert (job.state, job.worker, job.attempts) == ("succeeded", "other", 2)
    assert get(world).state == "ready"
    assert found(world) == ["a"]
    assert world.catalog.vectors.count(world.places.revision, "image") == 1


@pytest.mark.parametrize("during", ["objects", "encoder"])
def test_what_is_deleted_while_it_is_processed_is_nowhere(world: World, during: str) -> None:
    add(world, description="some words")
    handle: Handle = getattr(world, during)
    inner = handle.target

    class Deleting:
        async def detect(self, payload: bytes) -> Any:
            await world.assets.delete("a")
            return await inner.detect(payload)

        async def encode_image(self, payload: bytes, model: str | None = None) -> Any:
            await world.assets.delete("a")
            return await inner.encode_image(payload)

        async def encode_texts(self, texts: list[str], *more: Any) -> Any:
            return await inner.encode_texts(texts)

    handle.target = Deleting()
    assert work(world)
    handle.target = inner
    assert not work(world)
    assert world.files() == []
    assert found(world) == found(world, "some words", "text") == []
    assert world.catalog.vectors.count(world.places.revision, "image") == 0
    assert world.catalog.annotations.tags_of("a") == []
    with pytest.raises(Problem, match="not_found"):
        get(world)


def test_deleting_takes_everything_but_what_others_share(world: World) -> None:
    add(world)
    add(world, "b")
    while work(world):
        pass
    asyncio.run(world.assets.delete("b"))
    assert found(world) == ["a"]
    asyncio.run(world.assets.delete("a"))
    assert found(world) == []
    assert world.files() == []
    with pytest.raises(Problem, match="not_found"):
        asyncio.run(world.assets.delete("a"))


def test_the_original_comes_back_as_it_was_and_nothing_else_does(world: World) -> None:
    add(world, "x/y")
    download = asyncio.run(world.assets.download("x/y", "original"))
    assert (download.media_type, download.size, download.name) == ("image/png", len(PICTURE), "y")
    asyncio.run(world.assets.delete("x/y"))
    with download.stream as stream:
        assert stream.read() == PICTURE, "what was opened is read to its end, whatever happens to its name"
    add(world, "x/y")
    for path in ("../catalog.db", "original/..", "", "/etc/passwd"):
        with pytest.raises(Problem, match="not_found"):
            asyncio.run(world.assets.download("x/y", path))


def test_a_known_face_is_named_when_stored_and_follows_the_gallery(world: World) -> None:
    asyncio.run(world.people.add("Ada", [ports.Upload.of(png(1), "ada.png")]))
    add(world)
    assert work(world)
    assert [label.label for label in annotations(world)["face_recognition"].labels] == ["Ada"]
    assert [tag.value for tag in world.catalog.annotations.tags_of("a") if tag.name == "person"] == ["Ada"]
    hits = asyncio.run(world.people.search(png(2), "anna", 5)).items
    assert [(hit.asset_id, hit.label, hit.same, hit.box) for hit in hits] == [("a", "Ada", True, (0, 0, 9, 9))]
    asyncio.run(world.people.rename("Ada", "Ada Lovelace"))
    assert [label.label for label in annotations(world)["face_recognition"].labels] == ["Ada Lovelace"]
    asyncio.run(world.people.delete("Ada Lovelace", erase=True))
    assert [tag.value for tag in world.catalog.annotations.tags_of("a") if tag.name == "person"] == ["unknown"]
