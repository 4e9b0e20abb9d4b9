"""The shapes a client sees; every door speaks these, and the graphs answer in them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["pending", "running", "ready", "failed", "skipped"]
Kind = Literal["text", "image", "audio", "video", "video360", "shape3d"]
Modality = Literal["text", "image"]


class Shape(BaseModel):
    """Base of every shape: unknown fields are refused, ``model_*`` names are allowed."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Label(Shape):
    """Something that an annotator saw."""

    label: str = Field(examples=["cube"])
    confidence: float = Field(ge=0, le=1, examples=[0.93])
    box: tuple[float, float, float, float] | None = Field(
        None, description="x1, y1, x2, y2 in pixels of the upright picture", examples=[(12.0, 8.5, 140.0, 131.0)]
    )


class TaskResult(Shape):
    """One annotator's answer; it speaks for itself and never fails the others."""

    status: Literal["ok", "unavailable", "failed"]
    model: str | None = Field(None, description="name@revision of the model that answered", examples=["fastestdet@1"])
    labels: list[Label] = []
    embedding: list[float] | None = Field(None, description="the unit vector, of cross_modal_embedding only")
    error: str | None = None
    remedy: str | None = Field(None, description="what makes an unavailable annotator available")


class MediaInfo(Shape):
    """What the bytes are, sniffed from their content."""

    media_type: str = Field(examples=["image/jpeg"])
    sha256: str
    width: int | None = Field(None, description="pixels of the upright picture")
    height: int | None = None


class Annotation(Shape):
    """The answer of ``/v1/annotate/...``."""

    asset: MediaInfo
    results: dict[str, TaskResult]


class Stage(Shape):
    """How far one stage of an asset's processing is."""

    state: State
    error: str | None = None


class Asset(Shape):
    """An asset as stored."""

    id: str
    owner: str
    kind: Kind
    media_type: str
    sha256: str
    bytes: int
    width: int | None = None
    height: int | None = None
    description: str | None = None
    state: Literal["processing", "ready", "failed"]
    stages: dict[str, Stage]
    created_at: datetime


class AssetPage(Shape):
    """A page of assets, newest first; ``next_cursor`` is null on the last one."""

    items: list[Asset]
    next_cursor: str | None = None


class AssetAnnotations(Shape):
    """Everything that is known about an asset's content."""

    id: str
    state: Literal["processing", "ready", "failed"]
    results: dict[str, TaskResult]


class Renditions(Shape):
    """The shapes an asset was adapted to; none in this version, which stores originals only."""

    id: str
    items: list[dict[str, str]] = []


class TextQuery(Shape):
    """A search by text."""

    text: str = Field(max_length=1_000_000, examples=["a page of text about segmentation"])
    k: int = Field(10, description="at most this many a modality, 1 to 10,000")
    min_score: float | Literal["auto"] | None = Field(
        None, description='leave out what scores less; "auto" takes the thresholds measured for the model'
    )
    filter: str | None = Field(None, max_length=4096, examples=['object:person -meme owner:anna action:"playing">0.5'])
    username: str | None = Field(None, description="this user's own items are left out")
    modalities: list[Modality] = Field(["text", "image"], min_length=1)


class Ranking(Shape):
    """Ids and cosines, best first."""

    contents: list[str]
    scores: list[float]


class SearchResult(Shape):
    """Results a modality; scores of different modalities do not compare."""

    text: Ranking | None = None
    image: Ranking | None = None
    partial: bool = Field(description="true when a shard did not answer in time")
    truncated: bool = Field(False, description="true when the query text was cut at the text tower's limit")
    time: float = Field(description="seconds")


class TaskStatus(Shape):
    """How one task stands."""

    task: str
    model: str | None = None
    revision: str | None = None
    state: Literal["ready", "starting", "unavailable"]
    title: str | None = None
    remedy: str | None = None


class Readiness(Shape):
    """The answer of ``/health/ready``; 200 when ``ready``, else 503."""

    ready: bool
    profile: str
    tasks: list[TaskStatus]


class ProblemDetail(BaseModel):
    """RFC 9457 problem+json."""

    type: str = "about:blank"
    title: str
    status: int
    code: str = Field(examples=["undecodable_media"])
    detail: str
    remedy: str | None = None
