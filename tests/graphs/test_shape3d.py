"""A 3D model through its graph: real loader, renderer, catalog and index; annotators that tell what they got."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from PIL import Image

import graphs.assets
import graphs.shape3d
from graphs.annotators import Seen
from graphs.findings import Findings
from graphs.shape_answers import results
from serve_app.annotation.labels import Label
from serve_app.errors import Problem
from serve_app.media.enclosure import Rings
from serve_app.wire import schemas
from serve_app.wire.ports import NewAsset, Upload
from tests import meshes
from tests.graphs.world import World, png

NO_WEIGHTS = Problem("unavailable", "no weights here", "mediaverse models pull full")
AROUND = [0, 45, 90, 135, 180, 225, 270, 315]


def sure(payload: bytes) -> float:
    """Some confidence, another for each picture."""
    return hashlib.sha256(payload).digest()[0] / 255


class Teller:
    """Sees one thing in every picture, as surely as ``sure`` says."""

    async def detect(self, payload: bytes) -> list[Label]:
        return [Label("thing", sure(payload), (0, 0, sure(payload), 1))]


class Slow:
    async def detect(self, payload: bytes) -> list[Label]:
        await asyncio.sleep(60)
        return []


@pytest.fixture(scope="module")
def block() -> bytes:
    """A block of which no two sides are alike."""
    return meshes.file(meshes.solid("box", extents=(1, 2, 3)), "glb")


def annotate(world: World, data: bytes, annotators: str | None = None, **options: Any) -> schemas.ShapeAnnotation:
    chosen = world.shapes.parse_annotators(annotators)
    return asyncio.run(world.shapes.annotate(Upload.of(data), chosen, **options))


def add(world: World, data: bytes, id: str = "block") -> schemas.Asset:
    return asyncio.run(world.assets.add(NewAsset(Upload.of(data, "a.glb"), "anna", id)))[0]


def work(world: World) -> bool:
    return asyncio.run(world.processing.work_once("w"))


def get(world: World, id: str = "block") -> schemas.Asset:
    return asyncio.run(world.assets.get(id))


def test_every_view_is_looked_at_and_a_label_names_those_that_saw_it(world: World, block: bytes) -> None:
    world.objects.target = Teller()
    answer = annotate(world, block, pictures=True)
    facts = answer.asset
    assert (facts.media_type, facts.format, facts.triangles, facts.textured) == ("model/gltf-binary", "glb", 12, False)
    assert facts.size == pytest.approx((1, 2, 3))
    assert facts.sha256 == hashlib.sha256(block).hexdigest()
    assert [(view.azimuth, view.elevation, view.inside) for view in answer.views] == [(at, 0, False) for at in AROUND]
    pictures = [base64.b64decode(view.picture or "") for view in answer.views]
    assert {Image.open(io.BytesIO(picture)).size for picture in pictures} == {(64, 64)}
    assert {payload for name, payload in world.objects.calls} == set(pictures)
    confidences = [sure(picture) for picture in pictures]
    (label,) = answer.results["object_detection"].labels
    assert label.confidence == max(confidences)
    assert label.box == (0, 0, max(confidences), 1), "of the view that is surest"
    assert label.views == sorted(range(8), key=lambda number: (-confidences[number], number))
    vectors = answer.results["cross_modal_embedding"].embeddings or []
    assert [each.view for each in vectors] == list(range(8))
    for each, picture in zip(vectors, pictures, strict=True):
        assert each.embedding == world.encoder.target.vector(picture).tolist()
    assert set(answer.results) == {
        "object_detection", "cross_modal_embedding", "captioning", "disturbing_content", "nsfw"
    }  # fmt: skip
    assert answer.results["captioning"].status == "unavailable"
    assert answer.results["captioning"].remedy
    stage = answer.stage
    assert stage.total_s == pytest.approx(stage.load_s + stage.render_s + stage.annotate_s)
    assert world.files() == []


def test_a_room_is_seen_from_inside_and_the_up_axis_is_the_clients(world: World) -> None:
    answer = annotate(world, meshes.file(meshes.room(), "glb"), "objects")
    assert any(view.inside for view in answer.views)
    assert set(answer.results) == {"object_detection"}
    assert not world.encoder.calls
    lying = annotate(world, meshes.file(meshes.solid("box", extents=(1, 2, 3)), "stl"), "objects", up="y")
    assert lying.asset.size == pytest.approx((1, 2, 3))
    with pytest.raises(Problem, match="smells"):
        world.shapes.parse_annotators("objects,smells")


def test_those_that_cannot_answer_fail_nobody(world: World, block: bytes) -> None:
    world.objects.fault = NO_WEIGHTS
    results = annotate(world, block, "objects,embedding").results
    assert (results["object_detection"].status, results["object_detection"].remedy) == (
        "unavailable", "mediaverse models pull full"
    )  # fmt: skip
    assert results["cross_modal_embedding"].status == "ok"


@pytest.mark.parametrize("data", [png(), b"some words", b"%PDF-1.7\n"])
def test_what_is_no_3d_model_is_refused(world: World, data: bytes) -> None:
    for refuse in (annotate, lambda world, data: asyncio.run(world.shapes.thumbnail(Upload.of(data)))):
        with pytest.raises(Problem) as caught:
            refuse(world, data)
        assert caught.value.code == "unsupported_media"
    assert world.files() == []


def test_a_broken_one_is_undecodable_and_leaves_no_file(world: World, block: bytes) -> None:
    with pytest.raises(Problem, match="empty"):
        annotate(world, b"")
    for refuse in (annotate, add):
        with pytest.raises(Problem) as caught:
            refuse(world, block[: len(block) // 2])
        assert caught.value.code == "undecodable_media"
    assert world.files() == []


def test_what_takes_too_long_is_a_matter_for_a_job(world: World, block: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs.shape3d, "REQUEST_S", 0.02)
    with pytest.raises(Problem) as caught:
        annotate(world, block)
    assert caught.value.code == "deadline"
    assert "asset" in (caught.value.remedy or "")
    assert world.files() == []


def test_a_thumbnail_is_a_picture_of_the_model_on_nothing(world: World, block: bytes) -> None:
    picture = Image.open(io.BytesIO(asyncio.run(world.shapes.thumbnail(Upload.of(block)))))
    assert (picture.format, picture.size, picture.mode) == ("PNG", (64, 64), "RGBA")
    alpha = np.asarray(picture)[:, :, 3]
    assert alpha[0, 0] == 0
    assert 0.3 < (alpha > 0).mean() < 0.9
    assert world.files() == []


def test_an_asset_is_found_by_its_views_and_shown_by_its_previews(world: World, block: bytes) -> None:
    world.objects.target = Teller()
    asset = add(world, block)
    assert (asset.kind, asset.state, asset.media_type) == ("shape3d", "processing", "model/gltf-binary")
    assert asyncio.run(world.processing.work_many("w")) == 0, "it may take long"
    assert work(world)
    asset = get(world)
    states = {name: stage.state for name, stage in asset.stages.items()}
    assert (asset.state, states) == (
        "ready", {"annotate": "ready", "index": "ready", "preview": "ready", "adapt": "skipped"}
    )  # fmt: skip
    kept = asyncio.run(world.assets.annotations("block"))
    assert kept.shape is not None
    assert kept.shape.triangles == 12
    assert [view.azimuth for view in kept.views or []] == AROUND
    assert "shape" not in kept.results
    assert kept.results["object_detection"].labels[0].views
    views = [payload for name, payload, *_ in world.encoder.calls if name == "encode_image"]
    found = set()
    for view in views:
        answer = asyncio.run(world.retrieval.search_image(view, schemas.TextQuery(text="-", filter="object:thing")))
        assert answer.shape3d is not None
        assert answer.shape3d.contents == ["block"], "each model once"
        assert answer.shape3d.scores[0] == pytest.approx(1.0, abs=1e-5)
        found.add(answer.shape3d.views[0])
    assert len(found) == len(set(views))
    check_previews(world)
    asyncio.run(world.assets.delete("block"))
    assert world.files() == []
    assert world.catalog.vectors.count(world.places.revision, "shape3d") == 0


def check_previews(world: World) -> None:
    made = asyncio.run(world.assets.renditions("block"))
    assert [(each.name, each.media_type) for each in made.items] == [
        ("thumbnail.png", "image/png"), ("thumbnail.webp", "image/webp"),
        ("turntable.gif", "image/gif"), ("turntable.webp", "image/webp"),
    ]  # fmt: skip
    for each in made.items:
        file = asyncio.run(world.assets.download("block", each.name))
        assert (file.media_type, file.size, file.ours) == (each.media_type, each.bytes, True)
        with file.stream as stream, Image.open(io.BytesIO(stream.read())) as picture:
            assert picture.size == (each.width, each.height) == (64, 64)
            assert getattr(picture, "n_frames", 1) == (4 if "turntable" in each.name else 1)
        assert each.url == f"/v1/assets/block/files/{each.name}"
    with pytest.raises(Problem, match=r"thumbnail\.bmp"):
        asyncio.run(world.assets.download("block", "thumbnail.bmp"))


def test_a_new_model_looks_again_for_its_vectors_only(world: World, block: bytes) -> None:
    add(world, block)
    work(world)
    newer = World(world.folder, revision="better@1")
    asyncio.run(newer.upkeep.look_after())
    # The cameras stand elsewhere by now: what was seen before is not what is seen.
    newer.renderer.target = type(newer.renderer.target)(
        newer.annotators, newer.places, graphs.shape3d.Drawing(newer.renderer.target.drawing.limits, Rings(3.0), 64)
    )
    assert asyncio.run(newer.processing.work_many("w")) == 0
    assert work(newer)
    assert newer.catalog.vectors.count("better@1", "shape3d") == 8
    assert newer.catalog.vectors.missing("better@1", 100, 0) == []
    assert not newer.objects.calls
    newer.close()


def test_a_large_file_is_read_by_its_job(world: World, block: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs.assets, "SMALL_MESH", 100)
    asset = add(world, block[: len(block) // 2])
    assert asset.state == "processing"
    assert work(world)
    asset = get(world)
    assert asset.state == "failed"
    assert "undecodable_media" in (asset.stages["annotate"].error or "")
    assert {stage.state for stage in asset.stages.values()} <= {"failed", "skipped", "pending"}


def test_without_previews_it_is_found_all_the_same(world: World, block: bytes) -> None:
    class Half:
        def __init__(self, graph: Any) -> None:
            self.check, self.annotate, self.made = graph.check, graph.annotate, graph.previews

        async def previews(self, *args: Any) -> Any:
            async for preview in self.made(*args):
                yield preview
                raise Problem("unprocessable", "no more ink")

    world.renderer.target = Half(world.renderer.target)
    add(world, block)
    assert work(world)
    asset = get(world)
    assert (asset.state, asset.stages["preview"].state) == ("ready", "failed")
    assert "no more ink" in (asset.stages["preview"].error or "")
    assert len(world.files()) == 1, "what was made already is gone"
    assert asyncio.run(world.assets.renditions("block")).items == []


def test_cancelling_a_job_stops_the_work_within_a_second(world: World, block: bytes) -> None:
    world.objects.target = Slow()
    add(world, block)

    async def scenario() -> float:
        working = asyncio.create_task(world.processing.work_once("w"))
        while not world.objects.calls:
            await asyncio.sleep(0.01)
        (job,) = (await world.jobs.page(state="running", asset_id="block", limit=5, cursor=None)).items
        asked = time.monotonic()
        assert (await world.jobs.cancel(job.id)).state == "cancelled"
        await working
        return time.monotonic() - asked

    assert asyncio.run(scenario()) < 1.5
    assert get(world).state == "failed"


def test_a_file_is_read_once_and_a_large_one_is_not_kept(
    world: World, block: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, load = [], graphs.shape3d.mesh_process.load

    async def counting(*args: Any) -> Any:
        read.append(args)
        return await load(*args)

    monkeypatch.setattr(graphs.shape3d.mesh_process, "load", counting)
    add(world, block)
    assert work(world)
    assert len(read) == 1, "checked, annotated and shown"
    assert get(world).stages["preview"].state == "ready"
    monkeypatch.setattr(graphs.shape3d, "KEPT", 1)
    annotate(world, block, "objects")
    assert len(world.renderer.target._kept) == 1, "no more than that"
    monkeypatch.setattr(graphs.shape3d, "KEPT_BYTES", 100)
    world.renderer.target._kept.clear()
    annotate(world, block, "objects")
    assert not world.renderer.target._kept


def test_a_renderer_that_goes_away_is_overloaded_and_not_done(world: World, block: bytes) -> None:
    class Leaving:
        async def annotate(self, *args: Any) -> Any:
            yield graphs.shape3d.Step("load", 0.0)

        async def previews(self, *args: Any) -> Any:
            yield graphs.shape3d.Preview("thumbnail.webp", "image/webp", b"", 1, 1)

    async def listed(items: Any) -> list[Any]:
        return [item async for item in items]

    world.renderer.target = Leaving()
    with pytest.raises(Problem, match="went away"):
        annotate(world, block)
    with pytest.raises(Problem, match="went away"):
        asyncio.run(listed(world.shapes.previews("aa/1/original")))


@dataclass
class Judges:
    """As much of the annotators as answers need."""

    limit: float
    models: Any = field(default_factory=lambda: Judges)

    def says_yes(self, name: str, score: float) -> bool:
        return score >= self.limit

    @staticmethod
    def key(task: str) -> str:
        return f"{task}@1"


def test_a_verdict_is_that_of_the_worst_view() -> None:
    seen = {number: Seen(score=score) for number, score in enumerate((0.1, 0.7, 0.2, 0.9))}
    judged = {"nsfw": Findings(seen=seen, asked=4), "concerns": Findings(seen=seen, asked=5, problems=[NO_WEIGHTS])}
    answer = results(judged, Judges(0.5))  # type: ignore[arg-type]
    assert (answer["nsfw"].is_nsfw, answer["nsfw"].score, answer["nsfw"].model) == (True, 0.9, "nsfw@1")
    assert [(label.label, label.confidence, label.views) for label in answer["nsfw"].labels] == [("nsfw", 0.9, [3, 1])]
    assert answer["disturbing_content"].status == "unavailable"
    mild = results({"nsfw": Findings(seen=seen, asked=4)}, Judges(0.95))["nsfw"]  # type: ignore[arg-type]
    assert (mild.is_nsfw, mild.score, mild.labels) == (False, 0.9, [])


def test_views_without_an_answer_are_told() -> None:
    late = Problem("deadline", "too slow")
    found = Findings(seen={0: Seen([Label("cat", 0.5)])}, asked=2, problems=[late])
    answer = results({"objects": found}, Judges(0.5))["object_detection"]  # type: ignore[arg-type]
    assert (answer.status, answer.labels[0].views) == ("ok", [0])
    assert answer.error == "1 of 2 views got no answer: deadline: too slow"
    nobody = {"objects": Findings(asked=1, problems=[late]), "embedding": Findings(asked=1, problems=[late])}
    with pytest.raises(Problem, match="too slow"):
        results(nobody, Judges(0.5))  # type: ignore[arg-type]
