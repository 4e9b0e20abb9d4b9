"""Streams of a stored video through the graphs: real FFmpeg, catalog and files; no cluster."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
from pathlib import Path

import av
import m3u8
import numpy as np
import pytest
from PIL import Image

import graphs.adaptation
from serve_app.catalog import LeaseLostError
from serve_app.errors import Problem
from serve_app.wire import schemas
from serve_app.wire.ports import NewAsset, Upload
from tests.graphs.world import World, png
from tests.made_videos import noise, write_sound, write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    place = tmp_path_factory.mktemp("clip")
    return write_video(place / "clip.mp4", noise(125, (426, 240)), rate=25).read_bytes()


def add(world: World, data: bytes, id: str = "film") -> schemas.Asset:
    return asyncio.run(world.assets.add(NewAsset(Upload.of(data, "a.mp4"), "anna", id)))[0]


def order(world: World, preset: str = "web", id: str = "film", key: str | None = None) -> tuple[schemas.Job, bool]:
    return asyncio.run(world.assets.adapt(id, preset, key))


def work(world: World) -> bool:
    return asyncio.run(world.processing.work_once("w", kinds=("adapt",)))


def get(world: World, path: str) -> bytes:
    download = asyncio.run(world.assets.download("film", path))
    with download.stream as stream:
        return stream.read()


def names(world: World) -> set[str]:
    return {each.name for each in asyncio.run(world.assets.renditions("film")).items}


def stage(world: World) -> tuple[str, str | None]:
    found = asyncio.run(world.assets.get("film")).stages["adapt"]
    return found.state, found.error


def test_a_video_becomes_streams_that_play(world: World, clip: bytes, tmp_path: Path) -> None:
    add(world, clip)
    assert stage(world) == ("skipped", None)
    job, new = order(world)
    assert (new, job.kind, job.state, stage(world)) == (True, "adapt", "queued", ("pending", None))
    assert work(world)
    assert asyncio.run(world.jobs.get(job.id)).state == "succeeded"
    assert stage(world) == ("ready", None)
    assert asyncio.run(world.processing.work_once("w"))  # what looks at the film leaves this stage alone
    assert stage(world) == ("ready", None)
    found = asyncio.run(world.assets.renditions("film")).items
    assert {re.sub(r"-[0-9a-f]{12}", "", each.name) for each in found} == {
        "web/master.m3u8", "web/manifest.mpd", "web/h264-240.m3u8", "web/h264-240-keys.m3u8", "web/h264-240.mp4",
        "web/thumbnails.jpg", "web/thumbnails.vtt",
    }  # fmt: skip
    for each in found:
        data = get(world, each.name)
        assert len(data) == each.bytes
        (tmp_path / each.name.partition("/")[2]).write_bytes(data)
        kept = world.catalog.renditions.get("film", each.name)
        assert kept.sha256 == hashlib.sha256(data).hexdigest()
        assert each.url == f"/v1/assets/film/files/{each.name}"
    (stream,) = (each for each in found if each.name.endswith(".mp4"))
    assert (stream.media_type, stream.width, stream.height) == ("video/mp4", 426, 240)
    (variant,) = m3u8.load(str(tmp_path / "master.m3u8")).playlists
    parts = m3u8.load(str(tmp_path / variant.uri)).segments
    (name,) = {part.uri for part in parts}
    assert name == stream.name.partition("/")[2]
    assert world.catalog.renditions.get("film", stream.name).sha256[:12] in name
    with av.open(str(tmp_path / name)) as container:
        assert len(list(container.decode(video=0))) == 125


def test_the_same_is_not_made_twice_at_a_time(world: World, clip: bytes) -> None:
    add(world, clip)
    first, _ = order(world)
    again, new = order(world)
    assert (again.id, new) == (first.id, False)
    other, new = order(world, "360")
    assert (other.id != first.id, new) == (True, True)
    keyed, new = order(world, key="k")
    assert (keyed.id, new) == (first.id, False)
    assert work(world)
    assert work(world)
    assert not work(world)
    keyed, new = order(world, key="k2")
    assert new
    assert order(world, key="k2")[0].id == keyed.id
    with pytest.raises(Problem, match="used for something else"):
        order(world, "360", key="k2")


def test_a_preset_that_is_made_anew_replaces_all_of_its_own_files_and_no_others(world: World, clip: bytes) -> None:
    add(world, clip)
    order(world)
    order(world, "360")
    assert work(world)
    assert work(world)
    both, files = names(world), len(world.files())
    order(world)
    assert work(world)
    assert names(world) == both
    assert len(world.files()) == files
    asyncio.run(world.assets.delete("film"))
    assert world.files() == []


def test_what_cannot_be_adapted_is_told_at_once(world: World, clip: bytes) -> None:
    add(world, clip)
    asyncio.run(world.assets.add(NewAsset(Upload.of(png()), "anna", "picture")))
    asyncio.run(world.assets.add(NewAsset(Upload.of(b"some words"), "anna", "words")))
    for id, preset, code in (
        ("film", "wed", "bad_request"),
        ("picture", "web", "bad_request"),
        ("film", "small", "bad_request"),
        ("words", "web", "unprocessable"),
        ("nobody", "web", "not_found"),
    ):
        with pytest.raises(Problem) as told:
            order(world, preset, id)
        assert told.value.code == code
    assert not work(world)


def test_a_picture_becomes_a_smaller_one_with_a_watermark(world: World) -> None:
    asyncio.run(world.assets.add(NewAsset(Upload.of(png(90, 90, 90, size=(800, 600))), "anna", "film")))
    order(world, "small")
    assert work(world)
    (made,) = asyncio.run(world.assets.renditions("film")).items
    assert (made.name, made.media_type, made.width, made.height) == ("small.jpeg", "image/jpeg", 320, 240)
    with Image.open(io.BytesIO(get(world, "small.jpeg"))) as picture:
        greys = np.asarray(picture.convert("L"))
    assert greys.shape == (240, 320)
    assert np.ptp(greys) > 40, "the watermark is lighter and darker than what it lies on"
    assert stage(world) == ("ready", None)


def test_a_failure_is_told_and_leaves_nothing(world: World, clip: bytes) -> None:
    add(world, clip)
    before = world.files()
    stored = world.catalog.assets.get("film").file
    (place,) = (path for path in before if str(path).endswith(stored))
    place.chmod(0o644)
    place.write_bytes(clip[: len(clip) // 50])  # the disk lost the rest
    job, _ = order(world)
    assert work(world)
    ended = asyncio.run(world.jobs.get(job.id))
    assert ended.state == "failed"
    assert (ended.error or "").startswith("undecodable_media: ")
    assert stage(world)[0] == "failed"
    assert world.files() == before
    assert names(world) == set()


def test_a_cancelled_job_stops_its_encoder_and_leaves_nothing(world: World, clip: bytes) -> None:
    add(world, clip)
    before = world.files()
    job, _ = order(world)

    async def cancelled() -> None:
        working = asyncio.create_task(world.processing.work_once("w", kinds=("adapt",)))
        while (await world.jobs.get(job.id)).state != "running":
            await asyncio.sleep(0.02)
        await world.jobs.cancel(job.id)
        assert await working

    asyncio.run(cancelled())
    assert asyncio.run(world.jobs.get(job.id)).state == "cancelled"
    assert stage(world) == ("failed", "cancelled")
    assert world.files() == before
    assert names(world) == set()


def test_the_transcoder_stops_when_the_job_is_no_longer_held(world: World, clip: bytes) -> None:
    from graphs.adaptation import AdaptRequest

    add(world, clip)
    order(world)
    job = world.catalog.jobs.claim("w", 60.0, kinds=("adapt",))
    request = AdaptRequest(world.catalog.assets.get("film").file, "video", "web", job)

    async def steps() -> None:
        async for _ in world.transcoder.target.adapt(request):
            world.catalog.jobs.cancel(job.id)

    with pytest.raises(LeaseLostError):
        asyncio.run(steps())


def test_a_transcoder_that_goes_away_is_asked_again(world: World, clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    add(world, clip)
    job, _ = order(world)
    real, tries = world.transcoder.target, []

    class Dying:
        async def adapt(self, request: object) -> object:
            tries.append(request)
            async for step in real.adapt(request):
                if len(tries) == 1:
                    return
                yield step

    world.transcoder.target = Dying()
    assert work(world)
    assert len(tries) == 2
    assert asyncio.run(world.jobs.get(job.id)).state == "succeeded"
    assert len(world.files()) == 1 + len(names(world))


def test_what_is_made_at_once_is_kept_by_content(world: World, clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = graphs.adaptation.direct.thumbnail

    async def thumbnail(*given: object) -> object:
        made.append(given)
        return await real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(graphs.adaptation.direct, "thumbnail", thumbnail)

    def ask(side: int = 160) -> tuple[bytes, str]:
        return asyncio.run(world.transcoding.direct(Upload.of(clip), "thumbnail", "png", side))

    data, media_type = ask()
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.size, media_type) == ((160, 90), "image/png")
    assert ask() == (data, media_type)
    assert len(made) == 1
    assert ask(80)[0] != data
    assert len(made) == 2
    assert world.files() == [], "what is asked for at once is not kept as a file"
    moving, media_type = asyncio.run(world.transcoding.direct(Upload.of(clip), "summary", "webp", 100))
    assert (moving[8:12], media_type) == (b"WEBP", "image/webp")
    for data, what, code in ((b"", "thumbnail", "undecodable_media"), (clip, "sound", "unprocessable")):
        with pytest.raises(Problem) as told:
            asyncio.run(world.transcoding.direct(Upload.of(data), what, "mp3", 0))
        assert told.value.code == code
    assert world.files() == []


def test_a_sound_is_stored_and_becomes_streams(world: World, tmp_path: Path) -> None:
    data = write_sound(tmp_path / "sound.m4a").read_bytes()
    new = NewAsset(Upload.of(data, "a.m4a"), "anna", "film", "the sea at night")
    asset = asyncio.run(world.assets.add(new))[0]
    assert (asset.kind, asset.media_type) == ("audio", "audio/mp4")
    assert asset.duration_s == pytest.approx(1, abs=0.05)
    assert asyncio.run(world.processing.work_many("w")) == 1
    asset = asyncio.run(world.assets.get("film"))
    assert asset.state == "ready"
    assert {name: each.state for name, each in asset.stages.items()} == {
        "annotate": "skipped", "index": "ready", "preview": "skipped", "adapt": "skipped",
    }  # fmt: skip
    hits = asyncio.run(world.retrieval.search_text(schemas.TextQuery(text="the sea at night")))
    assert hits.text is not None
    assert hits.text.contents == ["film"], "by what is said of it"
    order(world)
    assert work(world)
    assert {re.sub(r"-[0-9a-f]{12}", "", name) for name in names(world)} == {
        "web/master.m3u8", "web/manifest.mpd", "web/aac.m3u8", "web/aac.mp4",
    }  # fmt: skip
    with pytest.raises(Problem) as told:
        asyncio.run(world.assets.add(NewAsset(Upload.of(data[:200], "a.m4a"), "anna", "torn")))
    assert told.value.code == "undecodable_media"
    general = write_sound(tmp_path / "sound.mp4").read_bytes()  # a brand that does not tell
    asset = asyncio.run(world.assets.add(NewAsset(Upload.of(general), "anna", "other")))[0]
    assert (asset.kind, asset.media_type) == ("audio", "audio/mp4")
