"""Users whose interests are known: generated on the sphere, or made of captioned photographs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.errors import Problem
from serve_app.evaluation.recommendation import Bench, Floats, Reader

DIM = 128
INTERESTS = 60
OF_EACH = 40
"""Contents of the catalog for each of its interests."""
NOISE = 600
"""Contents of the catalog that are of none."""
HELD_OUT = 0.2
MOST_BYTES = 1 << 24
"""Bytes of a captions file that are read."""
Embed = Callable[[Sequence[Any]], Floats]


@dataclass(frozen=True)
class Scenario:
    """What users post: how many of each interest and of none, and how the interests lie."""

    name: str
    sizes: tuple[int, ...]
    noise: int = 10
    spread: float = 0.7
    """Length of the noise around a centre of length one; 0.7 makes posts of one interest score 0.67."""
    common: float = 0.0
    """Length of what all interests of a user share; 1.0 makes their centres score 0.5."""


SCENARIOS = (
    Scenario("one interest", (40,)),
    Scenario("two interests", (40, 40)),
    Scenario("five interests", (24, 24, 24, 24, 24)),
    Scenario("five, wide", (24, 24, 24, 24, 24), spread=1.5),
    Scenario("five, overlapping", (24, 24, 24, 24, 24), common=1.0),
    Scenario("five, very unequal", (80, 40, 20, 10, 7)),
    Scenario("five, as many posts of none", (24, 24, 24, 24, 24), noise=120),
    Scenario("twelve interests", (24,) * 4 + (12,) * 8),
    Scenario("no interest", (), noise=60),
)


def generated(scenario: Scenario, users: int, seed: int = 0) -> Bench:
    """A catalog and users on the sphere. Where users have no interest, all of the catalog serves none."""
    dice = np.random.default_rng([seed, *scenario.name.encode()])
    shared = _unit(dice.standard_normal(DIM))
    centres = _unit(_unit(dice.standard_normal((INTERESTS, DIM))) + scenario.common * shared)
    labels = np.repeat(np.arange(INTERESTS), OF_EACH)
    catalog = np.concatenate(
        [_around(dice, centres[labels], scenario.spread), _unit(dice.standard_normal((NOISE, DIM)))]
    )
    labels = np.concatenate([labels, np.full(NOISE, -1)])
    readers = []
    for _ in range(users):
        mine = dice.choice(INTERESTS, len(scenario.sizes), replace=False)
        posts = np.concatenate([
            _around(dice, centres[np.repeat(mine, scenario.sizes)], scenario.spread),
            _unit(dice.standard_normal((scenario.noise, DIM))),
        ])  # fmt: skip
        of_interest = np.arange(len(posts)) < sum(scenario.sizes)
        held = of_interest & (dice.random(len(posts)) < HELD_OUT)
        order = dice.permutation(np.nonzero(~held)[0])
        serves = labels[None] == mine[:, None] if len(mine) else np.zeros((1, len(labels)), np.bool_)
        readers.append(Reader(posts[order].astype(np.float32), posts[held].astype(np.float32), serves))
    return Bench(scenario.name, catalog.astype(np.float32), readers)


@dataclass(frozen=True)
class Captioned:
    """Captions of photographs and, where their files are there, the photographs, each with the labels of what is seen.

    ``modalities`` and ``labels`` go with the rows of ``vectors``.
    """

    vectors: Floats
    modalities: NDArray[np.str_]
    labels: Sequence[frozenset[str]]


def read_captioned(folder: Path, embed_texts: Embed, embed_pictures: Embed) -> Captioned:
    """Embed the captions in ``folder``/captions/coco_captions_and_labels.json, and the pictures that it names.

    Raises Problem("bad_request") where it is another kind of file.
    """
    path = folder / "captions" / "coco_captions_and_labels.json"
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        rows = json.loads(path.read_text(encoding="utf-8"))
        texts = [(str(caption), frozenset(row["objects"])) for row in rows for caption in row["captions"]]
        named = [(folder / row["file"], frozenset(row["objects"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Problem("bad_request", f"cannot read {path}: {error}") from error
    there = [
        (file, labels) for file, labels in named if file.is_file() and file.resolve().is_relative_to(folder.resolve())
    ]
    blocks = [embed_texts([caption for caption, _ in texts])]
    if there:
        blocks.append(embed_pictures([file.read_bytes() for file, _ in there]))
    modalities = np.array(["text"] * len(texts) + ["image"] * len(there))
    return Captioned(np.concatenate(blocks), modalities, [labels for _, labels in (*texts, *there)])


def captioned(found: Captioned, users: int, interests: int = 3, seed: int = 0) -> list[Bench]:
    """Users who post captions of some labels, and two catalogs of all that they do not: captions and photographs.

    A label that is on more than a third of the photographs, such as person, is nobody's interest.
    """
    dice = np.random.default_rng(seed)
    texts = np.nonzero(found.modalities == "text")[0]
    counts = Counter(label for row in texts.tolist() for label in found.labels[row])
    labels = sorted(label for label, count in counts.items() if 20 <= count <= len(texts) / 3)
    if len(labels) < interests:
        raise Problem("bad_request", f"{len(labels)} labels are on enough photographs, {interests} are needed")
    posted = dice.random(len(texts)) < 0.5
    benches = []
    for modality in ("text", "image"):
        offered = texts[~posted] if modality == "text" else np.nonzero(found.modalities == "image")[0]
        if not len(offered):
            continue
        readers = []
        for _ in range(users):
            mine = dice.choice(labels, interests, replace=False)
            own = [row for row in texts[posted] if found.labels[row] & set(mine)]
            held = dice.random(len(own)) < HELD_OUT
            order = dice.permutation(np.array(own)[~held])
            serves = np.array([[label in found.labels[row] for row in offered] for label in mine])
            readers.append(Reader(found.vectors[order], found.vectors[np.array(own)[held]], serves))
        benches.append(Bench(f"captions of photographs, {modality}s", found.vectors[offered], readers))
    return benches


def _around(dice: np.random.Generator, centres: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    return _unit(centres + dice.standard_normal(centres.shape) * (spread / DIM**0.5))


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float64)
