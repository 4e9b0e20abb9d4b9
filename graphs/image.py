"""A picture goes to every annotator at once; each answers for itself."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.replica import ship
from graphs.annotators import ANNOTATORS, Annotators, FacesAt, Picture, Seen
from serve_app.errors import Problem
from serve_app.media import images
from serve_app.wire import schemas

log = logging.getLogger("mediaverse")

SPOILT = {"undecodable_media", "unsupported_media", "too_large"}
"""Faults of the picture itself: no annotator could answer, so the request gets them."""


@dataclass(frozen=True)
class ImageGraph:
    """Annotation of pictures."""

    annotators: Annotators

    def parse_annotators(self, names: str | None) -> tuple[str, ...]:
        """``objects,faces`` to a tuple; all when None; ``bad_request`` for a name that is not an annotator."""
        return parse(names, tuple(ANNOTATORS), "pictures")

    async def annotate(
        self, data: bytes, annotators: Sequence[str] = tuple(ANNOTATORS), explain: bool = False
    ) -> schemas.Annotation:
        """What each annotator saw; raises ``Problem`` where the picture itself is at fault or nobody could answer.

        ``explain`` asks for the attention maps of those that have one.
        """
        info = images.inspect(data)
        picture = self.annotators.picture(ship(data), explain)
        answers = await asyncio.gather(*(self._one(name, picture) for name in annotators))
        refusals = [answer for answer in answers if isinstance(answer, Problem)]
        spoilt = [problem for problem in refusals if problem.code in SPOILT]
        if spoilt:
            raise spoilt[0]
        momentary = [problem for problem in refusals if problem.code in ("overloaded", "deadline")]
        if momentary and len(refusals) == len(answers):
            raise momentary[0]
        media = schemas.MediaInfo(
            media_type=info.media_type,
            sha256=await asyncio.to_thread(digest, data),
            width=info.width,
            height=info.height,
        )
        seen = dict(zip(annotators, answers, strict=True))
        named = {ANNOTATORS[name].result: self._result(name, answer) for name, answer in seen.items()}
        faces = seen.get("faces")
        kept = [FacesAt(faces)] if isinstance(faces, Seen) else []
        return schemas.Annotation(asset=media, results=named, seen_faces=kept)

    async def _one(self, name: str, picture: Picture) -> Seen | Problem:
        try:
            return await self.annotators.see(name, picture)
        except Problem as problem:
            return problem
        except Exception:
            log.exception("the annotator %s failed", name)
            return Problem("internal", "the annotator failed; its log says why")

    def _result(self, name: str, answer: Seen | Problem) -> schemas.TaskResult:
        if isinstance(answer, Problem):
            return refusal(answer)
        return self.result(name, answer)

    def result(self, name: str, seen: Seen) -> schemas.TaskResult:
        """What a client sees of an answer."""
        labels = [schemas.Label(label=each.label, confidence=each.confidence, box=each.box) for each in seen.labels]
        result = schemas.TaskResult(
            status="ok",
            model=self.annotators.models.key(ANNOTATORS[name].task),
            labels=labels,
            error=seen.note,
            embedding=None if seen.vector is None else seen.vector.tolist(),
            explanation=None if seen.explanation is None else base64.b64encode(seen.explanation).decode(),
        )
        if seen.score is None:
            return result
        return result.model_copy(update=verdict(name, seen.score, self.annotators.says_yes(name, seen.score)))


def verdict(name: str, score: float, yes: bool) -> dict[str, object]:
    """The fields of a yes-or-no answer: the score, the flag of its name and, where it means yes, the label."""
    word = ANNOTATORS[name].yes
    labels = [schemas.Label(label=str(word), confidence=score)] if yes else []
    return {f"is_{word}": yes, "score": score, "labels": labels}


def refusal(problem: Problem) -> schemas.TaskResult:
    """The answer of an annotator that has none."""
    status = "unavailable" if problem.code == "unavailable" else "failed"
    return schemas.TaskResult(status=status, error=f"{problem.code}: {problem.detail}", remedy=problem.remedy)


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
