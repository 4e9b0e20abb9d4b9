"""What the doors need from behind them. The graphs implement these; tests may use a small fake."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, Protocol, Self

from serve_app.errors import Problem
from serve_app.wire import index_schemas, people_schemas, recommendation_schemas, rendition_schemas, schemas

WHOLE_BYTES = 256 * 1024 * 1024
"""What is read into memory at once; larger files are videos, which are read a piece at a time."""


@dataclass(frozen=True)
class Upload:
    """A file that came in, with its size in bytes and the name its client gave it (never trusted).

    ``file`` is seekable, on disk when it is large, and closed once the request has ended.
    """

    file: BinaryIO
    size: int
    name: str | None = None

    @classmethod
    def of(cls, data: bytes, name: str | None = None) -> Self:
        """An upload of bytes at hand."""
        return cls(io.BytesIO(data), len(data), name)

    @property
    def data(self) -> bytes:
        """The whole of it; for pictures and texts, which are small: ``too_large`` beyond ``WHOLE_BYTES``."""
        if self.size > WHOLE_BYTES:
            raise Problem("too_large", f"a file of this kind is larger than {WHOLE_BYTES} bytes")
        self.file.seek(0)
        return self.file.read()


@dataclass(frozen=True)
class NewAsset:
    """What ``POST /v1/assets`` asks for. ``media_type`` is what its client says that it is, to be checked."""

    upload: Upload
    owner: str
    id: str | None = None
    description: str | None = None
    idempotency_key: str | None = None
    media_type: str | None = None


@dataclass(frozen=True)
class Download:
    """A stored file on its way out; whoever sends ``stream`` closes it.

    ``ours`` is a file that this service made, such as a thumbnail, and not what somebody posted; ``sha256`` is its hex
    digest. ``immutable``: under this address there will never be another content, since its name comes from it.
    """

    media_type: str
    size: int
    name: str
    stream: BinaryIO
    sha256: str
    ours: bool = False
    immutable: bool = False


class ImagePort(Protocol):
    """Annotation of pictures."""

    def parse_annotators(self, names: str | None) -> tuple[str, ...]: ...
    async def annotate(self, data: bytes, annotators: Sequence[str], explain: bool) -> schemas.Annotation: ...


class VideoPort(Protocol):
    """Annotation of videos."""

    def parse_annotators(self, names: str | None) -> tuple[str, ...]: ...
    def annotate(
        self, upload: Upload, annotators: Sequence[str], seed: int
    ) -> AsyncGenerator[schemas.VideoProgress | schemas.VideoAnnotation, None]:
        """Progress, and at last the annotation; whoever stops earlier closes the generator, which stops the work."""
        ...


class ShapePort(Protocol):
    """Annotation of 3D models, and a picture of one."""

    def parse_annotators(self, names: str | None) -> tuple[str, ...]: ...
    async def annotate(
        self, upload: Upload, annotators: Sequence[str], up: Literal["y", "z"] | None, pictures: bool
    ) -> schemas.ShapeAnnotation: ...
    async def thumbnail(self, upload: Upload) -> bytes:
        """A PNG."""
        ...


Direct = Literal["thumbnail", "summary", "sound"]
"""What is made of a video at once."""


class TranscodePort(Protocol):
    """What is made of a video while its client waits."""

    async def direct(self, upload: Upload, what: Direct, format: str, side: int) -> tuple[bytes, str]:
        """The file and its media type; ``side`` is the most pixels of one. Raises ``unprocessable`` where it lacks what
        is asked for."""
        ...


class JobPort(Protocol):
    """Work in the background."""

    async def get(self, id: str) -> schemas.Job: ...
    async def page(
        self, *, state: str | None, asset_id: str | None, limit: int, cursor: str | None
    ) -> schemas.JobPage: ...
    async def cancel(self, id: str) -> schemas.Job: ...
    def events(self, id: str) -> AsyncGenerator[schemas.Job, None]:
        """The job now, then at each change; the last one has ended. Raises ``not_found`` before the first."""
        ...


class AssetPort(Protocol):
    """Storing, listing, deleting."""

    async def add(self, new: NewAsset) -> tuple[schemas.Asset, bool]: ...
    async def add_many(self, news: Sequence[NewAsset]) -> list[tuple[schemas.Asset, bool] | Problem]:
        """Each as ``add`` would, in one transaction; what is wrong with one costs the others nothing."""
        ...

    async def get(self, id: str) -> schemas.Asset: ...
    async def annotations(self, id: str) -> schemas.AssetAnnotations: ...
    async def renditions(self, id: str) -> rendition_schemas.Renditions: ...
    async def download(self, id: str, path: str) -> Download: ...
    async def adapt(self, id: str, preset: str, idempotency_key: str | None) -> tuple[schemas.Job, bool]:
        """The job, and whether it is new."""
        ...

    async def delete(self, id: str) -> None: ...
    async def page(
        self, *, owner: str | None, kind: str | None, sha256: str | None, filter: str | None, limit: int,
        cursor: str | None,
    ) -> schemas.AssetPage: ...  # fmt: skip


class RetrievalPort(Protocol):
    """Search, and the legacy adding and retrieving."""

    async def search_text(self, query: schemas.TextQuery) -> schemas.SearchResult: ...
    async def search_image(self, data: bytes, query: schemas.TextQuery) -> schemas.SearchResult: ...
    async def add_content(self, id: str, type: str, user: str, data: bytes) -> None: ...
    async def retrieve(self, type: str, user: str, k: int, data: bytes) -> dict[str, Any]: ...


class RecommendationPort(Protocol):
    """Recommendation from a user's own posts."""

    async def recommend(self, user: str, k: int) -> dict[str, Any]: ...
    async def recommendations(
        self, user: str, k: int, d: float, seed: int, mode: recommendation_schemas.Mode
    ) -> recommendation_schemas.Recommendations: ...
    async def starter(self, k: int) -> recommendation_schemas.Starters: ...
    async def interests(self, user: str) -> recommendation_schemas.Interests: ...
    async def put_interests(
        self, user: str, picked: recommendation_schemas.Interests
    ) -> recommendation_schemas.Interests: ...


class PeoplePort(Protocol):
    """Whom the service recognises."""

    async def add(self, name: str, uploads: Sequence[Upload]) -> tuple[people_schemas.Person, bool]: ...
    async def page(self, *, limit: int, cursor: str | None) -> people_schemas.PeoplePage: ...
    async def get(self, name: str) -> people_schemas.Person: ...
    async def face(self, name: str, face: int) -> bytes: ...
    async def rename(self, name: str, new: str) -> people_schemas.Person: ...
    async def merge(self, name: str, other: str) -> people_schemas.Person: ...
    async def unmerge(self, name: str, other: str) -> people_schemas.Person: ...
    async def split(self, name: str, faces: Sequence[int], into: str) -> people_schemas.Person: ...
    async def delete(self, name: str, erase: bool) -> None: ...
    async def export(self, name: str) -> bytes: ...
    async def search(self, data: bytes, owner: str, k: int) -> people_schemas.FaceHits: ...


class IndexPort(Protocol):
    """What is searched, and what is to be."""

    async def status(self) -> index_schemas.Index: ...
    async def reindex(self, model: str) -> schemas.Job: ...
    async def rollback(self, task: str) -> schemas.Job: ...
    async def examine(self, files: bool = False) -> index_schemas.Diagnosis: ...
    async def repair(self) -> index_schemas.Diagnosis: ...


class HealthPort(Protocol):
    """How every task stands."""

    async def ready(self) -> schemas.Readiness: ...


@dataclass(frozen=True)
class Services:
    """Everything a door may call, and the bound on what it reads."""

    image: ImagePort
    assets: AssetPort
    retrieval: RetrievalPort
    recommendation: RecommendationPort
    health: HealthPort
    video: VideoPort
    jobs: JobPort
    people: PeoplePort | None = None
    shape3d: ShapePort | None = None
    index: IndexPort | None = None
    transcoding: TranscodePort | None = None
    max_upload_bytes: int = 256 * 1024 * 1024
