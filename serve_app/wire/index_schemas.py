"""The shapes of ``/v1/index``."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from serve_app.wire.schemas import Job, Modality, Shape


class ServedModel(Shape):
    """A model whose vectors are searched, were searched or are to be."""

    model: str = Field(examples=["clip-embedded"])
    revision: str = Field(description="under which its vectors are kept", examples=["clip-embedded@2"])
    dim: int = Field(examples=[256])
    vectors: int = Field(description="of contents that are there")
    missing: int = Field(description="contents that have none")


class TaskIndex(Shape):
    """The models of one task."""

    task: str = Field(examples=["cross_modal_embedding"])
    served: ServedModel | None = None
    wanted: ServedModel | None = Field(None, description="takes the place of the served one once all is embedded")
    previous: ServedModel | None = Field(None, description="what /v1/index/rollback goes back to")
    job: Job | None = Field(None, description="the latest that made vectors of these models")


class Index(Shape):
    """What is searched, and how whole it is."""

    tasks: list[TaskIndex]
    shards: list[dict[str, Any]] = Field(description="as each shard says of itself")
    recall_at_10: float | None = Field(None, description="the least of any index, against exact search, on samples")


class Reindex(Shape):
    """A model that is to be served."""

    model: str = Field(examples=["clip-vit-b-32-openai"])


class Rollback(Shape):
    """A task whose previous model is to be served again."""

    task: str = Field("cross_modal_embedding", examples=["cross_modal_embedding"])


class Finding(Shape):
    """Contents of one kind by one model; ``keys`` = ``vectors`` + ``processing`` + ``explained_failures`` where all is
    well."""

    modality: Modality
    revision: str
    contents: int
    keys: int = Field(description="contents of which no two are the same of one owner")
    vectors: int
    explained_failures: int = Field(description="whose assets say why they have no vector")
    processing: int = Field(description="that a job is still to see to")
    unexplained: int
    unexplained_ids: list[str] = Field([], description="assets that have such, at most 100")
    orphans: int = Field(0, description="vectors that no content refers to")


class FileFinding(Shape):
    """Rows and stored files that do not fit together."""

    missing: int = Field(description="files that rows name and that are not stored")
    missing_files: list[str] = Field([], description="at most 100 of them")
    missing_assets: list[str] = Field([], description="whose they are, at most 100")
    unnamed: int = Field(description="files older than an hour that no row names; they harm nothing")
    unnamed_files: list[str] = Field([], description="at most 100 of them")


class Diagnosis(Shape):
    """What is wrong with the index, in figures and in words."""

    healthy: bool
    findings: list[Finding]
    files: FileFinding | None = Field(None, description="where it was asked for")
    faults: list[str] = Field(description="what is wrong, a sentence each")
    remedy: str | None = None
