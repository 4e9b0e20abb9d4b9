"""The annotators of a video's frames and clips: each answers for itself, and all of them at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from deployments.replica import Payload, ship
from graphs.calls import call, patiently
from graphs.crew import Crew
from graphs.image import ImageGraph
from graphs.video_answers import Findings, concerns, embeddings, faces, objects
from serve_app.annotation.labels import Label
from serve_app.annotation.timeline import Sighting, at_full_size
from serve_app.annotation.watch import Clip, Scene, Second, Still
from serve_app.errors import Problem
from serve_app.wire import schemas

log = logging.getLogger("mediaverse")

ANNOTATORS = {
    "objects": "object_detection",
    "actions": "action_recognition",
    "faces": "face_recognition",
    "concerns": "disturbing_content",
    "embedding": "cross_modal_embedding",
}
"""What a client asks for, and the name of the result."""

TASKS = ANNOTATORS | {"actions": "video_action_recognition", "faces": "face_detection"}
"""The task whose model answers."""

AT_ONCE = 8
"""Pictures and clips of one video that are with the annotators; the decoder waits for them."""


@dataclass
class Look:
    """Sends frames and clips of one video to those annotators that were asked for, and keeps what they find."""

    image: ImageGraph
    actions: Any
    annotators: tuple[str, ...]
    crew: Crew = field(default_factory=lambda: Crew(AT_ONCE))
    findings: dict[str, Findings] = field(init=False)
    began: float | None = None
    ended: float | None = None

    def __post_init__(self) -> None:
        models = self.image.models
        self.findings = {name: Findings() for name in self.annotators if name in ANNOTATORS}
        for name, findings in self.findings.items():
            if TASKS[name] not in models.rows:
                remedy = models.remedy(TASKS[name])
                findings.problems.append(Problem("unavailable", "no model of this profile can tell", remedy))

    async def at_still(self, still: Still) -> None:
        """One frame of a scene; waits while all hands are full."""
        payload = ship(still.picture)
        looks = {
            "objects": lambda: self._detect("objects", still, payload),
            "embedding": lambda: self._embed(still, payload),
            "concerns": lambda: self._judge(still, payload),
        }
        await self.crew.add(self._all(looks))

    async def at_second(self, second: Second) -> None:
        """One frame of a second."""
        payload = ship(second.picture)
        await self.crew.add(self._all({"faces": lambda: self._detect("faces", second, payload)}))

    async def at_clip(self, clip: Clip) -> None:
        """One clip of a scene."""
        payload = ship(clip.pixels)
        await self.crew.add(self._all({"actions": lambda: self._recognize(clip, payload)}))

    def results(self, scenes: list[Scene]) -> dict[str, schemas.TaskResult]:
        """Every annotator's answer by its result's name.

        Raises the annotators' problem where none could answer but another try may mend it.
        """
        momentary = [each.momentary for each in self.findings.values()]
        if momentary and all(momentary):
            raise next(problem for problem in momentary if problem)
        return {ANNOTATORS[name]: self._result(name, each, scenes) for name, each in self.findings.items()}

    def _result(self, name: str, findings: Findings, scenes: list[Scene]) -> schemas.TaskResult:
        result = findings.refusal()
        if result is None:
            match name:
                case "faces":
                    result = faces(findings)
                case "concerns":
                    result = concerns(findings, scenes, self.image.disturbs)
                case "embedding":
                    result = embeddings(findings, scenes)
                case _:
                    result = objects(findings)
            result = result.model_copy(update={"error": findings.shortfall()})
        return result.model_copy(update={"model": self.image.models.key(TASKS[name])})

    async def _all(self, looks: dict[str, Callable[[], Coroutine[Any, Any, None]]]) -> None:
        self.began = self.began or time.perf_counter()
        await asyncio.gather(*(self._one(name, look) for name, look in looks.items() if name in self.findings))
        self.ended = time.perf_counter()

    async def _one(self, name: str, look: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Ask one annotator; one that has no weights is not asked again."""
        findings = self.findings[name]
        if findings.unavailable:
            return
        findings.asked += 1
        try:
            await patiently(look)
        except Problem as problem:
            findings.problems.append(problem)
        except Exception:
            log.exception("the annotator %s failed", name)
            findings.problems.append(Problem("internal", "the annotator failed; its log says why"))

    async def _detect(self, name: str, frame: Still | Second, payload: Payload) -> None:
        detector = {"objects": self.image.objects, "faces": self.image.faces}[name]
        labels: list[Label] = await call(detector.detect, payload)
        self.findings[name].sightings += [
            Sighting(at_full_size(label, frame.scale), timestamp_s=frame.timestamp_s) for label in labels
        ]

    async def _recognize(self, clip: Clip, payload: Any) -> None:
        labels: list[Label] = await call(self.actions.recognize, payload)
        self.findings["actions"].sightings += [
            Sighting(label, start_s=clip.start_s, end_s=clip.end_s) for label in labels
        ]

    async def _embed(self, still: Still, payload: Payload) -> None:
        self.findings["embedding"].vectors[still.scene] = await call(self.image.encoder.encode_image, payload)

    async def _judge(self, still: Still, payload: Payload) -> None:
        self.findings["concerns"].scores[still.scene] = await self.image.concern(payload)
