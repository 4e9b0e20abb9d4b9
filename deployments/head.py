"""What the deployments of heads share: a classifier in ONNX, or words that the served encoder turned into vectors."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from deployments.batcher import Batcher
from deployments.prompt_reader import PromptReader
from deployments.replica import ModelRecipe, ModelReplica, Payload
from serve_app.errors import Problem
from serve_app.models.store import Store


class HeadReplica(ModelReplica):
    """Rows of probabilities for pictures or for their vectors.

    ``encoder`` is the handle of the served encoder, which reads a row's prompts when the replica is first asked.
    """

    def __init__(self, recipe: ModelRecipe, encoder: Any = None) -> None:
        self.reader = PromptReader(encoder)
        self.head: Any = None
        self.items: Batcher[Any, Any] | None = None
        self.reading: asyncio.Task[None] | None = None
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
        items = await self._whole()
        tensor = await self.in_thread(self.head.prepare, await self.receive(payload))
        return await items.submit(tensor)

    async def read_vector(self, vector: Any) -> Any:
        """The same of a picture's vector [D]; ``unavailable`` where the row reads pictures or other vectors."""
        items = await self._whole()
        return await items.submit(self.head.prepare_vector(np.asarray(vector, np.float32)))

    async def status(self) -> dict[str, str | None]:
        status = await super().status()
        if self.problem is None and self.head is None:
            fault = self.reading.exception() if self.reading and self.reading.done() else None
            self._begin()
            status |= {"state": "starting", "remedy": "the encoder reads the prompts"}
            if isinstance(fault, Problem):
                status |= {"state": "unavailable", "remedy": fault.remedy or fault.detail}
        return status

    def _serve(self, head: Any) -> None:
        self.head, self.items = head, self.batcher(head.run)

    async def _whole(self) -> Batcher[Any, Any]:
        """The batcher; raises ``Problem`` where weights are missing or the encoder does not read the prompts."""
        self.require()
        if self.items is None:
            # Whoever stops waiting must not stop it for the others.
            await asyncio.shield(self._begin())
        assert self.items is not None
        return self.items

    def _begin(self) -> asyncio.Task[None]:
        """The one reading of the prompts that is under way; a failed one is begun anew."""
        if self.reading is None or self.reading.done():
            self.reading = asyncio.create_task(self._read_prompts())
            self.reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self.reading

    async def _read_prompts(self) -> None:
        from serve_app.annotation.zero_shot import ZeroShot, prompts_of, texts
        from serve_app.models.prompt_vectors import PromptVectors

        spec, labels = prompts_of(self.model, self.files)
        sentences = texts(spec, labels)
        kept = PromptVectors(Store(Path(self.recipe.home)).folder(self.model), spec.encoder, sentences)
        await self.reader.check(spec.encoder)
        vectors = await self.in_thread(kept.read)
        if vectors is None:
            vectors = await self.reader.read(spec.encoder, sentences)
            with suppress(OSError):  # where they cannot be kept, the next start reads them again
                await self.in_thread(kept.keep, vectors)
        self._serve(ZeroShot.of(spec, labels, vectors))
