"""Vectors of contents, by each model that needs one: what is served, what is to follow it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from deployments.batcher import Gatherer
from deployments.replica import ship
from graphs.calls import TIMEOUT_S, call, gathered, together
from graphs.places import Places
from graphs.recipe import Recipe
from serve_app.catalog import Content, Key, Served, Settings
from serve_app.diagnosis import EMBEDDED
from serve_app.errors import Problem
from serve_app.models.manifest import Manifest, Model, load_manifest
from serve_app.retrieval.hits import Floats

ENCODER = "cross_modal_embedding"
SENTENCES = "text_embedding"
KEPT = 1024
"""Of the texts that were searched for last, so many keep their vectors, of 2 to 4 KB each."""
KEPT_CHARACTERS = 1000
"""Longer ones are not kept."""


@dataclass(frozen=True)
class Embedding(Recipe):
    """The encoder, the sentence encoder where there is one, and the models that the configuration names for them."""

    encoder: Any
    sentences: Any
    configured: Mapping[str, Served]
    places: Places

    def targets(self) -> list[Served]:
        """The models of which a content needs a vector from now on, what is served first; blocks.

        Read once a content has its row: whatever is wanted later is made for all rows that are there by then.
        """
        targets: list[Served] = []
        for task, configured in self.configured.items():
            models = self.places.catalog.settings.get(task)
            wanted = [models.served, models.wanted] if models is not None else [configured]
            targets += [each for each in wanted if each is not None and self.makes(each)]
        return targets

    def lacking(self, *asset_ids: str) -> list[tuple[Served, Content]]:
        """What the contents of assets lack; blocks."""
        missing = self.places.catalog.vectors.missing_of_assets
        return [
            (target, content)
            for target in self.targets()
            for content in missing(asset_ids, target.revision)
            if content.modality in EMBEDDED[target.task]
        ]

    def makes(self, target: Served) -> bool:
        """Whether vectors of a model can be made here: any encoder is opened when needed, one sentence encoder is."""
        if target.task == SENTENCES:
            return self.sentences is not None and target == self.configured.get(SENTENCES)
        return target.task == ENCODER

    async def vector(self, target: Served, content: Content) -> Floats:
        """The vector of a text or a picture that is stored; raises ``Problem`` when it cannot be read."""
        if content.text is not None:
            return await self.embed(target, content.modality, content.text.encode())
        data = await asyncio.to_thread(self.places.files.read, str(content.file))
        return await self.embed(target, content.modality, data)

    async def embed(self, target: Served, modality: str, data: bytes) -> Floats:
        """The vector of a text or a picture; raises ``Problem`` when it cannot be read."""
        if modality == "image":
            return np.asarray(await call(self.encoder.encode_image, ship(data), target.model))
        return np.asarray((await self.embed_text(target, decode_text(data)))["vector"])

    async def embed_text(self, target: Served, text: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """The ``vector`` of a text, and whether it was ``truncated``; texts that come together are sent together."""
        if target not in self._texts:
            model = () if target.task == SENTENCES else (target.model,)
            handle = self.sentences if target.task == SENTENCES else self.encoder
            self._texts[target] = together(handle.encode_texts, *model)
        answer: dict[str, Any] = await gathered(self._texts[target], text, timeout_s)
        return answer

    async def embed_query(self, target: Served, text: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """Like ``embed_text`` for what is searched for: many ask the same, and each page of an answer does."""
        key, recent = (target, text), self._recent
        if key in recent:
            recent.move_to_end(key)
            return recent[key]
        answer = await self.embed_text(target, text, timeout_s)
        if len(text) <= KEPT_CHARACTERS:
            recent[key] = answer
            if len(recent) > KEPT:
                recent.popitem(last=False)
        return answer

    @cached_property
    def _recent(self) -> OrderedDict[tuple[Served, str], dict[str, Any]]:
        """The last to be asked, in that order."""
        return OrderedDict()

    @cached_property
    def _texts(self) -> dict[Served, Gatherer[Any, Any]]:
        """By the model that reads them."""
        return {}


def key_of(content: Content) -> Key:
    """What the content's vector is kept under."""
    return Key(content.owner, content.modality, content.sha256)


def served_of(model: Model) -> Served:
    """How a row of the manifest is served."""
    section = model.clip or model.sentence
    if section is None:
        raise Problem("unprocessable", f"{model.name} makes no vectors that are searched")
    return Served(model.task, model.name, model.key, section.dim)


def find_model(name: str, manifest: Manifest | None = None) -> Served:
    """The model of that name; ``not_found`` with those that there are."""
    models = (manifest or load_manifest()).models
    fit = [each.name for each in models.values() if each.task in EMBEDDED]
    if name not in fit:
        raise Problem("not_found", f"no model {name[:80]!r} embeds contents; there are {', '.join(sorted(fit))}")
    return served_of(models[name])


def adopt(settings: Settings, rows: Mapping[str, Model]) -> dict[str, Served]:
    """Tell the catalog what the configuration names; gives that by task. Blocks.

    A first encoder is served at once; sentences are served once every text has its vector, which a job sees to.
    """
    configured = {task: served_of(rows[task]) for task in EMBEDDED if task in rows}
    for task, each in configured.items():
        if task == ENCODER or settings.get(task) is not None:
            settings.adopt(task, each.model, each.revision, each.dim)
    return configured


def decode_text(data: bytes) -> str:
    """UTF-8 (with or without BOM) to text; ``bad_request`` otherwise."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Problem("bad_request", f"the text is not UTF-8: {error.reason} at byte {error.start}") from error
