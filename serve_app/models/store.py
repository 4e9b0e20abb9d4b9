"""Where weights are on this machine: ``<home>/models/<name>@<revision>/<file>``, or inside a Python package."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serve_app.errors import Problem
from serve_app.models.manifest import File, Model

State = Literal["present", "ok", "missing", "corrupt"]
RECORD = "record.json"
EMBEDDED = "serve_app.models.embedded:"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Report:
    """One file of a model as found on disk. ``present`` means not hashed; ``ok`` means hashed and right."""

    model: str
    file: str
    path: Path
    state: State
    sha256: str | None = None


def default_home() -> Path:
    """``~/.mediaverse``, or the folder that the environment variable MEDIAVERSE_HOME names."""
    return Path(os.environ.get("MEDIAVERSE_HOME") or Path.home() / ".mediaverse")


def digest(path: Path, on_bytes: Callable[[int], None] = lambda done: None) -> str:
    """The sha256 of a file in hex; ``on_bytes`` hears how many bytes are done."""
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        done = 0
        while chunk := stream.read(CHUNK):
            sha.update(chunk)
            done += len(chunk)
            on_bytes(done)
    return sha.hexdigest()


class Store:
    """The weights of one machine. Reading needs no lock; :mod:`serve_app.models.pull` is the only writer."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def folder(self, model: Model) -> Path:
        return self.home / "models" / model.key

    def path(self, model: Model, logical: str) -> Path:
        """Where a file of a model belongs, whether it is there or not."""
        file = model.files[logical]
        return _in_package(file.package) if file.package else self.folder(model) / file.name

    def locate(self, model: Model) -> dict[str, Path]:
        """Logical name -> existing file, hashed: nothing is opened that is not what the manifest says.

        Raises :class:`Problem` ``unavailable`` with the command that mends it when something is missing or corrupt.
        """
        for reports in (self.states, self.verify):  # the glance first: it costs nothing
            for report in reports(model):
                if report.state not in ("present", "ok"):
                    detail = f"{model.key}: {report.path.name} is {report.state}"
                    raise Problem("unavailable", detail, self.remedy(model))
        return {logical: self.path(model, logical) for logical in model.files}

    def remedy(self, model: Model) -> str:
        """The command that brings the weights of ``model`` to this machine."""
        if model.embedded:
            return self.reinstall(model)
        source = " --from DIR" if any(file.local for file in model.files.values()) else ""
        return f"mediaverse models pull {model.name}{source}"

    def reinstall(self, model: Model) -> str:
        """What brings back the files of ``model`` that ship with a Python package."""
        packages = sorted({file.package for file in model.files.values() if file.package})
        if all(package.startswith(EMBEDDED) for package in packages):
            return f"mediaverse models train-embedded {model.name}"
        return f"install the Python package {packages[0].partition(':')[0].partition('.')[0]} again"

    def states(self, model: Model) -> list[Report]:
        """Every file of a model as present, missing or (by its size) corrupt, without reading it."""
        known = self.known(model)
        return [
            Report(model.key, logical, path, _glance(path, known[logical][1]))
            for logical in model.files
            for path in [self.path(model, logical)]
        ]

    def state(self, model: Model) -> State:
        """``present``, or the first thing that is wrong."""
        return next((report.state for report in self.states(model) if report.state != "present"), "present")

    def verify(self, model: Model, on_bytes: Callable[[str, int], None] = lambda file, done: None) -> list[Report]:
        """Hash every file again: ok, missing or corrupt. A file whose hash is nowhere known counts as ok."""
        known = self.known(model)
        return [self._verify(model, logical, known[logical][0], on_bytes) for logical in model.files]

    def _verify(self, model: Model, logical: str, expected: str | None, on_bytes: Callable[[str, int], None]) -> Report:
        path = self.path(model, logical)
        if not path.is_file():
            return Report(model.key, logical, path, "missing")
        found = digest(path, lambda done: on_bytes(logical, done))
        return Report(model.key, logical, path, "ok" if expected in (None, found) else "corrupt", found)

    def known(self, model: Model) -> dict[str, tuple[str | None, int | None]]:
        """Logical name -> (sha256, bytes) as the manifest says, else as the pull recorded them."""
        record = self.record(model)
        return {logical: _known(file, record.get(file.name, {})) for logical, file in model.files.items()}

    def record(self, model: Model) -> dict[str, dict[str, str | int]]:
        """What earlier pulls recorded: file name -> ``{"sha256", "bytes"}``."""
        try:
            record = json.loads((self.folder(model) / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}


def _known(file: File, recorded: dict[str, str | int]) -> tuple[str | None, int | None]:
    sha256, size = recorded.get("sha256"), recorded.get("bytes")
    return (
        file.sha256 or (str(sha256) if sha256 else None),
        file.bytes or (int(size) if size else None),
    )


def _glance(path: Path, size: int | None) -> State:
    try:
        found = path.stat().st_size
    except OSError:
        return "missing"
    return "corrupt" if found != (size or found) else "present"


def _in_package(place: str) -> Path:
    """The path of ``package:file``, found without running the package (some import torch)."""
    package, _, inside = place.partition(":")
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        spec = None
    folders = list(spec.submodule_search_locations or []) if spec else []
    # A package that is not installed has no place; the answer then names what is missing and does not exist.
    return Path(folders[0], inside) if folders else Path(package.replace(".", "/"), inside)
