"""Pictures and texts as the vectors that a service would keep of them, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serve_app.errors import Problem
from serve_app.evaluation.captions import Captioned
from serve_app.evaluation.report import Tell, say_nothing
from serve_app.evaluation.retrieval import Side
from serve_app.models.manifest import Model
from serve_app.models.sessions import open_session
from serve_app.models.store import Store
from serve_app.retrieval.encoder import ImageTower, TextTower
from serve_app.retrieval.hits import Floats
from serve_app.retrieval.sentences import SentenceTower

BATCH = 32
PREPARING = 4
"""Pictures that are decoded at once."""


@dataclass
class Embedded:
    """What one model makes of them; ``images`` is None for a model of texts alone. ``skipped`` says why."""

    texts: Side
    images: Side | None = None
    skipped: dict[str, str] = field(default_factory=dict)


def embed(model: Model, store: Store, captioned: Captioned, threads: int = 0, tell: Tell = say_nothing) -> Embedded:
    """Embed by ``model``, a row of ``cross_modal_embedding`` or of ``text_embedding`` whose weights are in ``store``.

    Raises ``Problem`` where they are not, or where nothing can be read.
    """
    files, skipped = store.locate(model), dict[str, str]()
    if model.clip is None:
        assert model.sentence is not None
        sentences = SentenceTower(model.sentence, open_session(files["weights"], threads), files["tokenizer"])
        return Embedded(_texts(sentences, captioned, skipped, tell), None, skipped)
    text = TextTower(model.clip, open_session(files["text"], threads), files["tokenizer"])
    image = ImageTower(model.clip, open_session(files["image"], threads))
    texts = _texts(text, captioned, skipped, tell)
    named = [(picture.group, picture.name, picture.read) for picture in captioned.pictures]
    pictures = _side(named, lambda read: image.prepare(read()), image.run, ("reading pictures", tell), skipped)
    return Embedded(texts, pictures, skipped)


def _texts(tower: TextTower | SentenceTower, captioned: Captioned, skipped: dict[str, str], tell: Tell) -> Side:
    named = [(group, repr(text[:40]), text) for group, text in captioned.texts]
    side = _side(named, lambda text: tower.prepare(text).ids, tower.run, ("reading captions", tell), skipped)
    if not len(side.groups):
        raise Problem("bad_request", "no caption can be read")
    return side


def _side(
    items: Sequence[tuple[int, str, Any]],
    prepare: Callable[[Any], Any],
    run: Callable[[list[Any]], Floats],
    stage: tuple[str, Tell],
    skipped: dict[str, str],
) -> Side:
    """``items`` are (group, name, what to prepare); what cannot be read is left out and named."""

    def attempt(item: tuple[int, str, Any]) -> Any:
        try:
            return prepare(item[2])
        except (Problem, OSError) as error:
            return error

    vectors, groups = [], []
    with ThreadPoolExecutor(PREPARING, thread_name_prefix="prepare") as workers:
        for start in range(0, len(items), BATCH):
            stage[1](stage[0], start, len(items))
            batch = items[start : start + BATCH]
            prepared = list(zip(batch, workers.map(attempt, batch), strict=True))
            skipped |= {item[1]: _why(made) for item, made in prepared if isinstance(made, Exception)}
            good = [(item[0], made) for item, made in prepared if not isinstance(made, Exception)]
            if good:
                vectors.append(run([made for _, made in good]))
                groups += [group for group, _ in good]
    empty = np.empty((0, 0), np.float32)
    return Side(np.concatenate(vectors) if vectors else empty, np.array(groups, np.int64))


def _why(error: Exception) -> str:
    return error.detail if isinstance(error, Problem) else f"cannot be read: {error}"
