"""The annotators of pictures and of a video's frames: whom to ask, how long to wait, what came back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deployments.replica import Payload
from graphs.calls import call
from serve_app.annotation.labels import FoundFace, Label
from serve_app.errors import Problem
from serve_app.models.manifest import Manifest, Model
from serve_app.retrieval.hits import Floats

if TYPE_CHECKING:
    from graphs.people import PeopleGraph

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Annotator:
    """``result`` is the name of its answer, ``task`` the one whose model answers, ``deadline_s`` when it is given up;
    ``yes`` the label of one that says yes or no."""

    result: str
    task: str = ""
    deadline_s: float = 30.0
    yes: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", self.task or self.result)


ANNOTATORS = {
    "objects": Annotator("object_detection"),
    "actions": Annotator("action_recognition"),
    "faces": Annotator("face_recognition", "face_detection"),
    "memes": Annotator("meme_detection", yes="meme"),
    "concerns": Annotator("disturbing_content", yes="disturbing"),
    "nsfw": Annotator("nsfw", yes="nsfw"),
    "captions": Annotator("captioning", deadline_s=60.0),
    "texts": Annotator("text_recognition", deadline_s=60.0),
    "embedding": Annotator("cross_modal_embedding"),
}
"""By what a client asks for."""


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

    def require(self, task: str) -> Model:
        """The row that serves ``task``; ``unavailable`` with the remedy where none does."""
        if task not in self.rows:
            raise Problem("unavailable", "no model of this profile can tell", self.remedy(task))
        return self.rows[task]

    def reads_vectors(self, task: str) -> bool:
        """Whether the model of ``task`` is a head on the encoder's vector."""
        row = self.rows[task]
        return row.prompts is not None or (row.classifier is not None and row.classifier.on == "vector")

    def threshold(self, task: str) -> float:
        """From which score a yes-or-no task says yes."""
        row = self.rows[task]
        section = row.meme or row.classifier or row.prompts
        return section.threshold if section else 1.0


@dataclass(frozen=True)
class Seen:
    """What one annotator saw in one picture; the parts that its kind of answer has."""

    labels: list[Label] = field(default_factory=list)
    score: float | None = None
    vector: Floats | None = None
    faces: list[FoundFace] = field(default_factory=list)
    face_vectors: Floats | None = None
    explanation: bytes | None = None
    note: str | None = None


@dataclass(frozen=True)
class FacesAt:
    """Faces that were seen in a picture; of a video when, and how much wider the video is than the frame looked at."""

    seen: Seen
    timestamp_s: float | None = None
    scale: float = 1.0


class Picture:
    """One picture on its way to the annotators. Its CLIP vector is made once, however many heads read it.

    By the configured model, or the ``model`` of that name.
    """

    def __init__(self, payload: Payload, encoder: Any, explain: bool = False, model: str | None = None) -> None:
        self.payload, self.explain = payload, explain
        self._encoder = encoder
        self._model = model
        self._vector: asyncio.Future[Floats] | None = None

    async def vector(self) -> Floats:
        """float32 [D], L2-normalised; one reader's leaving takes nothing from the others."""
        if self._vector is None:
            self._vector = asyncio.ensure_future(call(self._encoder.encode_image, self.payload, self._model))
            # Its readers may all have met their deadlines by the time it fails.
            self._vector.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._vector)


@dataclass(frozen=True)
class Annotators:
    """The models' deployments by task; ``people`` knows names for faces; ``deadlines_s`` replace the table's."""

    served: Mapping[str, Any]
    models: Models
    people: PeopleGraph | None = None
    deadlines_s: Mapping[str, float] = field(default_factory=dict)

    def picture(self, payload: Payload, explain: bool = False, model: str | None = None) -> Picture:
        return Picture(payload, self.served["cross_modal_embedding"], explain, model)

    async def see(self, name: str, picture: Picture) -> Seen:
        """Ask the annotator ``name``. Raises ``Problem``: what it raised, or ``deadline`` after its own."""
        annotator = ANNOTATORS[name]
        self.models.require(annotator.task)
        within_s = self.deadlines_s.get(name, annotator.deadline_s)
        try:
            async with asyncio.timeout(within_s):
                return await self._ask(name, annotator.task, picture)
        except TimeoutError:
            raise Problem("deadline", f"no answer within {within_s:g} s") from None

    def says_yes(self, name: str, score: float) -> bool:
        """Whether a yes-or-no annotator means yes by ``score``."""
        task = ANNOTATORS[name].task
        return task in self.models.rows and score >= self.models.threshold(task)

    async def _ask(self, name: str, task: str, picture: Picture) -> Seen:
        handle = self.served[task]
        match name:
            case "embedding":
                return Seen(vector=await picture.vector())
            case "faces":
                return await self._faces(handle, picture)
            case "memes" if picture.explain:
                score, overlay = await call(handle.explain, picture.payload)
                return Seen(score=float(score), explanation=overlay)
            case "memes":
                return Seen(score=float(await call(handle.score, picture.payload)))
            case "concerns" | "nsfw" if self.models.reads_vectors(task):
                return Seen(score=float(await call(handle.score_vector, await picture.vector())))
            case "concerns" | "nsfw":
                return Seen(score=float(await call(handle.score, picture.payload)))
            case "actions" if self.models.reads_vectors(task):
                return Seen(await call(handle.recognize_vector, await picture.vector()))
        method = {"objects": "detect", "actions": "recognize", "captions": "caption", "texts": "read"}[name]
        return Seen(await call(getattr(handle, method), picture.payload))

    async def _faces(self, detector: Any, picture: Picture) -> Seen:
        """Faces, with names where a descriptor and a gallery tell them; without them a face is still a face."""
        found: list[FoundFace] = await call(detector.find, picture.payload)
        unnamed = Seen([Label(UNKNOWN, face.confidence, face.box) for face in found], faces=found)
        if not found or self.people is None or "face_identity" not in self.served:
            return unnamed
        try:
            described = await call(self.served["face_identity"].describe, picture.payload, found)
            named = await self.people.name_faces(found, described.vectors)
        except Problem as problem:
            return Seen(unnamed.labels, faces=found, note=f"names: {problem.code}: {problem.detail}")
        labels = [Label(who.label, who.confidence, face.box) for who, face in zip(named, found, strict=True)]
        return Seen(labels, faces=found, face_vectors=described.vectors)
