"""The sentence encoder behind a batcher: texts become unit vectors that are held against those of texts alone."""

from __future__ import annotations

from typing import Any

from ray import serve

from deployments.batcher import attempted, settled
from deployments.replica import ModelReplica
from serve_app.errors import Problem
from serve_app.models.sessions import open_session
from serve_app.retrieval.sentences import SentenceTower, Windows


@serve.deployment
class SentenceEncoder(ModelReplica):
    """Embeds some texts a call; concurrent calls share batches."""

    def load(self) -> None:
        assert self.model.sentence is not None
        session = open_session(self.files["weights"], self.recipe.threads)
        self.tower = SentenceTower(self.model.sentence, session, self.files["tokenizer"])
        self.tower.run([self.tower.prepare("warm").ids])
        self.texts = self.batcher(self.tower.run)

    async def encode_texts(self, texts: list[str]) -> list[dict[str, Any] | Exception]:
        """Of each text the ``vector`` [D] and whether it was ``truncated`` after the last window, or what went wrong
        with it."""
        self.require()
        prepared = await self.in_thread(attempted, self.tower.prepare, texts)
        return await settled([self._encode(each) for each in prepared])

    async def _encode(self, windows: Windows | Problem) -> dict[str, Any]:
        if isinstance(windows, Problem):
            raise windows
        return {"vector": await self.texts.submit(windows.ids), "truncated": windows.truncated}
