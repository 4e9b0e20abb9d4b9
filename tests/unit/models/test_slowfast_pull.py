"""The public checkpoint becomes what is served: pulled, converted once, and refused where it is another file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slowfast_golden as golden
import torch
from slowfast_golden import CASES, TINY

from serve_app.models.convert import SLOWFAST, SLOWFAST_HALF, SLOWFAST_LABELS, class_names
from serve_app.models.manifest import Model, load_manifest
from serve_app.models.pull import PullError, pull
from serve_app.models.sessions import open_session
from serve_app.models.slowfast import SlowFast
from serve_app.models.store import Store

NAMES = {'"riding a bike"': 3, "zumba": 6, '"massaging person\'s head"': 2, "abseiling": 0, '"air drumming"': 1,
         '"shooting goal (soccer)"': 4, "yoga": 5}  # fmt: skip
LABELS = ["abseiling", "air drumming", "massaging person's head", "riding a bike", "shooting goal (soccer)", "yoga",
          "zumba"]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine take longer than one alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small checkpoint and its names, under the names of the public files and in their format."""
    folder = tmp_path_factory.mktemp("published")
    shapes = {key: tuple(value.shape) for key, value in SlowFast(TINY).state_dict().items()}
    state = {"model_state": golden.weights(shapes), "epoch": 195, "cfg": "text"}
    torch.save(state, folder / "SLOWFAST_8x8_R50.pyth")
    (folder / "kinetics_classnames.json").write_text(json.dumps(NAMES))
    return folder


@pytest.fixture(scope="module")
def model() -> Model:
    """The shipped row, made for clips as small as the small network wants."""
    row = load_manifest().models["slowfast-r50-8x8"].model_dump()
    size = {"frames": TINY.frames, "alpha": TINY.alpha, "short_side": TINY.crop, "crop": TINY.crop}
    return Model.model_validate({**row, "video": {**row["video"], **size}})


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    """A copy of ``published`` that a test may spoil."""
    copy = tmp_path / "published"
    copy.mkdir()
    for file in published.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def test_a_pulled_checkpoint_becomes_two_networks_and_labels_once(
    published: Path, model: Model, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    pulled = {one.file: one for one in pull(store, [model], from_dir=published)}
    assert {one.file: (one.origin, one.recorded) for one in pulled.values()} == {
        "checkpoint": ("copied", True),
        "classnames": ("copied", True),
        "weights": ("converted", False),
        "half": ("converted", False),
        "labels": ("converted", False),
    }
    files = store.locate(model)
    assert {files[name].name for name in ("weights", "half", "labels")} == {SLOWFAST, SLOWFAST_HALF, SLOWFAST_LABELS}
    assert files["labels"].read_text(encoding="utf-8").splitlines() == LABELS
    (case,) = (case for case in CASES if case.config is TINY)
    expected = np.exp(golden.logits(case)) / np.exp(golden.logits(case)).sum(1, keepdims=True)
    for name, tolerance in (("weights", 1e-5), ("half", 1e-3)):
        (found,) = open_session(files[name], 1).run(None, {"clip": golden.clip(case).numpy()})
        np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)
    assert files["half"].stat().st_size < 0.6 * files["weights"].stat().st_size
    assert {one.origin for one in pull(store, [model])} == {"present"}


class Bad:
    """What a hostile file would hold: unpickled, it creates ``made``."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.made),)


def spoil(folder: Path, how: str) -> None:
    checkpoint = folder / "SLOWFAST_8x8_R50.pyth"
    state = torch.load(checkpoint, weights_only=True)["model_state"]
    if how == "code":
        torch.save({"model_state": {"weight": Bad(folder / "made")}}, checkpoint)
    elif how == "not torch":
        checkpoint.write_bytes(b"<html>not found</html>")
    elif how == "empty":
        checkpoint.write_bytes(b"")
    elif how == "no state":
        torch.save(state, checkpoint)
    elif how == "a key less":
        torch.save({"model_state": {key: value for key, value in state.items() if "conv_fast" not in key}}, checkpoint)
    elif how == "a norm less":
        torch.save({"model_state": {key: value for key, value in state.items() if "norm_b" not in key}}, checkpoint)
    elif how == "a class less":
        (folder / "kinetics_classnames.json").write_text(json.dumps({"abseiling": 0}))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("code", r"slowfast-r50-8x8@1: SLOWFAST_8x8_R50\.pyth cannot be read as tensors: Weights only load failed"),
        ("not torch", r"SLOWFAST_8x8_R50\.pyth cannot be read as tensors"),
        ("empty", r"SLOWFAST_8x8_R50\.pyth cannot be read as tensors"),
        ("no state", r"SLOWFAST_8x8_R50\.pyth has no model_state"),
        ("a key less", r"SLOWFAST_8x8_R50\.pyth is no SlowFast: .*conv_fast_to_slow"),
        ("a norm less", r"SLOWFAST_8x8_R50\.pyth is no SlowFast: .*Missing key.*norm_b"),
        ("a class less", r"it has 7 classes, there are 1 labels"),
    ],
)
def test_another_file_is_refused_and_not_kept(
    folder: Path, published: Path, model: Model, tmp_path: Path, how: str, message: str
) -> None:
    spoil(folder, how)
    store = Store(tmp_path / "home")
    with pytest.raises(PullError, match=message):
        pull(store, [model], from_dir=folder)
    assert not (folder / "made").exists(), "code of the file was run"
    assert store.state(model) == "missing"
    left = {path.name for path in store.folder(model).iterdir()}
    assert left == {"kinetics_classnames.json", "record.json"}
    assert set(store.record(model)) == {"kinetics_classnames.json"}


def test_an_operators_hash_is_checked_before_the_file_is_opened(published: Path, model: Model, tmp_path: Path) -> None:
    row = model.model_dump()
    row["files"]["checkpoint"]["sha256"] = "0" * 64
    with pytest.raises(PullError, match=r"SLOWFAST_8x8_R50\.pyth with sha256 0{64} \(.*has another hash\)"):
        pull(Store(tmp_path), [Model.model_validate(row)], from_dir=published)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '["yoga"]', '{"yoga": 1}', '{"yoga": 0, "zumba": 0}', '{"yoga": "0"}', '{"\\"": 0}']
)
def test_names_without_their_numbers_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "names.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"names\.json"):
        class_names(path)
