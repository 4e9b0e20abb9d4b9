"""A video through its graph: real decoder process, catalog and index; annotators that always see the same."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from serve_app.annotation.labels import Label
from serve_app.errors import Problem
from serve_app.wire import schemas
from serve_app.wire.ports import NewAsset, Upload
from tests.graphs.clips import video
from tests.graphs.world import World, png

NO_WEIGHTS = Problem("unavailable", "no weights here", "mediaverse models pull full")


@pytest.fixture(scope="module")
def two_scenes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return video(tmp_path_factory.mktemp("clips") / "two.mp4", 1.0, 1.5).read_bytes()


def annotate(world: World, data: bytes, annotators: str | None = None, seed: int = 0) -> Any:
    """All updates; the last one is the annotation."""

    async def scenario() -> list[Any]:
        chosen = world.videos.parse_annotators(annotators)
        return [update async for update in world.videos.annotate(Upload.of(data), chosen, seed)]

    return asyncio.run(scenario())


def add(world: World, data: bytes, id: str = "film", owner: str = "anna") -> schemas.Asset:
    return asyncio.run(world.assets.add(NewAsset(Upload.of(data, "film.mp4"), owner, id)))[0]


def work(world: World) -> bool:
    return asyncio.run(world.processing.work_once("w"))


def test_every_annotator_answers_with_times(world: World, two_scenes: bytes) -> None:
    *progress, answer = annotate(world, two_scenes)
    assert progress
    assert all(isinstance(update, schemas.VideoProgress) for update in progress)
    assert [(scene.start_frame, scene.end_frame) for scene in answer.scenes] == [(0, 10), (10, 25)]
    assert [(scene.start_s, scene.end_s) for scene in answer.scenes] == [(0.0, 1.0), (1.0, 2.5)]
    assert answer.asset.model_dump(exclude={"sha256"}) == {
        "media_type": "video/mp4", "width": 96, "height": 64, "duration_s": 2.5
    }  # fmt: skip
    assert answer.decoded.model_dump() == {"frames": 25, "expected": 25, "errors": 0, "complete": True}
    objects = answer.results["object_detection"]
    assert [(label.label, label.confidence, len(label.times or [])) for label in objects.labels] == [
        ("dog", 0.9, 4), ("cat", 0.4, 2)
    ]  # fmt: skip
    assert 0 <= objects.labels[0].timestamp_s < 1.0, "of equally sure sightings the first"
    times = [time.timestamp_s for time in objects.labels[1].times]
    assert times[0] < 1.0 <= times[1]
    faces = answer.results["face_recognition"].labels
    assert [int(face.timestamp_s) for face in faces] == [0, 1, 2], "one frame of every second"
    actions = answer.results["action_recognition"].labels
    assert [(label.label, len(label.times)) for label in actions] == [("pan left", 2)]
    vectors = answer.results["cross_modal_embedding"].embeddings
    assert [(each.start_s, each.end_s) for each in vectors] == [(0.0, 1.0), (1.0, 2.5)]
    concerns = answer.results["disturbing_content"]
    assert concerns.status == "unavailable"
    assert concerns.remedy
    assert answer.stage.total_s >= answer.stage.annotate_s


def test_the_same_seed_gives_the_same_answer_and_another_one_other_frames(world: World, two_scenes: bytes) -> None:
    answers = [annotate(world, two_scenes, "objects,embedding,faces", seed)[-1] for seed in (0, 0, 1)]
    shown = [answer.model_dump(exclude={"stage"}) for answer in answers]
    assert shown[0] == shown[1]
    assert shown[0] != shown[2]


def test_only_those_who_are_asked_get_frames(world: World, two_scenes: bytes) -> None:
    answer = annotate(world, two_scenes, "faces")[-1]
    assert set(answer.results) == {"face_recognition"}
    assert len(world.faces.calls) == 3
    for other in (world.objects, world.encoder, world.actions):
        assert other.calls == []
    assert annotate(world, two_scenes, "scenes")[-1].results == {}
    with pytest.raises(Problem, match="smells"):
        world.videos.parse_annotators("objects,smells")


def test_one_without_weights_is_asked_once_and_fails_nobody(world: World, two_scenes: bytes) -> None:
    world.faces.fault = NO_WEIGHTS
    answer = annotate(world, two_scenes)[-1]
    result = answer.results["face_recognition"]
    assert (result.status, result.remedy) == ("unavailable", "mediaverse models pull full")
    assert answer.results["object_detection"].status == "ok"
    assert len(world.faces.calls) <= 3


def test_boxes_are_in_pixels_of_the_full_picture(world: World, tmp_path: Path) -> None:
    class WholePicture:
        async def detect(self, payload: Any) -> list[Label]:
            width, height = (int(number) for number in payload.split(b"\n", 2)[1].split())
            return [Label("all", 1.0, (0, 0, width, height))]

    world.objects.target = WholePicture()
    wide = video(tmp_path / "wide.mp4", 0.3, size=(2560, 64)).read_bytes()
    (label,) = annotate(world, wide, "objects")[-1].results["object_detection"].labels
    assert label.box == pytest.approx((0, 0, 2560, 64), abs=1)


@pytest.mark.parametrize(("data", "code"), [(png(), "unsupported_media"), (b"some words", "unsupported_media")])
def test_what_is_no_video_is_refused(world: World, data: bytes, code: str) -> None:
    with pytest.raises(Problem) as caught:
        annotate(world, data)
    assert caught.value.code == code
    assert world.files() == []


def test_a_broken_video_is_undecodable_and_leaves_no_file(world: World, two_scenes: bytes) -> None:
    with pytest.raises(Problem) as caught:
        annotate(world, two_scenes[:100])
    assert caught.value.code == "undecodable_media"
    assert world.files() == []
    with pytest.raises(Problem) as caught:
        add(world, two_scenes[:100])
    assert caught.value.code == "undecodable_media"
    assert world.files() == []


def test_who_leaves_early_leaves_no_file_behind(world: World, two_scenes: bytes) -> None:
    async def scenario() -> None:
        async with aclosing(world.videos.annotate(Upload.of(two_scenes), ("faces",), 0)) as updates:
            await anext(updates)
            assert len(world.files()) == 1
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait([task])

    asyncio.run(scenario())
    assert world.files() == []


def test_an_asset_is_found_by_its_moments(world: World, two_scenes: bytes) -> None:
    asset = add(world, two_scenes)
    assert (asset.kind, asset.state, asset.width, asset.height) == ("video", "processing", 96, 64)
    assert asset.duration_s == pytest.approx(2.5)
    assert work(world)
    asset = asyncio.run(world.assets.get("film"))
    assert (asset.state, asset.stages["annotate"].state, asset.stages["index"].state) == ("ready", "ready", "ready")
    kept = asyncio.run(world.assets.annotations("film"))
    assert [scene.end_frame for scene in kept.scenes or []] == [10, 25]
    assert kept.results["object_detection"].labels[0].label == "dog"
    assert "scenes" not in kept.results
    frames = [payload for name, payload, *_ in world.encoder.calls if name == "encode_image"]
    assert len(frames) == 2
    found = {}
    for frame in frames:
        query = schemas.TextQuery(text="-", modalities=["video"])
        video = asyncio.run(world.retrieval.search_image(frame, query)).video
        assert video is not None
        assert video.contents == ["film"], "each video once"
        found[video.moments[0].start_s] = video.scores[0]
    assert set(found) == {0.0, 1.0}
    assert all(score == pytest.approx(1.0, abs=1e-5) for score in found.values())
    tags = 'action:"pan left" person:unknown object:dog'
    page = asyncio.run(world.assets.page(owner=None, kind="video", sha256=None, filter=tags, limit=5, cursor=None))
    assert [item.id for item in page.items] == ["film"]


def test_a_new_model_reads_the_video_again_for_its_vectors_only(world: World, two_scenes: bytes) -> None:
    add(world, two_scenes)
    work(world)
    newer = World(world.folder, revision="better@1")
    asyncio.run(newer.upkeep.look_after())
    assert work(newer)
    assert newer.catalog.vectors.count("better@1", "video") == 2
    assert not newer.objects.calls
    assert not newer.faces.calls
    newer.close()


def test_a_deleted_video_is_gone_with_its_moments(world: World, two_scenes: bytes) -> None:
    add(world, two_scenes)
    work(world)
    frame = next(payload for name, payload, *_ in world.encoder.calls if name == "encode_image")
    asyncio.run(world.assets.delete("film"))
    found = asyncio.run(world.retrieval.search_image(frame, schemas.TextQuery(text="-"))).video
    assert found is not None
    assert found.contents == []
    assert world.files() == []
    assert world.catalog.vectors.count(world.places.revision, "video") == 0


def test_cancelling_a_job_stops_the_work_within_a_second(world: World, two_scenes: bytes) -> None:
    class Slow:
        async def find(self, payload: Any) -> list[Label]:
            await asyncio.sleep(60)
            return []

    world.faces.target = Slow()
    add(world, two_scenes)

    async def scenario() -> float:
        working = asyncio.create_task(world.processing.work_once("w"))
        while not world.faces.calls:
            await asyncio.sleep(0.01)
        (job,) = (await world.jobs.page(state="running", asset_id="film", limit=5, cursor=None)).items
        asked = time.monotonic()
        assert (await world.jobs.cancel(job.id)).state == "cancelled"
        await working
        return time.monotonic() - asked

    assert asyncio.run(scenario()) < 1.5
    asset = asyncio.run(world.assets.get("film"))
    assert asset.state == "failed"
    assert "running" not in {stage.state for stage in asset.stages.values()}


def test_a_job_tells_how_far_it_is_and_ends(world: World, two_scenes: bytes) -> None:
    class Slow:
        async def find(self, payload: Any) -> list[Label]:
            await asyncio.sleep(1.0)
            return []

    world.faces.target = Slow()
    add(world, two_scenes)

    async def scenario() -> list[schemas.Job]:
        (job,) = (await world.jobs.page(state=None, asset_id="film", limit=5, cursor=None)).items
        working = asyncio.create_task(world.processing.work_once("w"))
        events = [event async for event in world.jobs.events(job.id)]
        await working
        return events

    events = asyncio.run(scenario())
    assert events[-1].state == "succeeded"
    assert events[-1].progress == 1.0
    told = [event.detail for event in events if event.state == "running" and event.detail]
    assert told
    assert told[-1].stage == "annotate"
    assert (told[-1].frames or 0) <= 25
    assert told[-1].expected == 25


def test_a_known_face_is_named_in_a_video_and_found_at_its_time(world: World, two_scenes: bytes) -> None:
    asyncio.run(world.people.add("Ada", [Upload.of(png(1), "ada.png")]))
    add(world, two_scenes)
    assert work(world)
    faces = asyncio.run(world.assets.annotations("film")).results["face_recognition"].labels
    assert [label.label for label in faces] == ["Ada"] * 3, "one frame of each second that began"
    (hit,) = asyncio.run(world.people.search(png(2), "anna", 5)).items
    assert (hit.asset_id, hit.label, hit.same) == ("film", "Ada", True)
    assert hit.timestamp_s in [label.timestamp_s for label in faces]
    asyncio.run(world.people.rename("Ada", "Ada Lovelace"))
    faces = asyncio.run(world.assets.annotations("film")).results["face_recognition"].labels
    assert [label.label for label in faces] == ["Ada Lovelace"] * 3


def test_what_is_printed_and_meant_in_scenes_is_told_with_times(world: World, two_scenes: bytes) -> None:
    results = annotate(world, two_scenes, "memes,texts")[-1].results
    memes = results["meme_detection"]
    assert (memes.is_meme, memes.score) == (True, 0.9)
    assert [(label.label, label.start_s, label.end_s) for label in memes.labels] == [
        ("meme", 0.0, 1.0), ("meme", 1.0, 2.5)
    ]  # fmt: skip
    texts = results["text_recognition"].labels
    assert [(label.label, len(label.times or [])) for label in texts] == [("ONE DOES NOT", 2), ("SIMPLY", 2)]
