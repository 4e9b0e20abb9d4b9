"""The captioner as a deployment."""

from __future__ import annotations

from ray import serve

from deployments.replica import ModelReplica, Payload
from serve_app.annotation.labels import Label


@serve.deployment
class Captioner(ModelReplica):
    """Says one sentence about a picture."""

    def load(self) -> None:
        # Here, not above: what builds the application imports this file and has no use for ONNX Runtime.
        from serve_app.annotation.captions import load_captioner

        self.captioner = load_captioner(self.model, self.files, self.recipe.threads)
        self.pictures = self.batcher(self.captioner.run)

    async def caption(self, payload: Payload) -> list[Label]:
        """One sentence and how sure it is; raises ``Problem`` for what cannot be decoded."""
        self.require()
        tensor = await self.in_thread(self.captioner.prepare, await self.receive(payload))
        return self.captioner.finish(await self.pictures.submit(tensor))
