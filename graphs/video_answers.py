"""What the annotators found in a video, in the shapes that a client sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from graphs.annotators import ANNOTATORS, FacesAt
from graphs.findings import Findings
from graphs.image import verdict
from serve_app.annotation.timeline import Sighting, in_time, unique
from serve_app.annotation.watch import Done, Scene
from serve_app.media.video import VideoInfo
from serve_app.wire import schemas


@dataclass
class VideoFindings(Findings):
    """One annotator's of a video: what it saw, by time too."""

    sightings: list[Sighting] = field(default_factory=list)
    faces: list[FacesAt] = field(default_factory=list)


def objects(findings: VideoFindings) -> schemas.TaskResult:
    """Each label once, with its best moment and all its times."""
    labels = [
        _label(seen.best).model_copy(update={"times": [_occurrence(each) for each in seen.times]})
        for seen in unique(findings.sightings)
    ]
    return schemas.TaskResult(status="ok", labels=labels)


def faces(findings: VideoFindings) -> schemas.TaskResult:
    """Every occurrence is a label of its own: two faces called "unknown" may be two people."""
    return schemas.TaskResult(status="ok", labels=[_label(each) for each in in_time(findings.sightings)])


def verdicts(
    name: str, findings: Findings, scenes: Sequence[Scene], says_yes: Callable[[float], bool]
) -> schemas.TaskResult:
    """Of a yes-or-no annotator: a label for each scene of which it says yes; the score is that of the surest."""
    scores = {number: seen.score or 0.0 for number, seen in sorted(findings.seen.items())}
    best = max(scores.values(), default=0.0)
    fields = verdict(name, best, says_yes(best))
    fields["labels"] = [
        schemas.Label(
            label=str(ANNOTATORS[name].yes), confidence=score, start_s=scenes[number].start_s,
            end_s=scenes[number].end_s,
        )
        for number, score in scores.items()
        if says_yes(score)
    ]  # fmt: skip
    return schemas.TaskResult(status="ok").model_copy(update=fields)


def sentences(findings: Findings, scenes: Sequence[Scene]) -> schemas.TaskResult:
    """What was said of one frame of each scene."""
    labels = [
        schemas.Label(
            label=label.label, confidence=label.confidence, start_s=scenes[number].start_s, end_s=scenes[number].end_s
        )
        for number, seen in sorted(findings.seen.items())
        for label in seen.labels
    ]  # fmt: skip
    return schemas.TaskResult(status="ok", labels=labels)


def embeddings(findings: Findings, scenes: Sequence[Scene]) -> schemas.TaskResult:
    """The vector of one frame of each scene."""
    found = [
        schemas.SceneEmbedding(
            start_s=scenes[number].start_s, end_s=scenes[number].end_s, embedding=seen.vector.tolist()
        )
        for number, seen in sorted(findings.seen.items())
        if seen.vector is not None
    ]  # fmt: skip
    return schemas.TaskResult(status="ok", embeddings=found)


def annotation(
    info: VideoInfo, sha256: str, scenes: Sequence[Scene], done: Done, results: dict[str, schemas.TaskResult],
    stage: schemas.StageTimes, seen_faces: list[FacesAt],
) -> schemas.VideoAnnotation:  # fmt: skip
    """The whole answer."""
    media = schemas.MediaInfo(
        media_type=info.media_type, sha256=sha256, width=info.width, height=info.height, duration_s=done.duration_s
    )
    read = schemas.Decoded(frames=done.frames, expected=done.expected, errors=done.errors, complete=done.complete)
    return schemas.VideoAnnotation(
        asset=media,
        results=results,
        scenes=[span(scene) for scene in scenes],
        decoded=read,
        stage=stage,
        seen_faces=seen_faces,
    )


def span(scene: Scene) -> schemas.SceneSpan:
    return schemas.SceneSpan(
        start_s=scene.start_s, end_s=scene.end_s, start_frame=scene.start_frame, end_frame=scene.end_frame
    )


def _label(sighting: Sighting) -> schemas.Label:
    return schemas.Label(label=sighting.label.label, **_occurrence(sighting).model_dump())


def _occurrence(sighting: Sighting) -> schemas.Occurrence:
    return schemas.Occurrence(
        confidence=sighting.label.confidence, timestamp_s=sighting.timestamp_s, start_s=sighting.start_s,
        end_s=sighting.end_s, box=sighting.label.box,
    )  # fmt: skip
