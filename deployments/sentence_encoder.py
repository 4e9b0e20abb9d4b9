"""The sentence encoder behind a batcher: texts become unit vectors that are held against those of texts alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from ray import serve

from deployments.replica import ModelReplica
from serve_app.models.sessions import open_session
from serve_app.retrieval.sentences import SentenceTower


@serve.deployment
class SentenceEncoder(ModelReplica):
    """Embeds one text a call; concurrent calls share batches."""

    def load(self) -> None:
        assert self.model.sentence is not None
        session = open_session(self.files["weights"], self.recipe.threads)
        self.tower = SentenceTower(self.model.sentence, session, self.files["tokenizer"])
        self.tower.run([self.tower.prepare("warm").ids])
        self.texts = self.batcher(self.tower.run)

    async def encode(self, text: str) -> dict[str, Any]:
        """``vector`` [D] of a text, and whether it was ``truncated`` after the last window."""
        self.require()
        windows = await self.in_thread(self.tower.prepare, text)
        return {"vector": np.asarray(await self.texts.submit(windows.ids)), "truncated": windows.truncated}
