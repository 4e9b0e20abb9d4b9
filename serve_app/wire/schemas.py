"""The shapes a client sees; every door speaks these, and the graphs answer in them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

State = Literal["pending", "running", "ready", "failed", "skipped"]
Kind = Literal["text", "image", "audio", "video", "video360", "shape3d"]
Modality = Literal["text", "image", "video", "shape3d"]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Box = tuple[float, float, float, float]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Shape(BaseModel):
    """Base of every shape: unknown fields are refused, ``model_*`` names are allowed."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Occurrence(Shape):
    """One time that a label was seen in a video: at a moment or from ``start_s`` to ``end_s``."""

    confidence: float = Field(ge=0, le=1, examples=[0.93])
    timestamp_s: float | None = Field(None, description="when, in seconds of the file's own time", examples=[3.2])
    start_s: float | None = Field(None, examples=[2.0])
    end_s: float | None = Field(None, examples=[7.5])
    box: Box | None = Field(None, description="x1, y1, x2, y2 in pixels of the upright picture")


class Label(Shape):
    """Something that an annotator saw; of a video with the time where it was seen best and with all ``times``."""

    label: str = Field(examples=["cube"])
    confidence: float = Field(ge=0, le=1, examples=[0.93])
    box: Box | None = Field(
        None, description="x1, y1, x2, y2 in pixels of the upright picture", examples=[(12.0, 8.5, 140.0, 131.0)]
    )
    timestamp_s: float | None = Field(None, description="of a video: when it was seen best, in seconds")
    start_s: float | None = Field(None, description="of a video: where the part begins in which it was seen best")
    end_s: float | None = None
    times: list[Occurrence] | None = Field(None, description="of a video: every occurrence, in the order of time")
    views: list[int] | None = Field(
        None, description="of a 3D model: the views that saw it, the surest first; the box is in that one"
    )


class SceneSpan(Shape):
    """One scene; the ends are exclusive: ``end_frame`` is the first frame of the next scene."""

    start_s: float = Field(description="in seconds of the file's own time", examples=[0.0])
    end_s: float = Field(examples=[4.2])
    start_frame: int = Field(examples=[0])
    end_frame: int = Field(examples=[105])


class Moment(Shape):
    """A part of a video."""

    start_s: float = Field(examples=[4.2])
    end_s: float = Field(examples=[9.8])


class SceneEmbedding(Moment):
    """The unit vector of one frame of a scene."""

    embedding: list[float]


class ViewEmbedding(Shape):
    """The unit vector of a view of a 3D model."""

    view: int
    embedding: list[float]


class TaskResult(Shape):
    """One annotator's answer; it speaks for itself and never fails the others."""

    status: Literal["ok", "unavailable", "failed"]
    model: str | None = Field(None, description="name@revision of the model that answered", examples=["fastestdet@1"])
    labels: list[Label] = []
    embedding: list[float] | None = Field(None, description="the unit vector, of cross_modal_embedding only")
    embeddings: list[SceneEmbedding] | list[ViewEmbedding] | None = Field(
        None, description="of a video: a vector each scene; of a 3D model: each view"
    )
    is_disturbing: bool | None = Field(None, description="of disturbing_content only")
    is_meme: bool | None = Field(None, description="of meme_detection only")
    is_nsfw: bool | None = Field(None, description="of nsfw only")
    score: float | None = Field(None, ge=0, le=1, description="how sure a yes-or-no annotator is of yes")
    explanation: str | None = Field(
        None, description="of meme_detection with explain=true: the attention map over the picture, a PNG in base64"
    )
    error: str | None = None
    remedy: str | None = Field(None, description="what makes an unavailable annotator available")


class MediaInfo(Shape):
    """What the bytes are, sniffed from their content."""

    media_type: str = Field(examples=["image/jpeg"])
    sha256: str
    width: int | None = Field(None, description="pixels of the upright picture")
    height: int | None = None
    duration_s: float | None = Field(None, description="of a video")


class Annotation(Shape):
    """The answer of ``/v1/annotate/...``."""

    asset: MediaInfo
    results: dict[str, TaskResult]
    seen_faces: SkipJsonSchema[list[Any]] = Field(default=[], exclude=True, repr=False)
    """Faces with their vectors, for what is stored of an asset; no client sees them."""


class Decoded(Shape):
    """How much of a video could be read."""

    frames: int = Field(description="frames that were decoded", examples=[250])
    expected: int | None = Field(None, description="frames that the file announces", examples=[250])
    errors: int = Field(description="packets and frames that could not be decoded", examples=[0])
    complete: bool = Field(description="whether it was read to its end")


class StageTimes(Shape):
    """Where the time went, in seconds."""

    load_s: float = Field(description="decoding and splitting", examples=[0.8])
    annotate_s: float = Field(description="from the first frame that an annotator got to the last answer")
    after_last_frame_s: float = Field(description="from the last frame to the answer", examples=[0.1])
    total_s: float


class VideoAnnotation(Annotation):
    """The answer of ``/v1/annotate/video``."""

    scenes: list[SceneSpan]
    decoded: Decoded
    stage: StageTimes


class VideoProgress(Shape):
    """How far the annotation of a video is."""

    frames: int = Field(description="frames decoded so far", examples=[120])
    expected: int | None = Field(None, description="frames that the file announces", examples=[250])
    progress: float | None = Field(None, ge=0, le=1, examples=[0.48])
    scenes: int = Field(description="scenes found so far", examples=[2])


class ShapeInfo(MediaInfo):
    """A 3D model as it was read."""

    format: str = Field(description="what was read, in an archive too", examples=["glb"])
    triangles: int = Field(examples=[12])
    vertices: int = Field(examples=[24])
    points: int = Field(0, description="of a point cloud, which is drawn as a splat a point")
    bodies: int = Field(1, description="pieces that the file's scene consists of")
    textured: bool
    size: tuple[float, float, float] = Field(
        description="extents along X, Y (up) and Z, in the file's own unit", examples=[(1.0, 1.0, 1.0)]
    )


class View(Shape):
    """From where a 3D model was looked at: from all around it or, ``inside``, from a place in it all around."""

    azimuth: float = Field(description="degrees; 0 is from +Z (inside: towards it), 90 from +X", examples=[45.0])
    elevation: float = Field(description="degrees above the horizon", examples=[0.0])
    inside: bool
    picture: str | None = Field(None, description="with pictures=true: what was seen, a PNG in base64", repr=False)


class ShapeTimes(Shape):
    """Where the time went, in seconds."""

    load_s: float = Field(examples=[0.4])
    render_s: float = Field(examples=[0.6])
    annotate_s: float = Field(examples=[0.8])
    total_s: float = Field(examples=[1.9])


class ShapeAnnotation(Annotation):
    """The answer of ``/v1/annotate/3d``."""

    asset: ShapeInfo
    views: list[View] = Field(description="labels name them by their number here, from 0")
    notes: list[str] = Field([], description="what is not as the file says, such as a texture that is missing")
    stage: ShapeTimes
    view_keys: SkipJsonSchema[list[str]] = Field(default=[], exclude=True, repr=False)
    """What tells each view's picture from others of the same file, for what is stored of an asset."""


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
    duration_s: float | None = None
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
    kind: Kind
    state: Literal["processing", "ready", "failed"]
    results: dict[str, TaskResult]
    scenes: list[SceneSpan] | None = Field(None, description="of a video")
    shape: ShapeInfo | None = Field(None, description="of a 3D model")
    views: list[View] | None = Field(None, description="of a 3D model")
    notes: list[str] | None = Field(None, description="of a 3D model")


class JobDetail(Shape):
    """What a running job is at."""

    stage: str = Field(examples=["annotate"])
    frames: int | None = Field(None, description="frames decoded so far", examples=[1200])
    expected: int | None = Field(None, description="frames that the file announces", examples=[7500])
    done: int | None = Field(None, description="vectors made so far", examples=[4000])
    total: int | None = Field(None, description="vectors to be made", examples=[10000])


class Job(Shape):
    """A piece of work in the background. The states after ``running`` are final."""

    id: str
    kind: str = Field(examples=["process"])
    asset_id: str | None = None
    state: JobState
    progress: float = Field(ge=0, le=1, examples=[0.16])
    detail: JobDetail | None = None
    error: str | None = Field(None, description="why it failed")
    attempts: int = Field(description="how often it was begun; a worker that dies leaves it to another")
    created_at: datetime
    finished_at: datetime | None = None


class JobPage(Shape):
    """A page of jobs, newest first; ``next_cursor`` is null on the last one."""

    items: list[Job]
    next_cursor: str | None = None


class TextQuery(Shape):
    """A search by text."""

    text: str = Field(
        max_length=1_000_000,
        description="looked for by what it means and by its words: what has all of three letters or more in its "
        "description, caption, text or print",
        examples=["a page of text about segmentation"],
    )
    k: int = Field(10, description="at most this many a modality, 1 to 10,000")
    min_score: Finite | Literal["auto"] | None = Field(
        None,
        description='leave out what scores less; "auto" takes the thresholds measured for the model. What has the '
        "words of the text stays",
    )
    filter: str | None = Field(None, max_length=4096, examples=['object:person -meme owner:anna action:"playing">0.5'])
    username: str | None = Field(None, max_length=1000, description="this user's own items are left out")
    modalities: list[Modality] = Field(["text", "image", "video", "shape3d"], min_length=1, max_length=16)
    diversity: float = Field(
        0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="above 0: prefer what differs from the results before it (maximal marginal relevance among the "
        "nearest, at most 1,000 of them); the order is then no longer that of the scores",
        examples=[0.3],
    )
    cursor: str | None = Field(
        None,
        max_length=110_000,
        description="next_cursor of the page before, with the same text or file, filter, username and modalities",
    )


class Ranking(Shape):
    """Ids and cosines, best first; where words found some, ranks by vectors and by words are blended."""

    contents: list[str]
    scores: list[float] = Field(description="the cosine of each with the query, also of what its words found")
    words: list[bool] | None = Field(
        default=None, description="which of the results have the words of the query; absent where none has"
    )


class VideoRanking(Ranking):
    """Each video once, with the moment that fits best."""

    moments: list[Moment]


class ShapeRanking(Ranking):
    """Each 3D asset once, with the number of the view that fits best."""

    views: list[int] = Field(description="places in the ``views`` of each asset's annotation, from 0")


class SearchResult(Shape):
    """Results a modality; scores of different modalities do not compare."""

    text: Ranking | None = None
    image: Ranking | None = None
    video: VideoRanking | None = None
    shape3d: ShapeRanking | None = None
    partial: bool = Field(description="true when a shard did not answer in time")
    truncated: bool = Field(False, description="true when the query text was cut at the text tower's limit")
    next_cursor: str | None = Field(
        default=None,
        description="asks for the next page, which repeats nothing and leaves nothing out, whatever is added or "
        "deleted meanwhile. The last page has none, nor does one after which 10,000 results would have been given",
    )
    time: float = Field(description="seconds")


class TaskStatus(Shape):
    """How one task stands."""

    task: str
    model: str | None = None
    revision: str | None = None
    state: Literal["ready", "starting", "unavailable"]
    title: str | None = None
    remedy: str | None = None
    device: str | None = Field(None, description="where it runs, of what may run in several places", examples=["cpu"])


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
