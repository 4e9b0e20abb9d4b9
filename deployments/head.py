"""What the deployments of heads share: a classifier in ONNX, or words that the served encoder turned into vectors."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import numpy as np

from deployments.batcher import Batcher
from deployments.replica import ModelRecipe, ModelReplica, Payload
from serve_app.errors import Problem

log = logging.getLogger("mediaverse")

TEXTS_AT_ONCE = 8
"""Prompts that are with the encoder, which others use too: who searches meanwhile waits for no more than these."""


class HeadReplica(ModelReplica):
    """Rows of probabilities for pictures or for their vectors.

    ``encoder`` is the handle of the served encoder; only rows with prompts need it. Their texts are embedded when the
    replica is first asked how it stands, or for an answer.
    """

    def __init__(self, recipe: ModelRecipe, encoder: Any = None) -> None:
        self.encoder = encoder
        self.head: Any = None
        self.items: Batcher[Any, Any] | None = None
        self.embedding: asyncio.Task[None] | None = None
        super().__init__(recipe)

    def load(self) -> None:
        # Here, not above: what builds the application imports this file and has no use for ONNX Runtime.
        from serve_app.annotation.classifier import load_classifier
        from serve_app.annotation.zero_shot import prompts_of

        if self.model.prompts is not None:
            prompts_of(self.model, self.files)  # wrong labels are known at once
            return
        classifier = load_classifier(self.model, self.files, self.recipe.threads)
        classifier.warm()
        self._serve(classifier)

    async def read(self, payload: Payload) -> Any:
        """Probabilities [labels] of a picture; ``unavailable`` where the row reads vectors."""
        await self._whole()
        tensor = await self.in_thread(self.head.prepare, await self.receive(payload))
        return await self.items.submit(tensor)  # type: ignore[union-attr]

    async def read_vector(self, vector: Any) -> Any:
        """The same of a picture's vector [D]; ``unavailable`` where the row reads pictures or other vectors."""
        await self._whole()
        tensor = self.head.prepare_vector(np.asarray(vector, np.float32))
        return await self.items.submit(tensor)  # type: ignore[union-attr]

    async def status(self) -> dict[str, str | None]:
        status = await super().status()
        if self.problem is None and self.head is None:
            fault = self._fault()
            self._begin()
            status |= {"state": "starting", "remedy": fault or "the encoder reads the prompts"}
        return status

    def _serve(self, head: Any) -> None:
        self.head, self.items = head, self.batcher(head.run)

    async def _whole(self) -> None:
        """Raises ``Problem`` where weights are missing or the encoder does not read the prompts."""
        self.require()
        if self.head is None:
            # Whoever stops waiting must not stop it for the others.
            await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[None]:
        """The one embedding that is under way; a failed one is begun anew."""
        if self.embedding is None or self.embedding.done():
            self.embedding = asyncio.create_task(self._embed())
            self.embedding.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self.embedding

    def _fault(self) -> str | None:
        done = self.embedding is not None and self.embedding.done() and not self.embedding.cancelled()
        return str(self.embedding.exception()) if done and self.embedding else None

    async def _embed(self) -> None:
        from serve_app.annotation.zero_shot import ZeroShot, prompts_of, texts

        spec, labels = prompts_of(self.model, self.files)
        try:
            await self._check_encoder(spec.encoder)
            free = asyncio.Semaphore(TEXTS_AT_ONCE)
            vectors = await asyncio.gather(*(self._vector(text, free) for text in texts(spec, labels)))
        except Exception as error:
            # What the encoder raised arrives as Ray's error with its cause inside.
            cause = getattr(error, "cause", error)
            if isinstance(cause, Problem):
                raise cause from None
            log.exception("%s: the encoder did not read the prompts", self.model.key)
            raise Problem("unavailable", f"{self.model.key}: the encoder did not read the prompts; try again") from None
        self._serve(ZeroShot.of(spec, labels, np.stack(vectors)))

    async def _check_encoder(self, wanted: str) -> None:
        if self.encoder is None:
            raise Problem("unavailable", f"{self.model.key} needs the encoder {wanted}, and none was given to it")
        served = await self.encoder.status.remote()
        found = f"{served['model']}@{served['revision']}"
        if found != wanted:
            detail = f"the prompts of {self.model.key} are for {wanted}, and {found} is served"
            raise Problem("unavailable", detail, f"serve {wanted}, or prompts of the served encoder")
        if served["state"] != "ready":
            raise Problem("unavailable", f"the encoder {wanted} is {served['state']}", served["remedy"])

    async def _vector(self, text: str, free: asyncio.Semaphore) -> Any:
        async with free:
            return (await self.encoder.encode_text.remote(text))["vector"]
