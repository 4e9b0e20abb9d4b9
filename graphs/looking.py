"""The annotators of a video's frames and clips: each answers for itself, and all of them at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from deployments.replica import ship
from graphs.annotators import ANNOTATORS as OF_PICTURES
from graphs.annotators import Annotators, FacesAt, Picture
from graphs.calls import call
from graphs.crew import Crew
from graphs.findings import raise_momentary
from graphs.video_answers import VideoFindings, embeddings, faces, objects, sentences, verdicts
from serve_app.annotation.labels import Label
from serve_app.annotation.timeline import Sighting, at_full_size
from serve_app.annotation.watch import Clip, Scene, Second, Still
from serve_app.errors import Problem
from serve_app.wire import schemas

ON_STILLS = ("objects", "memes", "concerns", "nsfw", "captions", "texts", "embedding")
"""Those that look at one frame of each scene."""
ANNOTATORS = {name: OF_PICTURES[name].result for name in (*ON_STILLS, "actions", "faces")}
"""What a client asks for, and the name of the result."""

TASKS = {name: OF_PICTURES[name].task for name in ANNOTATORS} | {"actions": "video_action_recognition"}
"""The task whose model answers."""

AT_ONCE = 8
"""Pictures and clips of one video that are with the annotators; the decoder waits for them."""


@dataclass
class Look:
    """Sends frames and clips of one video to those annotators that were asked for, and keeps what they find."""

    annotators: Annotators
    actions: Any
    asked: tuple[str, ...]
    model: str | None = None
    """Another encoder than the configured one."""
    crew: Crew = field(default_factory=lambda: Crew(AT_ONCE))
    findings: dict[str, VideoFindings] = field(init=False)
    began: float | None = None
    ended: float | None = None

    def __post_init__(self) -> None:
        models = self.annotators.models
        self.findings = {name: VideoFindings() for name in self.asked if name in ANNOTATORS}
        for name, findings in self.findings.items():
            try:
                models.require(TASKS[name])
            except Problem as problem:
                findings.problems.append(problem)

    async def at_still(self, still: Still) -> None:
        """One frame of a scene; waits while all hands are full."""
        picture = self.annotators.picture(ship(still.picture), model=self.model)
        await self.crew.add(self._all({name: partial(self._look, name, still, picture) for name in ON_STILLS}))

    async def at_second(self, second: Second) -> None:
        """One frame of a second."""
        picture = self.annotators.picture(ship(second.picture))
        await self.crew.add(self._all({"faces": partial(self._find, second, picture)}))

    async def at_clip(self, clip: Clip) -> None:
        """One clip of a scene."""
        await self.crew.add(self._all({"actions": partial(self._recognize, clip, ship(clip.pixels))}))

    @property
    def faces(self) -> list[FacesAt]:
        """Every face that was seen, in the order of time."""
        seen = self.findings["faces"].faces if "faces" in self.findings else []
        return sorted(seen, key=lambda each: each.timestamp_s or 0.0)

    def results(self, scenes: list[Scene]) -> dict[str, schemas.TaskResult]:
        """Every annotator's answer by its result's name.

        Raises the annotators' problem where none could answer but another try may mend it.
        """
        raise_momentary(self.findings)
        return {ANNOTATORS[name]: self._result(name, each, scenes) for name, each in self.findings.items()}

    def _result(self, name: str, findings: VideoFindings, scenes: list[Scene]) -> schemas.TaskResult:
        result = findings.refusal()
        if result is None:
            match name:
                case "faces":
                    result = faces(findings)
                case "memes" | "concerns" | "nsfw":
                    result = verdicts(name, findings, scenes, partial(self.annotators.says_yes, name))
                case "captions":
                    result = sentences(findings, scenes)
                case "embedding":
                    result = embeddings(findings, scenes)
                case _:
                    result = objects(findings)
            result = result.model_copy(update={"error": findings.shortfall("frames")})
        return result.model_copy(update={"model": self.annotators.models.key(TASKS[name])})

    async def _all(self, looks: dict[str, Callable[[], Awaitable[None]]]) -> None:
        self.began = self.began or time.perf_counter()
        await asyncio.gather(
            *(self.findings[name].ask(name, look) for name, look in looks.items() if name in self.findings)
        )
        self.ended = time.perf_counter()

    async def _look(self, name: str, still: Still, picture: Picture) -> None:
        seen = await self.annotators.see(name, picture)
        findings = self.findings[name]
        findings.seen[still.scene] = seen
        findings.sightings += [
            Sighting(at_full_size(label, still.scale), timestamp_s=still.timestamp_s) for label in seen.labels
        ]

    async def _find(self, second: Second, picture: Picture) -> None:
        seen = await self.annotators.see("faces", picture)
        findings = self.findings["faces"]
        findings.faces.append(FacesAt(seen, second.timestamp_s, second.scale))
        findings.sightings += [
            Sighting(at_full_size(label, second.scale), timestamp_s=second.timestamp_s) for label in seen.labels
        ]

    async def _recognize(self, clip: Clip, payload: Any) -> None:
        labels: list[Label] = await call(self.actions.recognize, payload)
        self.findings["actions"].sightings += [
            Sighting(label, start_s=clip.start_s, end_s=clip.end_s) for label in labels
        ]
