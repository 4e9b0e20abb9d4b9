"""Rows that read labels or sentences off whole pictures: what makes one whole, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from serve_app.models.manifest import ManifestError, Model, load_manifest, shipped
from serve_app.models.sections import Prompts

WORDS = "kinetics-prompts"
CONCERN = "nsfw-prompts"
NETWORK = "nsfwjs-mobilenet-v2"
STILLS = "resnet152-kinetics400"
CAPTIONS = "coca-vit-b-32-mscoco"
REMOVED = object()


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(shipped().read_text(encoding="utf-8"))
    return loaded


def changed(table: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy of one row with one thing else, or without it."""
    name, *inside, last = place
    row: dict[str, Any] = copy.deepcopy(table["models"][name])
    part = row
    for key in inside:
        part = part[key]
    if value is REMOVED:
        del part[last]
    else:
        part[last] = value
    return {**row, "name": name}


def test_the_shipped_heads_say_what_they_read() -> None:
    models = load_manifest().models
    assert {name: models[name].reads_vectors for name in (WORDS, CONCERN, NETWORK, STILLS)} == {
        WORDS: True, CONCERN: True, NETWORK: False, STILLS: False,
    }  # fmt: skip
    assert models[WORDS].head is models[WORDS].prompts
    assert models[NETWORK].head is models[NETWORK].classifier
    assert models[CAPTIONS].head is None


def test_words_need_nothing_to_be_pulled() -> None:
    assert all(model.embedded for model in load_manifest().models.values() if model.prompts)


def test_prompts_of_full_are_for_its_encoder() -> None:
    profile = load_manifest().profile("full")
    for model in profile.values():
        if model.prompts:
            assert model.prompts.encoder == profile["cross_modal_embedding"].key


def test_what_is_of_concern_is_among_the_labels_of_its_file() -> None:
    for name in (CONCERN, "disturbing-prompts"):
        spec = load_manifest().models[name].prompts
        assert isinstance(spec, Prompts)
        task = "nsfw" if name == CONCERN else "disturbing"
        lines = (shipped().parent / "labels" / f"{task}.txt").read_text(encoding="utf-8").splitlines()
        assert set(spec.positive or []) < set(lines)


FAULTS: list[tuple[tuple[str, ...], Any, str]] = [
    ((WORDS, "prompts"), REMOVED, "action_recognition needs a classifier section or prompts"),
    ((WORDS, "prompts", "encoder"), "clip-embedded", "prompts.encoder:"),
    ((WORDS, "prompts", "templates"), ["a photo"], "prompts.templates.0:"),
    ((WORDS, "prompts", "templates"), [], "prompts.templates:"),
    ((WORDS, "prompts", "temperature"), 0, "prompts.temperature:"),
    ((WORDS, "prompts", "top"), 0, "prompts.top:"),
    ((WORDS, "prompts", "positive"), ["yoga"], "no other task has them"),
    ((WORDS, "prompts", "labels"), {"file": "names"}, "prompts.labels.file: no file 'names' in files"),
    ((CONCERN, "prompts", "positive"), REMOVED, "positive: disturbing_content, nsfw need such labels"),
    ((CONCERN, "prompts", "labels"), ["a dog"], "positive: no label people having sex"),
    ((NETWORK, "files", "topology"), REMOVED, "convert tfjs needs a file topology"),
    ((NETWORK, "files", "weights"), REMOVED, "nsfw needs a file weights"),
    ((NETWORK, "classifier", "positive"), ["Neutral!"], "positive: no label Neutral!"),
    ((STILLS, "classifier", "labels"), {"file": "names"}, "classifier.labels.file: no file 'names' in files"),
    ((STILLS, "classifier", "layout"), REMOVED, "a classifier on a picture needs layout"),
    ((CAPTIONS, "caption"), REMOVED, "captioning needs a caption section"),
    ((CAPTIONS, "files", "text"), REMOVED, "captioning needs a caption section and files"),
    ((CAPTIONS, "files", "checkpoint"), REMOVED, "convert coca needs caption.architecture and a file checkpoint"),
    ((CAPTIONS, "caption", "architecture"), REMOVED, "convert coca needs caption.architecture and a file checkpoint"),
    ((CAPTIONS, "caption", "max_tokens"), 77, "min_tokens < max_tokens <= context_length does not hold"),
    ((CAPTIONS, "caption", "min_tokens"), 30, "min_tokens < max_tokens <= context_length does not hold"),
]


@pytest.mark.parametrize(("place", "value", "message"), FAULTS)
def test_a_row_that_is_not_whole_is_refused(
    table: dict[str, Any], place: tuple[str, ...], value: Any, message: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        Model.model_validate(changed(table, place, value))
    faults = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in refused.value.errors()]
    assert any(message in f"{where}: {what}" for where, what in faults), faults


def test_prompts_are_for_an_encoder_of_the_table(tmp_path: Path, table: dict[str, Any]) -> None:
    row = changed(table, (WORDS, "prompts", "encoder"), "mtcnn@2")
    path = tmp_path / "models.yaml"
    del row["name"]
    path.write_text(yaml.safe_dump({**table, "models": {**table["models"], WORDS: row}}))
    with pytest.raises(ManifestError, match=r"models\.kinetics-prompts\.prompts\.encoder: no encoder 'mtcnn@2'"):
        load_manifest(path)


def test_a_row_has_a_classifier_or_prompts(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="give either a classifier or prompts"):
        Model.model_validate(changed(table, (STILLS, "prompts"), table["models"][WORDS]["prompts"]))
