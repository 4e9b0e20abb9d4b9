"""Annotators side by side: what one does never changes what another answers."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import io
import time
from typing import Any

import pytest
from PIL import Image
from ray.exceptions import RayTaskError
from ray.serve.exceptions import BackPressureError

from graphs.annotators import ANNOTATORS, Annotators, Models
from graphs.image import ImageGraph
from serve_app.errors import Problem
from serve_app.models.manifest import Classifier, load_manifest
from serve_app.wire.schemas import Annotation
from tests.graphs.world import Handle, Judge, World, png

SERVED = load_manifest().profile("embedded")
UNSERVED = {annotator.result for annotator in ANNOTATORS.values() if annotator.task not in SERVED}


def annotate(world: World, data: bytes | None = None, *names: str) -> Annotation:
    return asyncio.run(world.image.annotate(png() if data is None else data, names or tuple(ANNOTATORS)))


def crash(error: Exception) -> Any:
    return RayTaskError("detect", "Traceback with /secret/path", error).as_instanceof_cause()


def busy() -> BackPressureError:
    return BackPressureError(num_queued_requests=9, max_queued_requests=9)


def test_all_annotators_answer(world: World) -> None:
    data = png(size=(31, 17))
    answer = annotate(world, data)
    assert set(answer.results) == {annotator.result for annotator in ANNOTATORS.values()}
    assert answer.asset.sha256 == hashlib.sha256(data).hexdigest()
    assert (answer.asset.media_type, answer.asset.width, answer.asset.height) == ("image/png", 31, 17)
    objects = answer.results["object_detection"]
    assert objects.status == "ok"
    assert objects.model == load_manifest().models["shapes-embedded"].key
    assert [(label.label, label.confidence, label.box) for label in objects.labels] == [
        ("dog", 0.9, (1, 2, 3, 4)), ("dog", 0.6, None), ("cat", 0.4, None),
    ]  # fmt: skip
    assert answer.results["face_recognition"].model is not None
    assert answer.results["face_recognition"].model.startswith("mtcnn@")
    assert answer.results["cross_modal_embedding"].embedding == world.encoder.target.vector(data).tolist()


def test_a_task_that_no_model_serves_says_what_it_needs(world: World) -> None:
    results = annotate(world).results
    assert {name for name, result in results.items() if result.status == "unavailable"} == UNSERVED
    for name in UNSERVED:
        assert results[name].remedy == world.models.manifest.tasks[name].remedy
        assert results[name].model is None


def test_one_that_hangs_costs_only_its_own_answer(world: World) -> None:
    class Hanging:
        async def detect(self, payload: bytes) -> None:
            await asyncio.sleep(60)

    world.objects.target = Hanging()
    graph = ImageGraph(dataclasses.replace(world.annotators, deadlines_s={"objects": 0.2}))
    started = time.perf_counter()
    results = asyncio.run(graph.annotate(png())).results
    assert time.perf_counter() - started < 5
    assert results["object_detection"].error == "deadline: no answer within 0.2 s"
    assert results["face_recognition"].status == results["cross_modal_embedding"].status == "ok"


def heads(world: World, *tasks: str) -> Annotators:
    """Annotators whose ``tasks`` are heads on the encoder's vector."""
    head = Classifier(
        on="vector", activation="sigmoid", encoder="clip-embedded@2", labels=["no", "yes"], positive=["yes"],
        threshold=0.5,
    )  # fmt: skip
    row = world.models.rows["cross_modal_embedding"]
    rows = {task: row.model_copy(update={"task": task, "classifier": head, "clip": None}) for task in tasks}
    served = {task: Handle(Judge(0.7)) for task in tasks}
    models = Models(world.models.rows | rows, world.models.manifest)
    return dataclasses.replace(world.annotators, served=world.annotators.served | served, models=models)


def test_the_tower_runs_once_however_many_heads_read_its_vector(world: World) -> None:
    graph = ImageGraph(heads(world, "disturbing_content", "nsfw"))
    results = asyncio.run(graph.annotate(png())).results
    assert results["disturbing_content"].is_disturbing is results["nsfw"].is_nsfw is True
    assert [label.label for label in results["nsfw"].labels] == ["nsfw"]
    assert results["cross_modal_embedding"].embedding
    assert [name for name, *_ in world.encoder.calls] == ["encode_image"]
    asyncio.run(graph.annotate(png(), ("concerns", "nsfw")))
    assert len(world.encoder.calls) == 2


def test_a_tower_that_fails_fails_its_heads_and_nobody_else(world: World) -> None:
    world.encoder.fault = busy()
    results = asyncio.run(ImageGraph(heads(world, "nsfw")).annotate(png())).results
    assert results["nsfw"].status == results["cross_modal_embedding"].status == "failed"
    assert results["object_detection"].status == "ok"


def test_the_size_is_that_of_the_upright_picture(world: World) -> None:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(stream, "JPEG", exif=exif)
    asset = annotate(world, stream.getvalue()).asset
    assert (asset.width, asset.height) == (20, 40)


def test_only_the_chosen_are_asked(world: World) -> None:
    assert set(annotate(world, None, "faces").results) == {"face_recognition"}
    assert (len(world.faces.calls), len(world.objects.calls), len(world.encoder.calls)) == (1, 0, 0)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (crash(ValueError("shape")), "failed", "internal"),
        (crash(Problem("unavailable", "no weights", "mediaverse models pull light")), "unavailable", "unavailable"),
        (busy(), "failed", "overloaded"),
        (crash(Problem("overloaded", "queue")), "failed", "overloaded"),
        (crash(Problem("deadline", "slow")), "failed", "deadline"),
        (KeyError("x"), "failed", "internal"),
    ],
    ids=["crash", "unavailable", "busy", "overloaded", "deadline", "bug"],
)
def test_one_that_cannot_answer_says_so_for_itself(world: World, fault: Exception, status: str, code: str) -> None:
    world.objects.fault = fault
    results = annotate(world).results
    spoken = results.pop("object_detection")
    assert spoken.status == status
    assert (spoken.error or "").startswith(f"{code}: ")
    assert "secret" not in str(spoken)
    assert spoken.remedy == ("mediaverse models pull light" if code == "unavailable" else None)
    assert spoken.labels == []
    assert {name for name, result in results.items() if result.status == "ok"} == set(results) - UNSERVED


@pytest.mark.parametrize("code", ["undecodable_media", "unsupported_media", "too_large"])
def test_a_fault_of_the_picture_is_the_answer_whoever_found_it(world: World, code: str) -> None:
    world.faces.fault = crash(Problem(code, "broken in the middle"))
    with pytest.raises(Problem) as refused:
        annotate(world)
    assert (refused.value.code, refused.value.detail) == (code, "broken in the middle")


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"just a text", png()[:20]])
def test_what_is_no_picture_reaches_nobody(world: World, data: bytes) -> None:
    with pytest.raises(Problem) as refused:
        annotate(world, data)
    assert refused.value.code in ("undecodable_media", "unsupported_media")
    assert world.objects.calls == world.faces.calls == world.encoder.calls == []


def test_when_nobody_could_answer_the_request_may_come_again(world: World) -> None:
    for handle in world.annotators.served.values():
        handle.fault = busy()
    with pytest.raises(Problem) as refused:
        annotate(world)
    assert refused.value.code == "overloaded"
    world.encoder.fault = None
    assert annotate(world).results["cross_modal_embedding"].status == "ok"
    with pytest.raises(Problem, match="overloaded"):
        annotate(world, None, "objects")


def test_nobody_could_answer_though_one_never_can(world: World) -> None:
    world.objects.fault = crash(Problem("unavailable", "no weights", "pull them"))
    world.faces.fault = busy()
    with pytest.raises(Problem) as refused:
        annotate(world, None, "objects", "faces")
    assert refused.value.code == "overloaded"


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (None, tuple(ANNOTATORS)),
        ("objects", ("objects",)),
        (" faces , objects,faces,", ("faces", "objects")),
        ("memes,embedding", ("memes", "embedding")),
    ],
)
def test_annotators_are_chosen_by_name(world: World, names: str | None, chosen: tuple[str, ...]) -> None:
    assert world.image.parse_annotators(names) == chosen


@pytest.mark.parametrize("names", ["", " ", ",", "scenes", "objects,smells", "Objects", "\0", "x" * 10_000])
def test_unknown_annotators_are_refused_with_the_known_ones(world: World, names: str) -> None:
    with pytest.raises(Problem) as refused:
        world.image.parse_annotators(names)
    assert refused.value.code == "bad_request"
    assert "objects" in refused.value.detail
    assert len(refused.value.detail) < 500
