"""The shipped manifest resolves, and a wrong one is refused with the path of the fault."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.models.manifest import SAFE_CONVERSIONS, ManifestError, load_manifest, shipped

TASKS = {"cross_modal_embedding", "object_detection", "face_detection", "video_action_recognition"}


@pytest.fixture(scope="module")
def rows() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(shipped().read_text())
    return loaded


def refused(tmp_path: Path, rows: dict[str, Any]) -> str:
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump(rows))
    with pytest.raises(ManifestError) as error:
        load_manifest(path)
    return str(error.value).replace(str(path), "FILE")


def test_every_shipped_profile_serves_the_four_tasks() -> None:
    manifest = load_manifest()
    assert set(manifest.profiles) == {"embedded", "light", "full"}
    for profile in manifest.profiles:
        served = manifest.profile(profile)
        assert set(served) >= TASKS
        assert all(model.task == task for task, model in served.items())


def test_what_no_small_model_can_know_has_a_title_and_a_remedy() -> None:
    tasks = load_manifest().tasks
    for task in ("disturbing_content", "captioning", "action_recognition", "meme_detection", "face_identity"):
        assert tasks[task].title
        assert tasks[task].remedy


def test_the_embedded_profile_needs_no_network() -> None:
    assert all(model.offline for model in load_manifest().profile("embedded").values())


def test_fetched_weights_come_over_https_and_torch_files_have_a_hash() -> None:
    for model in load_manifest().models.values():
        for file in model.files.values():
            assert file.url is None or file.url.startswith("https://")
            assert not file.name.endswith((".pt", ".pth", ".pyth")) or file.sha256 or model.convert in SAFE_CONVERSIONS


def test_labels_are_as_many_as_coco_has() -> None:
    for name in ("fastestdet", "yolox-s"):
        detector = load_manifest().models[name].detector
        assert detector is not None
        assert isinstance(detector.labels, list)
        assert len(set(detector.labels)) == 80


def test_a_model_is_keyed_by_name_and_revision() -> None:
    model = load_manifest().models["fastestdet"]
    assert model.key == "fastestdet@97df0a85"
    assert load_manifest().select(model.key) == load_manifest().select("fastestdet") == [model]


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ManifestError, match="no profile 'huge'; there are embedded, full, light"):
        load_manifest().profile("huge")


FAULTS: list[tuple[tuple[str, ...], Any, str]] = [
    (("models", "fastestdet", "colour"), "red", "FILE: models.fastestdet.colour: Extra inputs are not permitted"),
    (("models", "fastestdet", "detector", "colour"), "red", "models.fastestdet.detector.colour: Input should be 'rgb'"),
    (
        ("models", "fastestdet", "detector", "threshold"),
        7,
        "fastestdet.detector.threshold: Input should be less",
    ),
    (("models", "fastestdet", "files", "weights", "url"), "http://a.example/x", "models.fastestdet.files.weights.url:"),
    (("models", "fastestdet", "files", "weights", "sha256"), "abc", "models.fastestdet.files.weights.sha256:"),
    (("models", "fastestdet", "files", "weights", "package"), "a:b", "models.fastestdet.files.weights: give exactly"),
    (("models", "fastestdet", "detector"), None, "models.fastestdet: object_detection needs a detector"),
    (("models", "clip-embedded", "clip"), None, "models.clip-embedded: cross_modal_embedding needs a clip"),
    (("models", "clip-vit-b-32-openai", "convert"), None, "convert and converted files belong together"),
    (("models", "clip-vit-b-32-openai", "files", "checkpoint", "sha256"), None, "it needs a known sha256"),
    (("models", "slowfast-r50-8x8", "video"), None, "video_action_recognition needs a video section"),
    (("models", "slowfast-r50-8x8", "files", "weights"), None, "models.slowfast-r50-8x8.files.weights:"),
    (("models", "slowfast-r50-8x8", "video", "alpha"), 5, "frames 32 is no multiple of alpha 5"),
    (("models", "slowfast-r50-8x8", "video", "crop"), 257, "crop 257 is larger than short_side 256"),
    (("models", "slowfast-r50-8x8", "video", "window_s"), 0, "models.slowfast-r50-8x8.video.window_s:"),
    (("models", "slowfast-r50-8x8", "video", "frames"), 31.5, "models.slowfast-r50-8x8.video.frames:"),
    (("models", "slowfast-r50-8x8", "video", "labels"), {"file": "names"}, "video.labels.file: no file 'names'"),
    (("models", "slowfast-r50-8x8", "convert"), "open_clip", "slowfast-r50-8x8: files.checkpoint: a torch file"),
    (("profiles", "light", "object_detection"), "nope", "profiles.light.object_detection: no model 'nope'"),
    (("profiles", "light", "object_detection"), "mtcnn", "model 'mtcnn' is for face_detection"),
    (("tasks", "smells"), {"title": "Smells"}, "no profile serves smells, so each needs a remedy"),
]


@pytest.mark.parametrize(("place", "value", "message"), FAULTS, ids=[".".join(fault[0]) for fault in FAULTS])
def test_a_fault_is_named_with_its_path(
    tmp_path: Path, rows: dict[str, Any], place: tuple[str, ...], value: Any, message: str
) -> None:
    wrong = copy.deepcopy(rows)
    table = wrong
    for part in place[:-1]:
        table = table[part]
    table[place[-1]] = value
    assert message in refused(tmp_path, wrong)


PICTURES = {
    "on": "picture",
    "input": [224, 224],
    "colour": "rgb",
    "mean": [0, 0, 0],
    "std": [255, 255, 255],
    "layout": "nchw",
    "activation": "softmax",
    "labels": ["calm", "blood", "fight"],
    "positive": ["blood", "fight"],
    "threshold": 0.5,
}
VECTORS = {
    "on": "vector",
    "encoder": "clip-embedded@2",
    "activation": "sigmoid",
    "labels": ["disturbing"],
    "positive": ["disturbing"],
    "threshold": 0.5,
}


def with_classifier(rows: dict[str, Any], section: dict[str, Any] | None, file: str = "weights") -> dict[str, Any]:
    """The shipped table with a network of an operator's own, served by one profile."""
    model = {
        "task": "disturbing_content",
        "revision": "1",
        "licence": "none",
        "source": "here",
        "files": {file: {"url": "https://weights.example/head.onnx"}},
        "classifier": section,
    }
    models = {**rows["models"], "own": model}
    profiles = {**rows["profiles"], "light": {**rows["profiles"]["light"], "disturbing_content": "own"}}
    return {**rows, "models": models, "profiles": profiles}


@pytest.mark.parametrize("section", [PICTURES, VECTORS], ids=["picture", "vector"])
def test_an_operator_adds_a_classifier_by_a_row(tmp_path: Path, rows: dict[str, Any], section: dict[str, Any]) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump(with_classifier(rows, section)))
    classifier = load_manifest(path).profile("light")["disturbing_content"].classifier
    assert classifier is not None
    assert classifier.model_dump(exclude_none=True, mode="json") == section


def test_the_key_on_needs_no_quotation_marks(tmp_path: Path, rows: dict[str, Any]) -> None:
    text = yaml.safe_dump(with_classifier(rows, PICTURES))
    assert "'on':" in text
    path = tmp_path / "models.yaml"
    path.write_text(text.replace("'on':", "on:"))
    classifier = load_manifest(path).models["own"].classifier
    assert classifier is not None
    assert classifier.on == "picture"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (None, "disturbing_content needs a classifier section"),
        ({**PICTURES, "input": None, "std": None}, "a classifier on a picture needs input, std"),
        ({**PICTURES, "encoder": "clip-embedded@2"}, "a classifier on a picture has no encoder"),
        ({**PICTURES, "positive": ["gore"]}, "positive: no label gore"),
        ({**PICTURES, "positive": []}, "models.own.classifier.positive:"),
        ({**VECTORS, "encoder": None}, "a classifier on a vector needs encoder"),
        ({**VECTORS, "layout": "nhwc"}, "a classifier on a vector has no layout"),
        ({**VECTORS, "encoder": "clip-embedded@9"}, "classifier.encoder: no encoder 'clip-embedded@9'; there are clip"),
        ({**VECTORS, "encoder": "fastestdet@97df0a85"}, "no encoder 'fastestdet@97df0a85'"),
        ({**VECTORS, "encoder": "clip-embedded"}, "models.own.classifier.encoder:"),
    ],
)
def test_a_classifier_that_is_not_whole_is_refused(
    tmp_path: Path, rows: dict[str, Any], section: dict[str, Any] | None, message: str
) -> None:
    assert message in refused(tmp_path, with_classifier(rows, section))


def test_a_classifier_is_read_from_its_weights(tmp_path: Path, rows: dict[str, Any]) -> None:
    assert "disturbing_content needs a file weights" in refused(tmp_path, with_classifier(rows, PICTURES, "head"))


def test_a_row_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("models: {}\nprofiles: {}\ntasks: {}\nmodels: {}\n")
    with pytest.raises(ManifestError, match="'models' stands twice"):
        load_manifest(path)


@pytest.mark.parametrize("text", ["", "[]", "models: [", "models: 3"])
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(text)
    with pytest.raises(ManifestError, match=r"models\.yaml"):
        load_manifest(path)
