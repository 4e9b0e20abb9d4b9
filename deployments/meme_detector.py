"""MemeTector as a deployment."""

from __future__ import annotations

from ray import serve

from deployments.replica import ModelReplica, Payload


@serve.deployment
class MemeDetector(ModelReplica):
    """A network with attention that a row of ``configs/models.yaml`` describes by its ``meme`` section."""

    def load(self) -> None:
        # Here, not above: what builds the application imports this file and has no use for ONNX Runtime.
        from serve_app.annotation.memes import load_memes

        self.detector = load_memes(self.model, self.files, self.recipe.threads)
        self.detector.warm()
        self.items = self.batcher(self.detector.run)

    async def score(self, payload: Payload) -> float:
        """How sure it is, in [0, 1], that a picture is a meme."""
        self.require()
        tensor = await self.in_thread(self.detector.prepare, await self.receive(payload))
        return self.detector.finish(await self.items.submit(tensor))

    async def explain(self, payload: Payload) -> tuple[float, bytes]:
        """The same, and the picture under its attention map as PNG."""
        self.require()
        data = await self.receive(payload)
        seen = await self.items.submit(await self.in_thread(self.detector.prepare, data))
        return self.detector.finish(seen), await self.in_thread(self.detector.explain, data, seen)
