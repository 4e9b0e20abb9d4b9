"""CLIP towers behind batchers: pictures and texts become unit vectors."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image
from ray import serve

from deployments.replica import ModelReplica, Payload
from serve_app.models.sessions import open_session
from serve_app.retrieval.encoder import ImageTower, TextTower
from serve_app.retrieval.hits import Floats


@serve.deployment
class ClipEncoder(ModelReplica):
    """Embeds one picture or text a call; concurrent calls share batches."""

    def load(self) -> None:
        assert self.model.clip is not None
        self.image = ImageTower(self.model.clip, open_session(self.files["image"], self.recipe.threads))
        self.text = TextTower(
            self.model.clip, open_session(self.files["text"], self.recipe.threads), self.files["tokenizer"]
        )
        size = self.model.clip.image_size
        picture = io.BytesIO()
        Image.new("RGB", (size, size)).save(picture, "PNG")
        self.image.run([self.image.prepare(picture.getvalue())])
        self.text.run([self.text.prepare("warm").ids])
        self.images = self.batcher(self.image.run)
        self.texts = self.batcher(self.text.run)

    async def encode_image(self, payload: Payload) -> Floats:
        """The unit vector [D] of a picture; raises ``Problem`` when it cannot be decoded."""
        self.require()
        pixels = await self.in_thread(self.image.prepare, await self.receive(payload))
        return await self.images.submit(pixels)  # type: ignore[no-any-return]

    async def encode_text(self, text: str) -> dict[str, Any]:
        """``vector`` [D] of a text, and whether it was ``truncated`` at the tower's limit."""
        self.require()
        tokens = await self.in_thread(self.text.prepare, text)
        return {"vector": np.asarray(await self.texts.submit(tokens.ids)), "truncated": tokens.truncated}
