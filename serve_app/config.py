"""What an operator may set: the application's arguments, the resource table and the Serve file around them.

Serve ignores unknown keys in silence, so ``check_config`` reads the file with these strict models instead and names the
path of every fault.
"""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Callable
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serve_app.models.manifest import Manifest, ManifestError, Model, UniqueKeys, load_manifest
from serve_app.retrieval import kinds
from serve_app.retrieval.thresholds import load_thresholds

DEPLOYMENTS = (
    "ingress",
    "clip_encoder",
    "sentence_encoder",
    "object_detector",
    "face_detector",
    "face_descriptor",
    "meme_detector",
    "text_reader",
    "still_actions",
    "captioner",
    "action_recognizer",
    "concern_detector",
    "nsfw_detector",
    "scene_splitter",
    "multi_view_renderer",
    "transcoder",
    "faiss_shard",
    "recommender",
    "job_runner",
)
TASKS = ("cross_modal_embedding", "object_detection", "face_detection")
"""Tasks that a profile must serve for the application to stand."""

Count = Annotated[int, Field(ge=1)]
AnnotatorName = Literal["objects", "actions", "faces", "memes", "concerns", "nsfw", "captions", "texts", "embedding"]
T = TypeVar("T")


class Strict(BaseModel):
    """Unknown keys are faults, and so are numbers without end."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class VideoArgs(Strict):
    """How videos are read, and what a file may ask for; what goes beyond is refused, with the limit in the answer."""

    scene_detector: Literal["correlation", "adaptive"] = "adaptive"
    """``correlation`` is the report's method, ``adaptive`` the better one."""
    max_scene_s: Annotated[float, Field(ge=1, le=600)] = 10.0
    """Longer scenes are cut into pieces of this length."""
    max_duration_s: Annotated[float, Field(gt=0)] = 4 * 3600
    max_megapixels: Annotated[float, Field(gt=0, le=1000)] = 36.0
    """Of one frame; 8K has 33."""
    max_frames: Count = 1_000_000
    max_decode_s: Annotated[float, Field(gt=0)] = 3600
    """Wall clock."""
    max_memory_mb: Annotated[int, Field(ge=512)] = 4096
    """Address space of the process that decodes."""


class Shape3dArgs(Strict):
    """How 3D models are read and drawn, and what a file may ask for; what goes beyond is refused."""

    distance: Annotated[float, Field(ge=1.2, le=10)] = 2.0
    """Of the cameras around a model, which is scaled to radius 1."""
    elevation_deg: Annotated[float, Field(ge=-89, le=89)] = 0.0
    """Of the cameras around a model, above the horizon."""
    azimuths_deg: Annotated[tuple[Annotated[float, Field(ge=0, lt=360)], ...], Field(min_length=1, max_length=24)] = (
        0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0,
    )  # fmt: skip
    """Where the cameras stand around a model; 0 is in front (+Z). The same directions are looked at from inside."""
    field_deg: Annotated[float, Field(ge=10, le=120)] = 60.0
    """Angle of view around a model."""
    inside_field_deg: Annotated[float, Field(ge=10, le=120)] = 75.0
    """Angle of view inside a room."""
    size: Annotated[int, Field(ge=64, le=2048)] = 1024
    """Pixels of a view's side."""
    thumbnail_size: Annotated[int, Field(ge=64, le=1024)] = 512
    turntable_size: Annotated[int, Field(ge=64, le=640)] = 320
    turntable_frames: Annotated[int, Field(ge=4, le=72)] = 24
    max_triangles: Annotated[int, Field(ge=1000)] = 2_000_000
    max_points: Annotated[int, Field(ge=1000)] = 2_000_000
    """Of a point cloud."""
    max_bodies: Count = 10_000
    """Pieces of a file's scene."""
    max_archive_mb: Count = 1024
    """Of an archive, uncompressed."""
    max_load_s: Annotated[float, Field(ge=1, le=280)] = 120.0
    """Seconds that reading may take."""
    max_memory_mb: Annotated[int, Field(ge=1024)] = 4096
    """Address space of the process that reads."""

    @model_validator(mode="after")
    def _different(self) -> Self:
        if len(set(self.azimuths_deg)) < len(self.azimuths_deg):
            raise ValueError("azimuths_deg: two views would be the same")
        return self


class AppArgs(Strict):
    """The application's arguments, ``args`` of the Serve file."""

    profile: str = "embedded"
    """Which row of each task's models: embedded, light or full (``configs/models.yaml``)."""
    models: dict[str, str | None] = {}
    """Another model for a task than the profile's: task to model name; null leaves the task out."""
    home: str | None = None
    """Where weights, the catalog and files lie; ``MEDIAVERSE_HOME`` or ``~/.mediaverse`` when left out."""
    catalog: str | None = None
    """SQLAlchemy URL: ``sqlite:////data/catalog.db`` or ``postgresql+psycopg://user@host/name``; SQLite in home."""
    files: str | None = None
    """fsspec URL of stored files: ``file:///data/files``, ``s3://bucket/prefix``; a folder in home."""
    shards: Annotated[int, Field(ge=1, le=256)] = 1
    """FAISS shards; each holds the vectors that hash to it."""
    index: kinds.Setting = kinds.AUTO
    """Of a shard: ``auto`` (by size, ``configs/indexes.yaml``), a FAISS index-factory string, or either a modality."""
    search_deadline_s: Annotated[float, Field(gt=0, le=600)] = 5.0
    """How long a shard may take for a search; one that takes longer is missing from the answer, which says so."""
    resources: Literal["auto", "cpu", "gpu"] = "auto"
    """Column of ``configs/resources.yaml``; ``auto`` takes gpu where the cluster advertises GPUs."""
    max_upload_mb: Annotated[int, Field(ge=1, le=65536)] = 2048
    """Largest file that is taken."""
    video: VideoArgs = VideoArgs()
    """How videos are read."""
    shape3d: Shape3dArgs = Shape3dArgs()
    """How 3D models are read and drawn."""
    deadlines_s: dict[AnnotatorName, Annotated[float, Field(gt=0, le=600)]] = {}
    """How long an annotator may take for one picture before its answer is given up; 30 s, captions and texts 60 s."""

    @property
    def home_path(self) -> Path:
        return Path(self.home or os.environ.get("MEDIAVERSE_HOME") or "~/.mediaverse").expanduser().absolute()

    @property
    def catalog_url(self) -> str:
        return self.catalog or f"sqlite:///{self.home_path / 'catalog.db'}"

    @property
    def files_url(self) -> str:
        return self.files or f"file://{self.home_path / 'files'}"

    def rows(self, manifest: Manifest) -> dict[str, Model]:
        """Task to model row; :class:`ManifestError` where a name is unknown or a task is not served.

        Its message begins with the path of the fault among the arguments.
        """
        try:
            rows = manifest.profile(self.profile)
        except ManifestError as error:
            raise ManifestError(f"profile: {error}") from None
        for task, name in self.models.items():
            if name is None and task in TASKS:
                raise ManifestError(f"models.{task}: no service stands without this task")
            if name is None and task in manifest.tasks:
                rows.pop(task, None)
            elif name is None or name not in manifest.models or manifest.models[name].task != task:
                raise ManifestError(f"models.{task}: no model {name!r} for this task")
            else:
                rows[task] = manifest.models[name]
        if missing := [task for task in TASKS if task not in rows]:
            raise ManifestError(f"profile: {self.profile} serves no {', '.join(missing)}")
        encoder = rows["cross_modal_embedding"].key
        for task, row in rows.items():
            if row.classifier and row.classifier.encoder not in (None, encoder):
                raise ManifestError(f"models.{task}: {row.name} judges vectors of {row.classifier.encoder}")
        return rows


class Resources(Strict):
    """One deployment's share of the cluster and its sizes."""

    model_config = ConfigDict(strict=True)  # YAML's yes and no are not the numbers 1 and 0

    num_cpus: Annotated[float, Field(ge=0, le=1024)]
    num_gpus: Annotated[float, Field(ge=0, le=64)]
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    max_batch_size: Count | None = None
    workers: Count | None = None
    max_queue: Count
    min_replicas: Count
    max_replicas: Count
    target_ongoing_requests: Annotated[float, Field(gt=0)]
    max_ongoing_requests: Count

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.num_gpus > 1 and not self.num_gpus.is_integer():
            raise ValueError(f"num_gpus {self.num_gpus:g} is neither a share of one GPU nor a number of whole ones")
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas {self.max_replicas} is below min_replicas {self.min_replicas}")
        if (self.max_batch_size or 0) > self.max_ongoing_requests:
            raise ValueError("max_batch_size is above max_ongoing_requests, so that no batch could ever be full")
        return self


class Budget(Strict):
    """What the replicas at their minimum must fit into."""

    model_config = ConfigDict(strict=True)

    num_cpus: Annotated[float, Field(gt=0)]
    num_gpus: Annotated[float, Field(ge=0)]


class Column(Strict):
    """The resources of every deployment on one kind of cluster."""

    budget: Budget
    deployments: dict[str, Resources]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if set(self.deployments) != set(DEPLOYMENTS):
            wrong = ", ".join(sorted(set(self.deployments) ^ set(DEPLOYMENTS)))
            raise ValueError(f"deployments: missing or unknown: {wrong}")
        for share in ("num_cpus", "num_gpus"):
            # Fractions, since ten tenths as floats are not one.
            parts = (Fraction(str(getattr(row, share))) * row.min_replicas for row in self.deployments.values())
            total, limit = sum(parts, Fraction()), Fraction(str(getattr(self.budget, share)))
            if total > limit:
                raise ValueError(f"deployments ask for {float(total):g} {share}, the budget is {float(limit):g}")
        self._check_gpus()
        return self

    def _check_gpus(self) -> None:
        """A share lies on one GPU, so shares may leave gaps: place them, the largest first, where each first fits."""
        free = [Fraction(1)] * int(self.budget.num_gpus)
        rows = sorted(self.deployments.items(), key=lambda item: -item[1].num_gpus)
        for name, row in (item for item in rows for _ in range(item[1].min_replicas)):
            share, wanted = min(Fraction(str(row.num_gpus)), Fraction(1)), ceil(row.num_gpus)
            places = [place for place, left in enumerate(free) if left >= share][:wanted]
            if len(places) < wanted:
                raise ValueError(f"no GPU of {len(free)} has room for the {row.num_gpus:g} num_gpus of {name}")
            for place in places:
                free[place] -= share


class ResourceTable(Strict):
    """``configs/resources.yaml``."""

    cpu: Column
    gpu: Column


class HttpOptions(Strict):
    """Serve's ``http_options``."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    root_path: str = ""
    request_timeout_s: Annotated[float, Field(gt=0)] | None = None
    keep_alive_timeout_s: Annotated[int, Field(gt=0)] = 90


class LoggingConfig(Strict):
    """Serve's ``logging_config``."""

    encoding: Literal["TEXT", "JSON"] = "TEXT"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    logs_dir: str | None = None
    enable_access_log: bool = True


class ServeApplication(Strict):
    """One entry of Serve's ``applications``."""

    name: str
    route_prefix: str = "/"
    import_path: Literal["graphs.app:build_app"]
    args: AppArgs = AppArgs()
    runtime_env: dict[str, Any] = {}


class ServeConfig(Strict):
    """The Serve file, as far as this application uses it."""

    proxy_location: Literal["EveryNode", "HeadOnly", "Disabled"] = "EveryNode"
    http_options: HttpOptions = HttpOptions()
    logging_config: LoggingConfig = LoggingConfig()
    applications: Annotated[list[ServeApplication], Field(min_length=1, max_length=1)]


def load_resources(path: Path | None = None) -> ResourceTable:
    """The resource table (the shipped one by default).

    Raises ``ValidationError``, ``yaml.YAMLError`` or, for a key that stands twice, :class:`ManifestError`.
    """
    path = path or Path(str(importlib.resources.files("configs") / "resources.yaml"))
    return ResourceTable.model_validate(_read(path))


def check_config(path: Path, resources: Path | None = None, indexes: Path | None = None) -> list[str]:
    """Every fault of a Serve file and the tables it stands on, one line each with its path; empty when all is well.

    Also of the thresholds that were calibrated in the home that it names.
    """
    faults: list[str] = []
    config = _sound(path.name, lambda: ServeConfig.model_validate(_read(path)), faults)
    _sound("resources.yaml", lambda: load_resources(resources), faults)
    table = _sound("indexes.yaml", lambda: kinds.load_table(indexes), faults)
    try:
        load_thresholds(config.applications[0].args.home_path if config else None)
    except ValueError as error:
        faults.append(str(error))
    try:
        manifest = load_manifest()
        for number, application in enumerate(config.applications if config else []):
            _check_rows(manifest, application.args, f"{path.name}: applications.{number}.args", faults, table)
    except ManifestError as error:
        faults += str(error).splitlines()
    return faults


def _read(path: Path) -> object:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)  # noqa: S506  (a SafeLoader)


def _sound(name: str, load: Callable[[], T], faults: list[str]) -> T | None:
    """What ``load`` gives; None, and its faults noted, where there are some."""
    try:
        return load()
    except ValidationError as error:
        faults += _lines(name, error)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ManifestError) as error:
        faults.append(f"{name}: {' '.join(str(error).split())}")
    return None


def _check_rows(
    manifest: Manifest, args: AppArgs, where: str, faults: list[str], table: kinds.IndexTable | None
) -> None:  # fmt: skip
    try:
        clip = args.rows(manifest)["cross_modal_embedding"].clip
        if clip and table:
            faults += [f"{where}.index.{fault}" for fault in kinds.faults(table.kinds(args.index), clip.dim)]
    except ManifestError as error:
        faults.append(f"{where}.{error}")


def _lines(name: str, error: ValidationError) -> list[str]:
    return [f"{name}: {'.'.join(map(str, fault['loc'])) or '(top)'}: {fault['msg']}" for fault in error.errors()]
