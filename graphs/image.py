"""A picture goes to every annotator at once; each answers for itself."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deployments.replica import Payload, ship
from graphs.calls import call
from serve_app.annotation.labels import Label
from serve_app.errors import Problem
from serve_app.media import images
from serve_app.models.manifest import Manifest, Model
from serve_app.wire import schemas

log = logging.getLogger("mediaverse")

ANNOTATORS = {
    "objects": "object_detection",
    "actions": "action_recognition",
    "faces": "face_recognition",
    "memes": "meme_detection",
    "concerns": "disturbing_content",
    "captions": "captioning",
    "embedding": "cross_modal_embedding",
}
"""What a client asks for, and the name of the result."""

DISTURBING = "disturbing"

SPOILT = {"undecodable_media", "unsupported_media", "too_large"}
"""Faults of the picture itself: no annotator could answer, so the request gets them."""


@dataclass(frozen=True)
class Models:
    """The model rows that serve each task of this profile, and the titles and remedies of all tasks."""

    rows: dict[str, Model]
    manifest: Manifest

    def key(self, task: str) -> str | None:
        return self.rows[task].key if task in self.rows else None

    def remedy(self, task: str) -> str | None:
        note = self.manifest.tasks.get(task)
        return note.remedy if note else None


@dataclass(frozen=True)
class ImageGraph:
    """Annotation of pictures: the object detector, the face detector, the encoder and the concern detector.

    ``concerns`` is None where no model of this application can tell.
    """

    objects: Any
    faces: Any
    encoder: Any
    models: Models
    concerns: Any = None

    def parse_annotators(self, names: str | None) -> tuple[str, ...]:
        """``objects,faces`` to a tuple; all when None; ``bad_request`` for a name that is not an annotator."""
        return parse(names, tuple(ANNOTATORS), "pictures")

    async def annotate(self, data: bytes, annotators: Sequence[str] = tuple(ANNOTATORS)) -> schemas.Annotation:
        """What each annotator saw; raises ``Problem`` where the picture itself is at fault or nobody could answer."""
        info = images.inspect(data)
        payload = ship(data)
        results = await asyncio.gather(*(self._one(name, payload) for name in annotators))
        refusals = [problem for _, problem in results if problem is not None]
        spoilt = [problem for problem in refusals if problem.code in SPOILT]
        if spoilt:
            raise spoilt[0]
        momentary = [problem for problem in refusals if problem.code in ("overloaded", "deadline")]
        if momentary and len(refusals) == len(results):
            raise momentary[0]
        media = schemas.MediaInfo(
            media_type=info.media_type,
            sha256=await asyncio.to_thread(digest, data),
            width=info.width,
            height=info.height,
        )
        named = {ANNOTATORS[name]: result for name, (result, _) in zip(annotators, results, strict=True)}
        return schemas.Annotation(asset=media, results=named)

    async def _one(self, name: str, payload: Payload) -> tuple[schemas.TaskResult, Problem | None]:
        task = {"faces": "face_detection"}.get(name, ANNOTATORS[name])
        try:
            if task not in self.models.rows:
                raise Problem("unavailable", "no model of this profile can tell", self.models.remedy(task))
            result = await self._ask(name, payload)
            return result.model_copy(update={"model": self.models.key(task)}), None
        except Problem as problem:
            status = "unavailable" if problem.code == "unavailable" else "failed"
            error = f"{problem.code}: {problem.detail}"
            return schemas.TaskResult(status=status, error=error, remedy=problem.remedy), problem
        except Exception:
            log.exception("the annotator %s failed", name)
            return schemas.TaskResult(status="failed", error="internal: the annotator failed; its log says why"), None

    async def _ask(self, name: str, payload: Payload) -> schemas.TaskResult:
        if name == "embedding":
            vector = await call(self.encoder.encode_image, payload)
            return schemas.TaskResult(status="ok", embedding=vector.tolist())
        if name == "concerns":
            return self.judged(await self.concern(payload))
        detector = {"objects": self.objects, "faces": self.faces}[name]
        labels: list[Label] = await call(detector.detect, payload)
        shown = [schemas.Label(label=each.label, confidence=each.confidence, box=each.box) for each in labels]
        return schemas.TaskResult(status="ok", labels=shown)

    async def concern(self, payload: Payload) -> float:
        """How surely a picture disturbs, in [0, 1]; a model that judges vectors gets the encoder's."""
        classifier = self.models.rows["disturbing_content"].classifier
        if classifier and classifier.on == "vector":
            vector = await call(self.encoder.encode_image, payload)
            return float(await call(self.concerns.score_vector, vector))
        return float(await call(self.concerns.score, payload))

    def judged(self, score: float) -> schemas.TaskResult:
        """The answer about a picture of this ``score``."""
        disturbing = self.disturbs(score)
        labels = [schemas.Label(label=DISTURBING, confidence=score)] if disturbing else []
        return schemas.TaskResult(status="ok", labels=labels, is_disturbing=disturbing, score=score)

    def disturbs(self, score: float) -> bool:
        classifier = self.models.rows["disturbing_content"].classifier
        return classifier is not None and score >= classifier.threshold


def parse(names: str | None, known: tuple[str, ...], media: str) -> tuple[str, ...]:
    """Annotators by their names, separated by commas; all that are ``known`` when None; ``bad_request`` for others."""
    if names is None:
        return known
    chosen = dict.fromkeys(name.strip() for name in names.split(",") if name.strip())
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise Problem("bad_request", f"annotators for {media} are {', '.join(known)}; not {', '.join(unknown)[:200]!r}")
    return tuple(chosen)


def digest(data: bytes) -> str:
    """SHA-256 as hex; off the event loop for what takes long."""
    return hashlib.sha256(data).hexdigest()
