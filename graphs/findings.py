"""What one annotator found in the many frames of a video or views of a 3D model, and what went wrong on the way."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from graphs.annotators import Seen
from graphs.calls import patiently
from graphs.image import refusal
from serve_app.errors import Problem
from serve_app.wire import schemas

log = logging.getLogger("mediaverse")


@dataclass
class Findings:
    """One annotator's."""

    seen: dict[int, Seen] = field(default_factory=dict)
    """What one frame of a scene gave, or a view, by its number."""
    asked: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def unavailable(self) -> Problem | None:
        return next((problem for problem in self.problems if problem.code == "unavailable"), None)

    @property
    def failed(self) -> Problem | None:
        """Why it answered for nothing at all; an annotator that nobody asked has not failed."""
        return self.problems[0] if self.problems and len(self.problems) >= self.asked else None

    @property
    def momentary(self) -> Problem | None:
        """Why it answered for nothing, where another try may mend it."""
        return self.failed if self.failed and self.failed.code in ("overloaded", "deadline") else None

    async def ask(self, name: str, look: Callable[[], Awaitable[None]]) -> None:
        """Ask the annotator ``name``, patiently; one that has no weights is not asked again."""
        if self.unavailable:
            return
        self.asked += 1
        try:
            await patiently(look)
        except Problem as problem:
            self.problems.append(problem)
        except Exception:
            log.exception("the annotator %s failed", name)
            self.problems.append(Problem("internal", "the annotator failed; its log says why"))

    def refusal(self) -> schemas.TaskResult | None:
        """The answer of an annotator that has none."""
        problem = self.unavailable or self.failed
        return None if problem is None else refusal(problem)

    def shortfall(self, what: str) -> str | None:
        """What to say where some (frames, views) got no answer."""
        if not self.problems:
            return None
        first = self.problems[0]
        return f"{len(self.problems)} of {self.asked} {what} got no answer: {first.code}: {first.detail}"


def raise_momentary(findings: Mapping[str, Findings]) -> None:
    """Raises the annotators' problem where none could answer but another try may mend it."""
    momentary = [each.momentary for each in findings.values()]
    if momentary and all(momentary):
        raise next(problem for problem in momentary if problem)
