"""What the annotators found in the views of a 3D model, in the shapes that a client sees."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from graphs.annotators import ANNOTATORS as OF_PICTURES
from graphs.annotators import Annotators
from graphs.findings import Findings, raise_momentary
from graphs.image import verdict
from serve_app.annotation.views import in_order, unique
from serve_app.media.enclosure import NamedCamera
from serve_app.media.mesh_process import MeshFacts
from serve_app.wire import schemas

ANNOTATORS = {name: OF_PICTURES[name].result for name in ("objects", "captions", "concerns", "nsfw", "embedding")}
"""What a client asks for, and the name of the result."""


def results(findings: Mapping[str, Findings], annotators: Annotators) -> dict[str, schemas.TaskResult]:
    """Every annotator's answer by its result's name.

    Raises the annotators' problem where none could answer but another try may mend it.
    """
    raise_momentary(findings)
    return {ANNOTATORS[name]: _result(name, each, annotators) for name, each in findings.items()}


def info(facts: MeshFacts, sha256: str) -> schemas.ShapeInfo:
    """What a client sees of the facts of a mesh."""
    fields = {name: value for name, value in asdict(facts).items() if name in schemas.ShapeInfo.model_fields}
    return schemas.ShapeInfo(sha256=sha256, **fields)


def views(cameras: Sequence[NamedCamera], pictures: Sequence[bytes] | None = None) -> list[schemas.View]:
    """From where a mesh was looked at, with the ``pictures`` (PNG) where they are wanted."""
    shown = [None] * len(cameras) if pictures is None else [base64.b64encode(each).decode() for each in pictures]
    return [
        schemas.View(azimuth=each.azimuth, elevation=each.elevation, inside=each.inside, picture=picture)
        for each, picture in zip(cameras, shown, strict=True)
    ]


def _result(name: str, findings: Findings, annotators: Annotators) -> schemas.TaskResult:
    result = findings.refusal()
    if result is None:
        if name == "embedding":
            result = _embeddings(findings)
        elif OF_PICTURES[name].yes:
            result = _verdict(name, findings, annotators)
        else:
            result = _labels(findings)
        result = result.model_copy(update={"error": findings.shortfall("views")})
    return result.model_copy(update={"model": annotators.models.key(OF_PICTURES[name].task)})


def _labels(findings: Findings) -> schemas.TaskResult:
    """Each label once."""
    seen = unique({number: each.labels for number, each in findings.seen.items()})
    labels = [
        schemas.Label(
            label=each.label.label, confidence=each.label.confidence, box=each.label.box, views=list(each.views)
        )
        for each in seen
    ]
    return schemas.TaskResult(status="ok", labels=labels)


def _verdict(name: str, findings: Findings, annotators: Annotators) -> schemas.TaskResult:
    """Of a yes-or-no annotator: the score is that of the surest view, the label has the views of which it says yes."""
    scores = {number: seen.score or 0.0 for number, seen in findings.seen.items()}
    best = max(scores.values(), default=0.0)
    yes = {number: score for number, score in scores.items() if annotators.says_yes(name, score)}
    fields = verdict(name, best, bool(yes))
    if yes:
        fields["labels"] = [
            schemas.Label(label=str(OF_PICTURES[name].yes), confidence=best, views=list(in_order(yes)))
        ]  # fmt: skip
    return schemas.TaskResult(status="ok").model_copy(update=fields)


def _embeddings(findings: Findings) -> schemas.TaskResult:
    """The vector of each view."""
    found = [
        schemas.ViewEmbedding(view=number, embedding=seen.vector.tolist())
        for number, seen in sorted(findings.seen.items())
        if seen.vector is not None
    ]
    return schemas.TaskResult(status="ok", embeddings=found)
