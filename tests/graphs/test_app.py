"""What ``serve run`` builds from the shipped file."""

from __future__ import annotations

import importlib
import inspect
import typing
from pathlib import Path

import yaml

from serve_app.config import AppArgs, ServeConfig

SHIPPED = Path(__file__).resolve().parents[2] / "serve_config.yaml"


def test_the_builder_takes_exactly_the_arguments_that_are_checked() -> None:
    application = ServeConfig.model_validate(yaml.safe_load(SHIPPED.read_text())).applications[0]
    module, _, name = application.import_path.partition(":")
    builder = getattr(importlib.import_module(module), name)
    # Serve looks at the annotation itself: a string there would make it pass a plain dict on, unchecked.
    assert list(inspect.signature(builder).parameters) == ["args"]
    assert inspect.signature(builder).parameters["args"].annotation is AppArgs
    assert typing.get_type_hints(builder)["args"] is AppArgs
