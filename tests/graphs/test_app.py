"""What ``serve run`` builds from the shipped file."""

from __future__ import annotations

import importlib
import inspect
import typing
from pathlib import Path

import pytest
import yaml

from graphs.app import _drawing, build_app
from graphs.shape3d import Drawing
from serve_app.config import AppArgs, ServeConfig, Shape3dArgs
from serve_app.media.enclosure import Rings
from serve_app.media.mesh_process import MeshLimits

SHIPPED = Path(__file__).resolve().parents[2] / "serve_config.yaml"


def test_the_builder_takes_exactly_the_arguments_that_are_checked() -> None:
    application = ServeConfig.model_validate(yaml.safe_load(SHIPPED.read_text())).applications[0]
    module, _, name = application.import_path.partition(":")
    builder = getattr(importlib.import_module(module), name)
    # Serve looks at the annotation itself: a string there would make it pass a plain dict on, unchecked.
    assert list(inspect.signature(builder).parameters) == ["args"]
    assert inspect.signature(builder).parameters["args"].annotation is AppArgs
    assert typing.get_type_hints(builder)["args"] is AppArgs


def test_broken_thresholds_stop_the_start_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "thresholds.json").write_text('{"a@1": {"text-image": 3}}')
    with pytest.raises(ValueError, match=f"{tmp_path}/thresholds.json: a@1: text-image: 3 is no cosine similarity"):
        build_app(AppArgs(home=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["thresholds.json"]


def test_every_setting_of_3d_models_reaches_the_renderer_and_the_defaults_agree() -> None:
    assert _drawing(Shape3dArgs()) == Drawing(MeshLimits(), Rings())
    changed = {
        "distance": 3.0, "elevation_deg": 10.0, "azimuths_deg": (0.0, 90.0), "field_deg": 45.0,
        "inside_field_deg": 80.0, "size": 256, "thumbnail_size": 128, "turntable_size": 160, "turntable_frames": 8,
        "max_triangles": 5000, "max_points": 6000, "max_bodies": 70, "max_archive_mb": 8, "max_load_s": 9.0,
        "max_memory_mb": 2048,
    }  # fmt: skip
    assert set(changed) == set(Shape3dArgs.model_fields)
    drawing = _drawing(Shape3dArgs(**changed))
    given = vars(drawing) | vars(drawing.rings) | vars(drawing.limits)
    assert {name: given[name] for name in changed} == changed
