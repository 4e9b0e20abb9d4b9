"""Heads of whole pictures as deployments, without a cluster: words that a fake encoder reads, and networks."""

from __future__ import annotations

import asyncio
import io
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own use of pydantic
    from ray.exceptions import RayTaskError

    import deployments.replica
    from deployments.concern_detector import ConcernDetector
    from deployments.replica import ModelRecipe
    from deployments.still_actions import StillActions

from serve_app.annotation.labels import Label
from serve_app.errors import Problem
from serve_app.models.manifest import load_manifest, shipped

Make = Callable[..., Any]
WORDS = {
    "encoder": "clip-embedded@2", "labels": ["swimming", "reading"], "templates": ["{}", "someone {}"],
    "temperature": 0.1, "threshold": 0.1, "top": 2,
}  # fmt: skip
CONCERN = {**WORDS, "labels": ["gore", "meadow"], "positive": ["gore"]}
NETWORK = {
    "on": "picture", "input": [8, 8], "colour": "rgb", "mean": [0, 0, 0], "std": [255, 255, 255], "layout": "nchw",
    "activation": "none", "labels": {"file": "labels"}, "threshold": 0.3, "top": 2,
}  # fmt: skip
AXES = {word: np.eye(4, dtype=np.float32)[i] for i, word in enumerate(("swimming", "reading", "gore", "meadow"))}


class Remote:
    """What a method of a handle looks like."""

    def __init__(self, method: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        self.remote = method


class Encoder:
    """Puts each sentence on the axis of the word in it."""

    def __init__(self, key: str = "clip-embedded@2", state: str = "ready") -> None:
        self.key, self.state = key, state
        self.read: list[str] = []
        self.fault: Exception | None = None
        self.encode_text, self.status = Remote(self._encode), Remote(self._status)

    async def _encode(self, text: str) -> dict[str, Any]:
        self.read.append(text)
        await asyncio.sleep(0)
        if self.fault:
            raise self.fault
        return {"vector": next(axis for word, axis in AXES.items() if word in text), "truncated": False}

    async def _status(self) -> dict[str, str | None]:
        model, _, revision = self.key.partition("@")
        return {"model": model, "revision": revision, "state": self.state, "remedy": "pull it"}


def network() -> bytes:
    """The mean of each channel, [N, 3]."""
    node = helper.make_node("ReduceMean", ["in"], ["out"], axes=[2, 3], keepdims=0)
    taken = helper.make_tensor_value_info("in", TensorProto.FLOAT, ["N", 3, 8, 8])
    given = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 3])
    unused = numpy_helper.from_array(np.zeros(1, np.float32), "unused")
    graph = helper.make_graph([node], "means", [taken], [given], [unused])
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )


def picture(*colour: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A replica of a row that an operator added to the shipped manifest."""
    files: dict[str, dict[str, Any]] = {"labels": {"url": "https://example.org/labels.txt"}}
    weights = {**files, "weights": {"url": "https://example.org/net.onnx"}}
    rows = {
        "words": {"task": "action_recognition", "files": files, "prompts": WORDS},
        "gore": {"task": "disturbing_content", "files": files, "prompts": CONCERN},
        "stills": {"task": "action_recognition", "files": weights, "classifier": NETWORK},
    }
    manifest = yaml.safe_load(shipped().read_text(encoding="utf-8"))
    for name, row in rows.items():
        manifest["models"][name] = {"revision": "1", "licence": "none", "source": "made here", **row}
        folder = tmp_path / "models" / f"{name}@1"
        folder.mkdir(parents=True)
        (folder / "labels.txt").write_text("red things\ngreen things\nblue things\n")
        (folder / "net.onnx").write_bytes(network())
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
    monkeypatch.setattr(deployments.replica, "load_manifest", lambda: load_manifest(tmp_path / "models.yaml"))

    def build(name: str, encoder: Any = None) -> Any:
        deployment = ConcernDetector if name == "gore" else StillActions
        return deployment.func_or_class(ModelRecipe(name, str(tmp_path), threads=1), encoder)

    return build


async def settled(replica: Any) -> dict[str, Any]:
    """How the replica stands once it is no longer starting."""
    for _ in range(100):
        status: dict[str, Any] = await replica.status()
        if status["state"] != "starting":
            return status
        await asyncio.sleep(0.01)
    return status


def test_words_are_read_once_however_many_ask(make: Make) -> None:
    encoder = Encoder()

    async def scenario() -> list[list[Label]]:
        replica = make("words", encoder)
        vectors = [AXES["swimming"], AXES["reading"], AXES["swimming"]]
        return await asyncio.gather(*map(replica.recognize_vector, vectors))

    answers = asyncio.run(scenario())
    assert [answer[0].label for answer in answers] == ["swimming", "reading", "swimming"]
    assert sorted(encoder.read) == ["reading", "someone reading", "someone swimming", "swimming"]


def test_words_are_not_read_again_after_a_restart(make: Make, tmp_path: Path) -> None:
    encoders = [Encoder(), Encoder(), Encoder(), Encoder("clip-vit-b-32-openai@1")]

    def answer(encoder: Encoder) -> Label:
        labels: list[Label] = asyncio.run(make("words", encoder).recognize_vector(AXES["reading"]))
        return labels[0]

    first = answer(encoders[0])
    assert (answer(encoders[1]), encoders[1].read) == (first, [])
    (kept,) = (tmp_path / "models" / "words@1").glob("prompts-*.npy")
    kept.write_bytes(kept.read_bytes()[:-3])
    assert answer(encoders[2]) == first
    assert len(encoders[2].read) == 4
    with pytest.raises(Problem, match="are for clip-embedded@2"):
        answer(encoders[3])


def test_it_is_ready_once_the_words_are_read(make: Make) -> None:
    async def scenario() -> tuple[Any, Any]:
        replica = make("words", Encoder())
        return await replica.status(), await settled(replica)

    first, last = asyncio.run(scenario())
    assert (first["state"], first["model"]) == ("starting", "words")
    assert (last["state"], last["remedy"]) == ("ready", None)


def test_a_wrong_encoder_shows_in_how_it_stands_until_it_is_mended(make: Make) -> None:
    encoder = Encoder("clip-vit-b-32-openai@1")

    async def scenario() -> tuple[Any, Any]:
        replica = make("words", encoder)
        wrong = await settled(replica)
        encoder.key = "clip-embedded@2"
        await replica.recognize_vector(AXES["reading"])
        return wrong, await replica.status()

    wrong, mended = asyncio.run(scenario())
    assert (wrong["state"], wrong["remedy"]) == (
        "unavailable",
        "serve clip-embedded@2, or prompts of the served encoder",
    )
    assert mended["state"] == "ready"


def test_a_concern_is_scored_by_words(make: Make) -> None:
    async def scenario() -> list[float]:
        replica = make("gore", Encoder())
        return [await replica.score_vector(AXES[word]) for word in ("gore", "meadow")]

    gore, meadow = asyncio.run(scenario())
    assert gore == pytest.approx(1 / (1 + np.exp(-10)), abs=1e-5)
    assert meadow == pytest.approx(1 / (1 + np.exp(10)), abs=1e-5)


@pytest.mark.parametrize(
    ("encoder", "detail"),
    [
        (None, "need the encoder clip-embedded@2, and none was given"),
        (Encoder("clip-vit-b-32-openai@1"), "are for clip-embedded@2, and clip-vit-b-32-openai@1 is served"),
        (Encoder(state="unavailable"), "the encoder clip-embedded@2 is unavailable"),
    ],
)
def test_without_its_encoder_it_says_what_is_missing(make: Make, encoder: Any, detail: str) -> None:
    with pytest.raises(Problem) as refused:
        asyncio.run(make("words", encoder).recognize_vector(AXES["swimming"]))
    assert refused.value.code == "unavailable"
    assert detail in refused.value.detail


@pytest.mark.parametrize(
    ("fault", "code", "detail"),
    [
        (RuntimeError("/secret/path"), "unavailable", "did not read the prompts"),
        (
            RayTaskError("encode_text", "tb", Problem("overloaded", "queue")).as_instanceof_cause(),
            "overloaded",
            "queue",
        ),
    ],
    ids=["bug", "overloaded"],
)
def test_a_fault_of_the_encoder_passes(make: Make, fault: Exception, code: str, detail: str) -> None:
    encoder = Encoder()

    async def scenario() -> list[Label]:
        replica = make("words", encoder)
        encoder.fault = fault
        with pytest.raises(Problem) as refused:
            await replica.recognize_vector(AXES["swimming"])
        assert refused.value.code == code
        assert detail in refused.value.detail
        assert "secret" not in str(refused.value)
        encoder.fault = None
        labels: list[Label] = await replica.recognize_vector(AXES["swimming"])
        return labels

    assert asyncio.run(scenario())[0].label == "swimming"


def test_who_stops_waiting_stops_nobody_else(make: Make) -> None:
    async def scenario() -> list[Label]:
        replica = make("words", Encoder())
        impatient = asyncio.create_task(replica.recognize_vector(AXES["reading"]))
        patient = asyncio.create_task(replica.recognize_vector(AXES["swimming"]))
        await asyncio.sleep(0)
        impatient.cancel()
        labels: list[Label] = await patient
        return labels

    assert asyncio.run(scenario())[0].label == "swimming"


def test_words_do_not_read_pictures_nor_vectors_of_another_length(make: Make) -> None:
    replica = make("words", Encoder())
    for call in (lambda: replica.recognize(picture(0, 0, 0)), lambda: replica.recognize_vector(np.zeros(9))):
        with pytest.raises(Problem) as refused:
            asyncio.run(call())
        assert refused.value.code == "unavailable"
        assert "reads vectors of clip-embedded@2" in refused.value.detail


def test_a_network_with_labels_in_a_file_names_what_it_sees(make: Make) -> None:
    replica = make("stills")

    async def scenario() -> list[Any]:
        calls = [
            replica.recognize(picture(255, 51, 102)),
            replica.recognize(b"words"),
            replica.recognize(picture(0, 0, 0)),
        ]
        return await asyncio.gather(*calls, replica.status(), return_exceptions=True)

    seen, broken, dark, status = asyncio.run(scenario())
    assert [(label.label, label.confidence) for label in seen] == [
        ("red things", pytest.approx(1)), ("blue things", pytest.approx(0.4)),
    ]  # fmt: skip
    assert broken.code == "unsupported_media"
    assert dark == []
    assert status["state"] == "ready"


def test_a_network_of_other_labels_than_its_file_is_unavailable(make: Make, tmp_path: Path) -> None:
    (tmp_path / "models" / "stills@1" / "labels.txt").write_text("red\ngreen\n")
    with pytest.raises(Problem, match="3 columns, the manifest names 2 labels") as refused:
        asyncio.run(make("stills").recognize(picture(1, 2, 3)))
    assert refused.value.code == "unavailable"
