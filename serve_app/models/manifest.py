"""``configs/models.yaml`` as typed rows: every network a task may use is one row, nothing is written in code.

A row says what the weights are, under which licence they come, where they are fetched and how a picture is prepared
for them. Logical file names are the words the domains look up in :meth:`serve_app.models.store.Store.locate`:
encoders have ``image``, ``text`` and ``tokenizer``, those of texts alone ``weights`` and ``tokenizer``; detectors,
classifiers, face descriptors and networks for clips have ``weights`` (the last may have ``half`` too, for GPUs); MTCNN
has ``pnet``, ``rnet``, ``onet``. The sections are described in :mod:`serve_app.models.sections`.
"""

from __future__ import annotations

import importlib.resources
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from serve_app.models.sections import (
    Caption,
    Classifier,
    Clip,
    Descriptor,
    Detector,
    LabelsFile,
    Meme,
    Prompts,
    Row,
    Sentence,
    Video,
)

__all__ = [
    "Caption",
    "Classifier",
    "Clip",
    "Descriptor",
    "Detector",
    "File",
    "LabelsFile",
    "Manifest",
    "ManifestError",
    "Meme",
    "Model",
    "Prompts",
    "Sentence",
    "UniqueKeys",
    "UnusableFile",
    "Video",
    "load_manifest",
    "shipped",
]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=120)]
Task = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Conversion = Literal[
    "open_clip", "slowfast", "inception_resnet", "resnet50_faces", "dlib_face", "coca", "tfjs", "sentence_bert"
]

ADDRESS = r"^(https://[^\s/]+|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?)/\S+$"
"""Weights come over https; plain http only from this machine itself."""

ENCODER_FILES = ("image", "text", "tokenizer")
SECTIONS = {
    "object_detection": "detector",
    "video_action_recognition": "video",
    "face_identity": "descriptor",
    "meme_detection": "meme",
}
"""Tasks whose networks are described by a section of the row, and read from a file ``weights``."""
CONCERNS = ("disturbing_content", "nsfw")
HEADS = ("action_recognition", *CONCERNS)
"""Tasks that a classifier, read from a file ``weights``, or mere prompts may serve."""
FACES = ("inception_resnet", "resnet50_faces", "dlib_face")
"""Conversions of face networks, and of nothing else."""
PICKLED = {".pt", ".pth", ".pyth", ".bin", ".ckpt"}
"""Endings of torch files, whose loading may run code: only files with a known hash are loaded."""
SAFE_CONVERSIONS = {"slowfast", "inception_resnet", "coca"}
"""Conversions that load torch files with ``weights_only``: tensors and plain containers are built, no code is run."""


class ManifestError(ValueError):
    """The manifest is wrong; the message has one line a fault, each with its path (``models.mtcnn.files: ...``)."""


class UnusableFile(ValueError):
    """A file of a model is not what its row says, though its hash may be right; ``logical`` is its name in the row."""

    def __init__(self, logical: str, why: str) -> None:
        super().__init__(why)
        self.logical = logical


class File(Row):
    """One file of a model: part of a Python package, fetched from an address, converted from such files, or ``local``:
    published nowhere as it is needed, so that only ``mediaverse models pull NAME --from DIR`` brings it."""

    package: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[\w./-]+$")] | None = None
    url: Annotated[str, StringConstraints(pattern=ADDRESS)] | None = None
    converted: FileName | None = None
    local: FileName | None = None
    sha256: Sha256 | None = None
    bytes: Annotated[int, Field(gt=0)] | None = None

    @property
    def name(self) -> str:
        """Its name on disk, which is also the name ``--from DIR`` looks for."""
        if self.converted or self.local:
            return str(self.converted or self.local)
        if self.url:
            return PurePosixPath(unquote(urlsplit(self.url).path)).name
        return PurePosixPath(str(self.package).partition(":")[2]).name

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if sum(origin is not None for origin in (self.package, self.url, self.converted, self.local)) != 1:
            raise ValueError("give exactly one of package, url, converted, local")
        if self.converted and (self.sha256 or self.bytes):
            raise ValueError("a converted file is made on this machine; it has no sha256 or bytes in the manifest")
        return self

    @property
    def blind_pickle(self) -> bool:
        """Whether it is a torch file from elsewhere of which nobody knows what it should be."""
        return bool(self.url or self.local) and self.sha256 is None and PurePosixPath(self.name).suffix in PICKLED


class Model(Row):
    """One set of weights at one revision."""

    name: Name
    task: Task
    revision: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)]
    licence: Annotated[str, StringConstraints(min_length=1)]
    licence_note: str | None = None
    source: Annotated[str, StringConstraints(min_length=1)]
    card: str | None = None
    files: Annotated[dict[Name, File], Field(min_length=1)]
    convert: Conversion | None = None
    clip: Clip | None = None
    detector: Detector | None = None
    video: Video | None = None
    classifier: Classifier | None = None
    prompts: Prompts | None = None
    caption: Caption | None = None
    meme: Meme | None = None
    descriptor: Descriptor | None = None
    sentence: Sentence | None = None

    @property
    def key(self) -> str:
        """``name@revision``: vectors and folders of weights are keyed by it."""
        return f"{self.name}@{self.revision}"

    @property
    def embedded(self) -> bool:
        """Whether every file ships with a Python package, so that nothing needs to be pulled."""
        return all(file.package for file in self.files.values())

    @property
    def offline(self) -> bool:
        """Whether every file ships with a Python package or is converted from such: no network is ever asked."""
        return all(file.package or file.converted for file in self.files.values())

    @property
    def head(self) -> Classifier | Prompts | None:
        """The section that says how the labels of a whole picture are read."""
        return self.classifier or self.prompts

    @property
    def reads_vectors(self) -> bool:
        """Whether it judges the vector that the encoder makes of a picture, and not the picture."""
        return self.prompts is not None or (self.classifier is not None and self.classifier.on == "vector")

    @property
    def bytes(self) -> int | None:
        """Bytes of the files that are fetched or shipped, or None where one of them is not known."""
        sizes = [file.bytes for file in self.files.values() if not file.converted]
        return None if None in sizes else sum(size or 0 for size in sizes)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [file.name for file in self.files.values()]
        if len(set(names)) < len(names):
            raise ValueError(f"two files have the same name on disk: {sorted(names)}")
        if self.task == "cross_modal_embedding":
            self._whole_encoder()
        if self.task == "text_embedding":
            self._whole_sentences()
        if self.task == "captioning":
            self._whole_captioner()
        if self.task in HEADS:
            self._whole_head()
        self._whole_network()
        self._whole_labels()
        if (self.convert is None) == any(file.converted for file in self.files.values()):
            raise ValueError("convert and converted files belong together")
        if self.convert not in SAFE_CONVERSIONS and (blind := [n for n, f in self.files.items() if f.blind_pickle]):
            raise ValueError(f"files.{blind[0]}: a torch file may run code when it is loaded: it needs a known sha256")
        return self

    def _whole_network(self) -> None:
        """The section and the files that the task, or the conversion, cannot do without."""
        section = SECTIONS.get(self.task)
        if section and getattr(self, section) is None:
            raise ValueError(f"{self.task} needs a {section} section")
        if section and "weights" not in self.files:
            raise ValueError(f"{self.task} needs a file weights")
        if (self.convert in FACES) != (self.task == "face_identity" and self.convert is not None):
            raise ValueError(f"{self.task} has no convert {self.convert}")
        if self.convert in FACES and "checkpoint" not in self.files:
            raise ValueError(f"convert {self.convert} needs a file checkpoint")
        if self.convert == "slowfast" and (self.video is None or "checkpoint" not in self.files):
            raise ValueError("convert slowfast needs a video section and a file checkpoint")

    def _whole_labels(self) -> None:
        """Labels that stand in a file have that file."""
        sections = {"detector": self.detector, "video": self.video, "classifier": self.classifier}
        for name, described in {**sections, "prompts": self.prompts}.items():
            if not described or not isinstance(described.labels, LabelsFile):
                continue
            if described.labels.file not in self.files:
                raise ValueError(f"{name}.labels.file: no file {described.labels.file!r} in files")
            if self.convert == "slowfast" and "classnames" not in self.files:
                raise ValueError("convert slowfast makes the file of labels from a file classnames")

    def _whole_head(self) -> None:
        if self.head is None:
            raise ValueError(f"{self.task} needs a classifier section or prompts")
        if self.classifier and self.prompts:
            raise ValueError("give either a classifier or prompts")
        if self.classifier and "weights" not in self.files:
            raise ValueError(f"{self.task} needs a file weights")
        if (self.task in CONCERNS) == (self.head.positive is None):
            raise ValueError(f"positive: {', '.join(CONCERNS)} need such labels, and no other task has them")
        if self.convert == "tfjs" and "topology" not in self.files:
            raise ValueError("convert tfjs needs a file topology")

    def _whole_captioner(self) -> None:
        if self.caption is None or any(file not in self.files for file in ENCODER_FILES):
            raise ValueError(f"captioning needs a caption section and files {list(ENCODER_FILES)}")
        if self.convert == "coca" and (self.caption.architecture is None or "checkpoint" not in self.files):
            raise ValueError("convert coca needs caption.architecture and a file checkpoint")

    def _whole_sentences(self) -> None:
        missing = [file for file in ("weights", "tokenizer") if file not in self.files]
        if self.sentence is None or missing:
            raise ValueError("text_embedding needs a sentence section and files ['weights', 'tokenizer']")
        if self.convert == "sentence_bert" and any(file not in self.files for file in ("checkpoint", "config")):
            raise ValueError("convert sentence_bert needs files checkpoint and config")

    def _whole_encoder(self) -> None:
        missing = [file for file in ENCODER_FILES if file not in self.files]
        if self.clip is None or missing:
            raise ValueError(f"cross_modal_embedding needs a clip section and files {list(ENCODER_FILES)}")
        if self.convert == "open_clip" and self.clip.architecture is None:
            raise ValueError("clip.architecture names the open_clip model to convert")


class TaskNote(Row):
    """What people call a task, and what to do where no profile row serves it."""

    title: Annotated[str, StringConstraints(min_length=1)]
    remedy: str | None = None


class Manifest(Row):
    """The whole table. ``profiles`` maps profile to task to model name; ``tasks`` names every task."""

    models: dict[Name, Model]
    profiles: dict[Name, dict[Task, str]]
    tasks: dict[Task, TaskNote]

    def profile(self, name: str) -> dict[str, Model]:
        """Task -> model of a profile; a :class:`ManifestError` naming the known profiles when it is unknown."""
        if name not in self.profiles:
            raise ManifestError(f"no profile {name!r}; there are {', '.join(sorted(self.profiles))}")
        return {task: self.models[model] for task, model in self.profiles[name].items()}

    def select(self, name: str) -> list[Model]:
        """The models of a profile, or the one model of that name (``name`` or ``name@revision``)."""
        if name in self.profiles:
            return list({model.key: model for model in self.profile(name).values()}.values())
        found = [model for model in self.models.values() if name in (model.name, model.key)]
        if not found:
            raise ManifestError(
                f"no profile or model {name!r}; profiles: {', '.join(sorted(self.profiles))}; "
                f"models: {', '.join(sorted(self.models))}"
            )
        return found

    @model_validator(mode="before")
    @classmethod
    def _name_rows(cls, data: Any) -> Any:
        """Each row learns its own name from its key."""
        rows = data.get("models") if isinstance(data, dict) else None
        if not isinstance(rows, dict):
            return data
        named = {key: {**row, "name": key} if isinstance(row, dict) else row for key, row in rows.items()}
        return {**data, "models": named}

    @model_validator(mode="after")
    def _profiles_resolve(self) -> Self:
        for profile, rows in self.profiles.items():
            for task, name in rows.items():
                where = f"profiles.{profile}.{task}"
                if name not in self.models:
                    raise ValueError(f"{where}: no model {name!r}; there are {', '.join(sorted(self.models))}")
                if self.models[name].task != task:
                    raise ValueError(f"{where}: model {name!r} is for {self.models[name].task}")
        encoders = {model.key for model in self.models.values() if model.task == "cross_modal_embedding"}
        for model in self.models.values():
            if model.head and model.head.encoder not in (None, *encoders):
                where = f"models.{model.name}.{'classifier' if model.classifier else 'prompts'}.encoder"
                known = ", ".join(sorted(encoders))
                raise ValueError(f"{where}: no encoder {model.head.encoder!r}; there are {known}")
        served = {task for rows in self.profiles.values() for task in rows}
        if unnamed := sorted(served - self.tasks.keys()):
            raise ValueError(f"tasks: no title for {', '.join(unnamed)}")
        if hopeless := sorted(task for task, note in self.tasks.items() if task not in served and not note.remedy):
            raise ValueError(f"tasks: no profile serves {', '.join(hopeless)}, so each needs a remedy")
        return self


class UniqueKeys(yaml.SafeLoader):
    """YAML takes the last of two equal keys in silence; a table of models must not lose a row like that."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise ManifestError(f"line {node.start_mark.line + 1}: {twice[0]!r} stands twice in one table")
        return super().construct_mapping(node, deep)


BOOLEAN = "tag:yaml.org,2002:bool"
# Only true and false, as in YAML 1.2: for YAML 1.1 a classifier's key ``on`` would be the key True.
UniqueKeys.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != BOOLEAN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
UniqueKeys.add_implicit_resolver(BOOLEAN, re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def shipped() -> Path:
    """Where the manifest that ships with the application is."""
    return Path(str(importlib.resources.files("configs") / "models.yaml"))


def load_manifest(path: Path | None = None) -> Manifest:
    """Read and check a manifest (the shipped one by default).

    Raises :class:`ManifestError` with the path of every fault; OSError where the file cannot be read.
    """
    path = path or shipped()
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)  # noqa: S506  (a SafeLoader)
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise ManifestError("\n".join(f"{path}: {_sentence(fault)}" for fault in error.errors())) from None
    except (yaml.YAMLError, ManifestError) as error:
        raise ManifestError(f"{path}: {error}") from None


def _sentence(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
