"""CLIP towers behind batchers: pictures and texts become unit vectors, by one model or, while it is replaced, more."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

from PIL import Image
from ray import serve

from deployments.batcher import attempted, settled
from deployments.replica import ModelRecipe, ModelReplica, Payload
from serve_app.errors import Problem
from serve_app.models.manifest import Model, load_manifest
from serve_app.models.sessions import open_session
from serve_app.retrieval.encoder import ImageTower, TextTower, Tokens
from serve_app.retrieval.hits import Floats

OTHERS = 2
"""Models that are open at once beside the recipe's: the one that is served and the one that is to follow it."""
TASK = "cross_modal_embedding"


class Towers:
    """Both towers of one model, run once, so that open means warm."""

    def __init__(self, model: Model, files: dict[str, Path], threads: int) -> None:
        assert model.clip is not None
        self.image = ImageTower(model.clip, open_session(files["image"], threads))
        self.text = TextTower(model.clip, open_session(files["text"], threads), files["tokenizer"])
        picture = io.BytesIO()
        Image.new("RGB", (model.clip.image_size, model.clip.image_size)).save(picture, "PNG")
        self.image.run([self.image.prepare(picture.getvalue())])
        self.text.run([self.text.prepare("warm").ids])

    def behind(self, replica: ModelReplica) -> Towers:
        """The same towers with batchers, whose sizes are the replica's."""
        self.images, self.texts = replica.batcher(self.image.run), replica.batcher(self.text.run)
        return self


@serve.deployment
class ClipEncoder(ModelReplica):
    """Embeds a picture or some texts a call, by the recipe's model or the one that is named; concurrent calls share
    batches. Another model is opened when it is asked for first; missing weights are ``unavailable`` with the remedy."""

    def __init__(self, recipe: ModelRecipe) -> None:
        self.others: dict[str, Towers] = {}
        self.opening = asyncio.Lock()
        super().__init__(recipe)

    def load(self) -> None:
        self.towers = Towers(self.model, self.files, self.recipe.threads).behind(self)

    async def encode_image(self, payload: Payload, model: str | None = None) -> Floats:
        """The unit vector [D] of a picture; raises ``Problem`` when it cannot be decoded."""
        towers = await self._towers(model)
        pixels = await self.in_thread(towers.image.prepare, await self.receive(payload))
        return await towers.images.submit(pixels)  # type: ignore[no-any-return]

    async def encode_text(self, text: str, model: str | None = None) -> dict[str, Any]:
        """``vector`` [D] of a text, and whether it was ``truncated`` at the tower's limit."""
        (answer,) = await self.encode_texts([text], model)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def encode_texts(self, texts: list[str], model: str | None = None) -> list[dict[str, Any] | Exception]:
        """What ``encode_text`` gives for each, or what went wrong with it."""
        towers = await self._towers(model)
        prepared = await self.in_thread(attempted, towers.text.prepare, texts)
        return await settled([self._encode(towers, each) for each in prepared])

    async def _encode(self, towers: Towers, tokens: Tokens | Problem) -> dict[str, Any]:
        if isinstance(tokens, Problem):
            raise tokens
        return {"vector": await towers.texts.submit(tokens.ids), "truncated": tokens.truncated}

    async def _towers(self, name: str | None) -> Towers:
        if name in (None, self.model.name):
            self.require()
            return self.towers
        if name not in self.others:
            async with self.opening:
                if name not in self.others:
                    opened = await self.in_thread(self._open_other, name)
                    self.others[str(name)] = opened.behind(self)
        towers = self.others.pop(str(name))
        self.others[str(name)] = towers  # used last
        while len(self.others) > OTHERS:
            gone = self.others.pop(next(iter(self.others)))
            self.batchers = [each for each in self.batchers if each not in (gone.images, gone.texts)]
        return towers

    def _open_other(self, name: str) -> Towers:
        model = load_manifest().models.get(name)
        if model is None or model.task != TASK:
            raise Problem("unavailable", f"there is no encoder {name[:80]!r}", "mediaverse models list")
        return Towers(model, self.locate(model), self.recipe.threads)
