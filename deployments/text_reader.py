"""The reader of printed text as a deployment."""

from __future__ import annotations

from ray import serve

from deployments.replica import ModelReplica, Payload
from serve_app.annotation.labels import Label


@serve.deployment
class TextReader(ModelReplica):
    """Reads what is printed in pictures, line by line."""

    def load(self) -> None:
        # Here, not above: what builds the application imports this file and has no use for OpenCV.
        from serve_app.annotation.ocr import load_reader

        self.reader = load_reader(self.model, self.files, self.recipe.threads)
        self.reader.warm()
        self.pictures = self.batcher(self.reader.run)

    async def read(self, payload: Payload) -> list[Label]:
        """Lines in reading order: the text, how sure it is, its box in pixels of the upright picture."""
        self.require()
        prepared = await self.in_thread(self.reader.prepare, await self.receive(payload))
        return self.reader.finish(await self.pictures.submit(prepared), prepared)
