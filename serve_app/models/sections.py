"""The sections of a row of ``configs/models.yaml``: how what a network takes is prepared and its answer is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Unit = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Template = Annotated[str, StringConstraints(pattern=r"\{\}", max_length=500)]
Labels = Annotated[list[str], Field(min_length=1)]
Side = Annotated[int, Field(gt=0, le=4096)]
Top = Annotated[int, Field(gt=0, le=100)]
EncoderKey = Annotated[str, StringConstraints(pattern=r"^[^@]+@[^@]+$")]
Point = tuple[float, float]


class Row(BaseModel):
    """A part of the table: nothing that it does not know, nothing that changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelsFile(Row):
    """Labels that stand in a file of the model, one a line in the order of the classes."""

    file: str


class Clip(Row):
    """How pictures and texts are prepared for an encoder; ``mean`` and ``std`` are on RGB in 0..1, as in open_clip."""

    image_size: Side
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    interpolation: Literal["bicubic", "bilinear"]
    resize: Literal["shortest", "squash"]
    context_length: Annotated[int, Field(ge=4, le=1024)]
    dim: Annotated[int, Field(gt=0, le=8192)]
    architecture: str | None = None
    pretrained_tag: str | None = None


class Sentence(Row):
    """How texts are prepared for an encoder of texts alone.

    Of what has more than ``max_tokens`` the first ``windows`` of so many are read, and their mean is taken.
    """

    max_tokens: Annotated[int, Field(ge=4, le=8192)]
    windows: Annotated[int, Field(ge=1, le=64)] = 1
    dim: Annotated[int, Field(gt=0, le=8192)]


class Caption(Clip):
    """A network that says a sentence about a picture, prepared as for an encoder; ``dim`` is the width of its tokens.

    A sentence has at least ``min_tokens`` and at most ``max_tokens``, its two ends counted.
    """

    min_tokens: Annotated[int, Field(ge=2, le=100)]
    max_tokens: Annotated[int, Field(ge=3, le=100)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.min_tokens < self.max_tokens <= self.context_length:
            raise ValueError("min_tokens < max_tokens <= context_length does not hold")
        return self


class Detector(Row):
    """How pictures are prepared for a detector and how its outputs are read.

    ``input`` is (height, width); ``mean`` and ``std`` are on 0..255 in the order of ``colour``; ``layout`` names a
    function of ``serve_app.annotation.detector_layouts``.
    """

    input: tuple[Side, Side]
    resize: Literal["stretch", "letterbox", "area"]
    pad: Annotated[int, Field(ge=0, le=255)] = 0
    colour: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    layout: Literal["fastestdet", "yolo", "dets_labels", "scores_boxes", "yolox"]
    labels: Labels | LabelsFile
    threshold: Unit
    nms_iou: Unit


class Video(Row):
    """How clips are prepared for a network that names what happens in them.

    ``frames`` pictures, uniform over ``window_s`` seconds (null: over the whole scene), the shorter side brought to
    ``short_side`` and the middle ``crop`` x ``crop`` cut out; ``mean`` and ``std`` are on RGB in 0..1. The slow pathway
    sees one frame in ``alpha``. Of the labels, those of at least ``threshold`` are answered, at most ``top``.
    """

    frames: Annotated[int, Field(gt=0, le=256)]
    alpha: Annotated[int, Field(gt=0, le=64)]
    short_side: Annotated[int, Field(gt=0, le=1024)]
    crop: Annotated[int, Field(gt=0, le=1024)]
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    window_s: Annotated[float, Field(gt=0, le=60)] | None
    labels: Labels | LabelsFile
    threshold: Unit
    top: Annotated[int, Field(gt=0, le=100)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.crop > self.short_side:
            raise ValueError(f"crop {self.crop} is larger than short_side {self.short_side}")
        if self.frames % self.alpha:
            raise ValueError(f"frames {self.frames} is no multiple of alpha {self.alpha}: the pathways would not meet")
        return self


class Classifier(Row):
    """A network that sorts pictures, or the vectors that an encoder makes of them, into labels.

    Pictures are brought to ``input`` (height, width); ``mean`` and ``std`` are on 0..255 in the order of ``colour``.
    Vectors come from ``encoder`` (name@revision), L2-normalised. ``activation`` is what turns the network's output into
    probabilities. Of concerns the score is the sum of the probabilities of the ``positive`` labels; at ``threshold`` it
    counts. Of all else the labels of at least ``threshold`` are answered, at most ``top``.
    """

    on: Literal["picture", "vector"]
    input: tuple[Side, Side] | None = None
    colour: Literal["rgb", "bgr"] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[Positive, Positive, Positive] | None = None
    layout: Literal["nchw", "nhwc"] | None = None
    activation: Literal["none", "softmax", "sigmoid"]
    encoder: EncoderKey | None = None
    labels: Labels | LabelsFile
    positive: Labels | None = None
    threshold: Unit
    top: Top | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        pictures = {name: getattr(self, name) for name in ("input", "colour", "mean", "std", "layout")}
        needed, foreign = pictures, {"encoder": self.encoder}
        if self.on == "vector":
            needed, foreign = foreign, needed
        if missing := [name for name, value in needed.items() if value is None]:
            raise ValueError(f"a classifier on a {self.on} needs {', '.join(missing)}")
        if extra := [name for name, value in foreign.items() if value is not None]:
            raise ValueError(f"a classifier on a {self.on} has no {', '.join(extra)}")
        _known(self.positive, self.labels)
        return self


class Prompts(Row):
    """Labels told apart by words alone: a picture's vector against those of sentences about each label.

    The sentences are ``templates`` with a label in the place of ``{}``; ``encoder`` (name@revision) makes the vectors
    of both. A softmax over the labels' cosines divided by ``temperature`` gives the probabilities (CLIP was trained
    at .01). ``positive``, ``threshold`` and ``top`` are as of a classifier.
    """

    encoder: EncoderKey
    labels: Labels | LabelsFile
    templates: Annotated[list[Template], Field(min_length=1, max_length=100)]
    temperature: Positive
    positive: Labels | None = None
    threshold: Unit
    top: Top | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _known(self.positive, self.labels)
        return self


class Meme(Row):
    """A network that tells memes and says where it looked: pictures stretched to ``side`` x ``side``, RGB.

    ``mean`` and ``std`` are on 0..255: those of the pictures that it was trained with. At ``threshold`` it is a meme.
    """

    side: Side
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    threshold: Unit


class Descriptor(Row):
    """How faces are cut out for a network that turns each into a vector, and when two vectors are the same person.

    The network takes float32 [N, 3, side, side]; ``mean`` and ``std`` are on 0..255 in the order of ``colour``.
    ``align`` says what is cut out: the ``box`` of the face, grown by ``margin`` (a share of its width and height, half
    of it on each side) and stretched; the middle ``square`` of the box grown so; or, by ``five_points``, what a
    similarity takes from the landmarks to ``template``, five (x, y) in pixels of the network's input, in the order of
    ``FoundFace.landmarks``.

    Vectors have length 1. ``thresholds`` maps k, the faces a prototype is the mean of, to the Euclidean distance up to
    which another face is that person. (One published for vectors of another length is no threshold for unit vectors.)
    """

    side: Side
    colour: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    align: Literal["box", "square", "five_points"]
    margin: Annotated[float, Field(ge=0, le=1)] | None = None
    template: tuple[Point, Point, Point, Point, Point] | None = None
    dim: Annotated[int, Field(gt=0, le=8192)]
    thresholds: Annotated[dict[Annotated[int, Field(gt=0)], Annotated[float, Field(gt=0, le=2)]], Field(min_length=1)]

    def threshold(self, k: int) -> float:
        """The distance for a prototype of ``k`` faces: that of the largest k in the table that is not larger."""
        return self.thresholds[max((has for has in self.thresholds if has <= k), default=min(self.thresholds))]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        needed, foreign = ("template", "margin") if self.align == "five_points" else ("margin", "template")
        if getattr(self, needed) is None:
            raise ValueError(f"align {self.align} needs a {needed}")
        if getattr(self, foreign) is not None:
            raise ValueError(f"align {self.align} has no {foreign}")
        return self


def read_labels(
    labels: list[str] | LabelsFile, files: Mapping[str, Path], positive: list[str] | None = None
) -> list[str]:
    """The labels of a section, out of ``files`` (logical name -> path) where they stand in one.

    Raises ValueError for a file that names none, one twice, or not every ``positive`` label.
    """
    if isinstance(labels, list):
        return labels
    lines = [line.strip() for line in files[labels.file].read_text(encoding="utf-8").splitlines()]
    found = [line for line in lines if line]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{files[labels.file].name} names no label, or one twice")
    _known(positive, found)
    return found


def _known(positive: list[str] | None, labels: list[str] | LabelsFile) -> None:
    if isinstance(labels, list) and (unknown := [label for label in positive or [] if label not in labels]):
        raise ValueError(f"positive: no label {', '.join(unknown)}")
