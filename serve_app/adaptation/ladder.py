"""The rungs of the ladder and the presets made of them: ``configs/ladder.yaml``, or a file of the operator's."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from serve_app.errors import Problem
from serve_app.models.manifest import UniqueKeys

Codec = Literal["h264", "vp9", "av1", "aac", "aac-he", "opus"]
Container = Literal["mp4", "webm"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
T = TypeVar("T")
SOUNDS: tuple[Codec, ...] = ("aac", "aac-he", "opus")

_FAMILIES: dict[str, Codec] = {"avc1": "h264", "vp9": "vp9", "vp09": "vp9", "av01": "av1", "opus": "opus"}
_AAC: dict[str, Codec] = {"mp4a.40.2": "aac", "mp4a.40.5": "aac-he"}
_H264_PROFILES = {"42": "baseline", "4d": "main", "64": "high"}
"""``profile_idc`` in hexadecimal, ISO/IEC 14496-10, Annex A."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rung(_Table):
    """One stream of the ladder, or a video with its sound in one file, as the table has it."""

    container: Container
    height: Annotated[int, Field(ge=16, le=8640)] | None = None
    """Pixels of the shorter side."""
    fps: Annotated[float, Field(gt=0, le=120)] | None = None
    video: str | None = None
    audio: str | None = None
    mbit: Annotated[float, Field(gt=0, le=1000)]
    """Mbit/s of all its streams."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.video is None and self.audio is None:
            raise ValueError("a rung has a video, an audio or both")
        if (self.video is None) != (self.height is None) or (self.video is None) != (self.fps is None):
            raise ValueError("height and fps are those of a video")
        _ = self.video_codec, self.audio_codec, self.profile
        return self

    @property
    def video_codec(self) -> Codec | None:
        return None if self.video is None else _family(self.video)

    @property
    def audio_codec(self) -> Codec | None:
        return None if self.audio is None else _family(self.audio)

    @property
    def profile(self) -> str | None:
        """The profile that an H.264 encoder is asked for; None of other codecs, which have one for 8 bits."""
        if self.video is None or self.video_codec != "h264":
            return None
        profile = _H264_PROFILES.get(self.video.partition(".")[2][:2].lower())
        if profile is None:
            raise ValueError(f"{self.video!r} names no profile that is made here")
        return profile


class Preset(_Table):
    """Rungs under a name, and how they are made."""

    rungs: Annotated[tuple[str, ...], Field(min_length=1)]
    rate: Literal["capped", "fixed"] = "capped"
    fps: Annotated[float, Field(gt=0, le=120)] | None = None
    """Frames a second at most, in place of the rungs' own."""
    container: Container | None = None
    """In place of the rungs' own."""


class Encoder(_Table):
    """Which encoder of FFmpeg makes a codec, and its settings."""

    encoder: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,40}$")]
    crf: Annotated[int, Field(ge=0, le=63)] | None = None
    """Of pictures: the quality of ``rate: capped``."""
    options: dict[Annotated[str, Field(pattern=r"^[a-z0-9_:-]{1,40}$")], str | int] = {}


class PicturePreset(_Table):
    """What a picture becomes."""

    side: Annotated[int, Field(ge=16, le=16384)]
    """Pixels of the longer side at most."""
    format: Literal["jpeg", "webp", "png"] = "jpeg"
    watermark: bool = False


class Ladder(_Table):
    """All rungs, presets and encoders, and what pictures become."""

    rungs: dict[str, Rung]
    presets: dict[Name, Preset]
    encoders: dict[Codec, Encoder]
    pictures: dict[Name, PicturePreset] = {}
    watermark: Annotated[str, Field(min_length=1, max_length=60)] = "MediaVerse"

    @model_validator(mode="after")
    def _of_one_piece(self) -> Self:
        for name, preset in self.presets.items():
            for rung in preset.rungs:
                if rung not in self.rungs:
                    raise ValueError(f"preset {name}: there is no rung {rung}")
            for rung, made in self.rungs_of(name).items():
                if made.container != "mp4" or (made.video and made.audio):
                    raise ValueError(f"preset {name}: rung {rung}: streams are made in MP4, pictures and sound apart")
                for codec in (made.video_codec, made.audio_codec):
                    if codec is not None and codec not in self.encoders:
                        raise ValueError(f"preset {name}: rung {rung} has no encoder of {codec}")
        for codec, encoder in self.encoders.items():
            if (encoder.crf is None) != (codec in SOUNDS):
                raise ValueError(f"encoders: {codec}: pictures have a crf, and sound has none")
        return self

    def preset(self, name: str) -> Preset:
        """The preset of videos and sounds, or Problem("bad_request") with those that there are."""
        return _found(self.presets, name, "videos and sounds")

    def picture(self, name: str) -> PicturePreset:
        """The preset of pictures, or Problem("bad_request") with those that there are."""
        return _found(self.pictures, name, "pictures")

    def rungs_of(self, name: str) -> dict[str, Rung]:
        """The rungs of a preset under their names, with what the preset sets for all."""
        preset = self.preset(name)
        return {rung: _set(self.rungs[rung], preset) for rung in preset.rungs}


def load_ladder(path: Path | None = None) -> Ladder:
    """The ladder (the shipped one by default).

    Raises ``ValidationError``, ``yaml.YAMLError`` or, for a key that stands twice, ``ManifestError``.
    """
    path = path or Path(str(importlib.resources.files("configs") / "ladder.yaml"))
    return Ladder.model_validate(yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys))  # noqa: S506  (a SafeLoader)


def _found(table: Mapping[str, T], name: str, what: str) -> T:
    if name not in table:
        there = f"for {what} use one of {', '.join(table)}"
        raise Problem("bad_request", f"there is no preset {name[:40]!r} of {what}", there)
    return table[name]


def _set(rung: Rung, preset: Preset) -> Rung:
    changes: dict[str, object] = {}
    if preset.fps is not None and rung.video is not None:
        changes["fps"] = preset.fps
    if preset.container is not None:
        changes["container"] = preset.container
    return rung.model_copy(update=changes)


def _family(codecs: str) -> Codec:
    found = _AAC.get(codecs) or _FAMILIES.get(codecs.partition(".")[0])
    if found is None:
        raise ValueError(f"{codecs!r} is no codec that is made here")
    return found
