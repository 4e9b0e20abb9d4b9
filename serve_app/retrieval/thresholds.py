"""Least similarities under which a result is dropped, by the kinds of the query and of the result.

Cosine similarities of another model lie elsewhere, so every revision has figures of its own: those of
``configs/thresholds.yaml``, over them those that ``mediaverse evaluate retrieval --calibrate`` wrote to
``<home>/thresholds.json``. Where a revision has none for a pair, ``auto`` drops nothing.
"""

from __future__ import annotations

import importlib.resources
import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from serve_app.errors import Problem
from serve_app.models.manifest import ManifestError, UniqueKeys

Thresholds = Mapping[tuple[str, str], float]
"""(modality of the query, modality of the result) -> least cosine similarity."""
FILE = "thresholds.json"
KINDS = ("text", "image", "video", "shape3d")


def shipped() -> Path:
    """The table that ships with the application."""
    return Path(str(importlib.resources.files("configs") / "thresholds.yaml"))


def load_thresholds(home: Path | None = None) -> dict[str, Thresholds]:
    """Revision key -> its thresholds; what was calibrated in ``home`` goes before what ships, pair by pair.

    Raises ValueError naming the file and the place where one of them cannot be read or is no such table.
    """
    tables = _shipped(shipped())
    for revision, own in (_calibrated(home / FILE) if home else {}).items():
        tables[revision] = {**tables.get(revision, {}), **own}
    return tables


def for_revision(revision: str, home: Path | None = None) -> Thresholds:
    """The thresholds of the model with that key; none where nothing is known of it."""
    return load_thresholds(home).get(revision, {})


def save_thresholds(home: Path, found: Mapping[str, Thresholds]) -> Path:
    """Write what was calibrated over what ``home`` has of the same pairs, as a whole or not at all."""
    path = home / FILE
    tables = _calibrated(path)
    for revision, own in found.items():
        tables[revision] = {**tables.get(revision, {}), **own}
    shown = {
        revision: {"-".join(pair): least for pair, least in sorted(own.items())} for revision, own in tables.items()
    }
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=home, prefix=f".{FILE}-", delete=False, encoding="utf-8") as part:
        part.write(json.dumps(shown, indent=2, sort_keys=True) + "\n")
        part.flush()
        os.fsync(part.fileno())
    Path(part.name).replace(path)
    return path


def resolve(
    min_score: float | Literal["auto"] | None, query: str, result: str, table: Thresholds
) -> float | None:  # fmt: skip
    """The least score to keep, or None where nothing is dropped.

    ``min_score`` is a number, which holds for every pair, "auto" for the figure of ``table``, or None for no threshold.
    Raises ``bad_request`` for anything else.
    """
    if min_score is None:
        return None
    if min_score == "auto":
        return table.get((query, result))
    if isinstance(min_score, bool) or not isinstance(min_score, int | float) or not math.isfinite(min_score):
        raise Problem("bad_request", f'min_score is a number or "auto", not {min_score!r}')
    return float(min_score)


def _shipped(path: Path) -> dict[str, Thresholds]:
    try:
        return _tables(yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys), path)  # noqa: S506  (a SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ManifestError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None


def _calibrated(path: Path) -> dict[str, Thresholds]:
    try:
        return _tables(json.loads(path.read_text(encoding="utf-8")), path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: {error}; mend it, or remove it and calibrate again") from None


def _tables(table: Any, path: Path) -> dict[str, Thresholds]:
    if not isinstance(table, dict):
        raise ValueError(f"{path}: no table of revisions")
    return {str(revision): _pairs(own, f"{path}: {revision}") for revision, own in table.items()}


def _pairs(own: Any, where: str) -> Thresholds:
    if not isinstance(own, dict):
        raise ValueError(f"{where}: no table of pairs")
    pairs: dict[tuple[str, str], float] = {}
    for name, least in own.items():
        query, _, result = str(name).partition("-")
        if query not in KINDS or result not in KINDS:
            raise ValueError(f"{where}: {name!r} is no pair such as text-image")
        if isinstance(least, bool) or not isinstance(least, int | float) or not -1 <= least <= 1:
            raise ValueError(f"{where}: {name}: {least!r} is no cosine similarity")
        pairs[query, result] = float(least)
    return pairs
