"""What the catalog gives back: frozen rows, and the words their columns may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Kind = Literal["text", "image", "audio", "video", "video360", "shape3d"]
Modality = Literal["text", "image", "video", "shape3d"]
StageName = Literal["annotate", "index", "preview", "adapt"]
StageState = Literal["pending", "running", "ready", "failed", "skipped"]
AssetState = Literal["processing", "ready", "failed"]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]

KINDS: tuple[Kind, ...] = ("text", "image", "audio", "video", "video360", "shape3d")
STAGES: tuple[StageName, ...] = ("annotate", "index", "preview", "adapt")
JOB_STATES: tuple[JobState, ...] = ("queued", "running", "succeeded", "failed", "cancelled")

T = TypeVar("T")


@dataclass(frozen=True)
class Stage:
    """How far one stage of an asset's processing has come; ``error`` says why it failed."""

    state: StageState
    error: str | None = None


@dataclass(frozen=True)
class NewAsset:
    """An asset to add. ``file`` is its path in :class:`~serve_app.catalog.files.Files`; without ``id`` one is made.

    ``sha256`` is the hex digest of the file, ``bytes`` its size, ``width`` and ``height`` are upright pixels.
    """

    owner: str
    kind: Kind
    media_type: str
    sha256: str
    bytes: int
    file: str
    id: str | None = None
    description: str | None = None
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None


@dataclass(frozen=True)
class Asset:
    """One asset. ``ordinal`` grows with every asset added; ``created_at`` is UTC."""

    id: str
    owner: str
    kind: Kind
    media_type: str
    sha256: str
    bytes: int
    file: str
    description: str | None
    width: int | None
    height: int | None
    duration_s: float | None
    state: AssetState
    created_at: datetime
    ordinal: int
    stages: Mapping[StageName, Stage]


@dataclass(frozen=True)
class NewContent:
    """A text or a picture posted straight to the index (the reference's ``add_content``)."""

    asset_id: str
    owner: str
    modality: Literal["text", "image"]
    media_type: str
    sha256: str
    bytes: int
    file: str
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Content:
    """One searchable content of an asset: bytes at ``file``, or ``text`` where it is the asset's description.

    A moment of a video (modality "video") is the ``part``-th of its file, from ``start_s`` to ``end_s``; its ``sha256``
    is that of the text "<sha256 of the file>:<first frame>-<frame after the last>". A view of a mesh (modality
    "shape3d") is the ``part``-th of its file, and its ``sha256`` that of "<sha256 of the file>:view-<key of the view>".
    """

    asset_id: str
    modality: Modality
    part: int
    owner: str
    sha256: str
    file: str | None
    text: str | None
    start_s: float | None
    end_s: float | None
    ordinal: int


@dataclass(frozen=True)
class Moment:
    """A piece of a video that is searched for itself: seconds in the file's own time, and frames, ``end_frame`` out."""

    start_s: float
    end_s: float
    start_frame: int
    end_frame: int


@dataclass(frozen=True)
class FoundPart:
    """Whose a part's vector is, and which part of that asset; of a moment also when it is seen there, in seconds."""

    asset_id: str
    part: int
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class NewRendition:
    """A file made of an asset's own. ``file`` is its path in Files, ``name`` (``[A-Za-z0-9._-]``, with
    at most one folder before it) the client's.

    ``sha256`` is the hex digest of the file, ``bytes`` its size, ``width`` and ``height`` are pixels.
    """

    name: str
    media_type: str
    bytes: int
    sha256: str
    file: str
    width: int | None
    height: int | None


@dataclass(frozen=True)
class Rendition(NewRendition):
    """One rendition of an asset; ``created_at`` is UTC."""

    created_at: datetime


@dataclass(frozen=True)
class ContentAdded:
    """The outcome of ``contents.add``: whether the content is new, its vector's ``seq``, and files nobody needs now."""

    asset_id: str
    created: bool
    seq: int
    obsolete_files: tuple[str, ...]


@dataclass(frozen=True)
class ChangePage:
    """Changes of the vector log in columns, in the order of ``seq``: N vectors, their E entries, T labels of these.

    A live vector has an entry for each asset that it stands for, a deleted one has none.
    """

    last_seq: int
    """That of the last of the N; where there is none, that after which the page was asked for."""
    complete: bool
    """Nothing followed when the page was read; a full page does not know and says no."""
    vids: NDArray[np.int64]
    owners: list[str]
    modalities: list[str]
    vectors: list[bytes | None]
    """Float32 little-endian; None: deleted."""
    seqs: NDArray[np.int64]
    entry_rows: NDArray[np.int32]
    """[E] which of the N, ascending."""
    assets: NDArray[np.int64]
    """[E] ``ordinal`` of the assets."""
    kinds: list[str]
    created: NDArray[np.float64]
    """[E] POSIX seconds."""
    tag_entries: NDArray[np.int32]
    """[T] which of the E, ascending."""
    tag_names: list[str]
    tag_values: list[str]
    """[T] folded (``checks.fold``); labels and ``model:<name>``, never the sentences of ``caption`` and ``text``."""
    confidences: NDArray[np.float32]


@dataclass(frozen=True)
class Served:
    """The model whose vectors answer for a task, and the key under which they are kept."""

    task: str
    model: str
    revision: str
    dim: int


@dataclass(frozen=True)
class State:
    """What a search has to know first: the last ``seq`` given, and what is served by task."""

    head: int
    served: dict[str, Served]


@dataclass(frozen=True)
class TaskModels:
    """The models of a task: what is served, what was before, and what shall be once all is embedded with it."""

    served: Served
    previous: Served | None = None
    wanted: Served | None = None


@dataclass(frozen=True)
class Tag:
    """A searchable label: the tag ``name`` (object, action, ...), its ``value`` and a confidence in [0, 1]."""

    name: str
    value: str
    confidence: float = 1.0
    model: str | None = None


Claim = tuple[str, int]


@dataclass(frozen=True)
class Job:
    """A piece of work. ``attempts`` is also the fencing token: it tells one claim of a worker from its next.

    ``progress`` is in [0, 1]; ``detail`` is plain JSON that says more of it, None before the worker said anything.
    """

    id: str
    kind: str
    asset_id: str | None
    payload: Mapping[str, Any]
    state: JobState
    attempts: int
    worker: str | None
    lease_until: datetime | None
    progress: float
    detail: Mapping[str, Any] | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None
    number: int

    @property
    def claim(self) -> Claim:
        """By which its worker holds it: a job whose lease ran out may be claimed again while that one still works."""
        return self.id, self.attempts


@dataclass(frozen=True)
class NewFace:
    """A face by which a person is known: ``picture`` is a crop (JPEG), ``box`` (x1, y1, x2, y2) and ``landmarks`` (five
    x, y, or none) are in its pixels; ``sha256`` is that of the picture it was cut from, ``vector`` unit float32 [D]."""

    picture: bytes
    sha256: str
    box: tuple[float, ...]
    landmarks: tuple[tuple[float, ...], ...]
    confidence: float
    vector: NDArray[np.float32]


@dataclass(frozen=True)
class PersonFace:
    """One face of a person; ``added_as`` is the name that holds it, another than the person's after a merge."""

    id: int
    added_as: str
    sha256: str
    added_at: datetime


@dataclass(frozen=True)
class Person:
    """Somebody who is recognised. ``merged`` are the names that were merged into this one and may come apart again."""

    id: int
    name: str
    created_at: datetime
    faces: tuple[PersonFace, ...]
    merged: tuple[str, ...]


@dataclass(frozen=True)
class PersonRow:
    """A line of the list of people."""

    id: int
    name: str
    created_at: datetime
    faces: int
    merged: tuple[str, ...]


@dataclass(frozen=True)
class KeptCrop:
    """The crop of a person's face: ``box`` and ``landmarks`` are in its pixels."""

    face_id: int
    picture: bytes
    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    confidence: float


@dataclass(frozen=True)
class Known:
    """Faces of a person as vectors float32 [k, D]: the person's own, or those of one who was merged into the person.

    ``id`` is of whoever holds the faces, ``person`` of the person, ``name`` the person's.
    """

    id: int
    person: int
    name: str
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class SeenFace:
    """A face in an asset: ``box`` in pixels of the full upright picture, ``confidence`` that of the detector,
    ``timestamp_s`` of a video; ``name``, ``name_confidence`` and ``person_id`` of whom it shows, None where nobody
    knows. ``vector`` is float32 [D], None once it was erased.
    """

    box: tuple[float, float, float, float]
    confidence: float
    vector: NDArray[np.float32] | None
    timestamp_s: float | None = None
    name: str | None = None
    name_confidence: float | None = None
    person_id: int | None = None


@dataclass(frozen=True)
class Renamed:
    """Whom a face of an asset shows by another state of the gallery."""

    asset_id: str
    number: int
    person_id: int | None
    name_confidence: float | None


@dataclass(frozen=True)
class FaceHit:
    """An asset at the face that is nearest to the one that was looked for; Euclidean ``distance`` of unit vectors."""

    asset_id: str
    distance: float
    box: tuple[float, float, float, float]
    timestamp_s: float | None
    name: str | None


@dataclass(frozen=True)
class Appearance:
    """Where a person is seen."""

    asset_id: str
    owner: str
    timestamp_s: float | None
    box: tuple[float, float, float, float]
    confidence: float


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some items and the cursor of the next page; no cursor means that this was the last."""

    items: tuple[T, ...] = field(default_factory=tuple)
    next_cursor: str | None = None
