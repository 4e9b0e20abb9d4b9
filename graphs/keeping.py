"""What is kept of an annotation: the answers, the tags that filters find, and the faces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graphs.annotators import FacesAt
from graphs.people import PeopleGraph
from serve_app.annotation.timeline import at_full_size
from serve_app.catalog import Answer, Asset, Tag
from serve_app.catalog.rows import StageName, StageState
from serve_app.errors import Problem
from serve_app.wire import schemas

TAGS = {
    "object_detection": "object",
    "action_recognition": "action",
    "face_recognition": "person",
    "meme_detection": "meme",
    "disturbing_content": "disturbing",
    "nsfw": "nsfw",
    "captioning": "caption",
    "text_recognition": "text",
}
"""Results whose labels become tags of this name."""
ANNOTATED = ("image", "video", "shape3d")


def answers_of(asset: Asset, annotation: schemas.Annotation) -> list[Answer]:
    """The answers with their tags, without vectors, which are kept once, as rows of the index."""
    return [
        Answer(
            asset.id, task, result.model_dump(exclude_none=True, exclude={"embedding", "embeddings"}),
            tuple(tags_of(task, result)),
        )
        for task, result in annotation.results.items()
    ]  # fmt: skip


def tags_of(task: str, result: schemas.TaskResult) -> list[Tag]:
    """What filters find: a tag a label, as sure as it was at best. A detected face is a person, whoever it is."""
    name, best = TAGS.get(task), dict[str, float]()
    for label in result.labels:
        best[label.label] = max(label.confidence, best.get(label.label, 0.0))
    if name == "text" and len(best) > 1:
        # Lines of one picture are read together too, so that words that stand on two of them are found.
        best[" ".join(label.label for label in result.labels)] = min(best.values())
    return [Tag(name, label, confidence, result.model) for label, confidence in best.items() if name]


def skipped(asset: Asset) -> dict[StageName, StageState]:
    """Stages that nothing is done in for an asset of this kind."""
    stages: dict[StageName, tuple[str, ...]] = {"annotate": ANNOTATED, "preview": ("shape3d",)}
    return {stage: "skipped" for stage, kinds in stages.items() if asset.kind not in kinds}


def reason(problem: Problem) -> str:
    """Why something failed, as it is kept with what failed."""
    return f"{problem.code}: {problem.detail}" + (f"; {problem.remedy}" if problem.remedy else "")


async def keep_faces(people: PeopleGraph, asset: Asset, seen: list[FacesAt]) -> None:
    """Keep the vectors of the faces, so that they are found and named anew, in place of earlier ones."""
    if people.model is None:
        return
    named = [each for each in seen if each.seen.face_vectors is not None]
    faces, names, times = [], [], []
    for each in named:
        for face, label in zip(each.seen.faces, each.seen.labels, strict=True):
            faces.append(replace(face, box=at_full_size(label, each.scale).box))
            names.append(label.label)
            times.append(each.timestamp_s)
    empty = np.empty((0, 0), np.float32)
    vectors = np.concatenate([each.seen.face_vectors for each in named]) if named else empty
    await people.keep(asset, faces, vectors, names, times)
