"""What is made of a video or a sound while its client waits: thumbnail, moving summary, the sound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ffmpeg as commands

from serve_app.adaptation.commands import BARE, compiled, guarded, standard
from serve_app.adaptation.plan import MIN_SIDE, sizes
from serve_app.errors import Problem
from serve_app.media import ffmpeg
from serve_app.media.confinement import ChildLimits
from serve_app.media.tracks import Source, VideoTrack
from serve_app.media.tracks_process import probe, probe_best
from serve_app.media.video import Limits
from serve_app.media.workplace import workplace

Still = Literal["jpeg", "png", "webp"]
Moving = Literal["gif", "webp"]
Sound = Literal["mp3", "m4a", "opus", "wav"]

CLIPS, CLIP_S = 5, 0.6
"""A summary shows so many pieces of a film, of so many seconds each."""
SUMMARY_FPS = 10

_STILLS: Mapping[Still, dict[str, Any]] = {
    "jpeg": {"c:v": "mjpeg", "q:v": 3, "pix_fmt": "yuvj420p", "f": "image2", "update": 1},
    "png": {"c:v": "png", "pix_fmt": "rgb24", "f": "image2", "update": 1},
    "webp": {"c:v": "libwebp", "quality": 80, "pix_fmt": "yuv420p", "f": "webp"},
}
_SOUNDS: Mapping[Sound, tuple[str, dict[str, Any]]] = {
    "mp3": ("audio/mpeg", {"c:a": "libmp3lame", "q:a": 2, "f": "mp3"}),
    "m4a": ("audio/mp4", {"c:a": "aac", "b:a": "160k", "f": "mp4", "movflags": "+faststart"}),
    "opus": ("audio/ogg", {"c:a": "libopus", "b:a": "112k", "f": "ogg"}),
    "wav": ("audio/wav", {"c:a": "pcm_s16le", "f": "wav"}),
}


@dataclass(frozen=True)
class DirectLimits:
    """What one of these may take."""

    source: Limits = field(default_factory=Limits)
    memory_mb: int = 4096
    """Address space of FFmpeg."""
    deadline_s: float = 60.0
    """Wall clock."""


@dataclass(frozen=True)
class Made:
    """A file in memory."""

    data: bytes
    media_type: str


async def thumbnail(file: Path, side: int = 640, kind: Still = "jpeg", limits: DirectLimits | None = None) -> Made:
    """A picture of the best key frame, upright and of square pixels, with sides of at most ``side`` pixels.

    Raises ``Problem`` as ``tracks_process.probe`` and ``ffmpeg.run``, ``unprocessable`` where there are no pictures,
    ``deadline`` where it takes too long.
    """
    limits = limits or DirectLimits()
    async with _in_time(limits):
        source, best_s = await probe_best(str(file), limits.source)
        track = _track(source)
        width, height = fitted(track, side)
        frame = guarded(source, str(file), ss=f"{best_s:.6f}")[str(track.index)]
        shown = _scaled(standard(frame, track, width, height), width, height)
        output = {"frames:v": 1, **_STILLS[kind]}
        return Made(await _run(shown, output, limits), f"image/{kind}")


async def summary(file: Path, side: int = 320, kind: Moving = "gif", limits: DirectLimits | None = None) -> Made:
    """``CLIPS`` pieces from all over the film, or a short one whole, as a moving picture. Raises as ``thumbnail``."""
    limits = limits or DirectLimits()
    async with _in_time(limits):
        source = await probe(str(file), limits.source)
        track = _track(source)
        width, height = fitted(track, side)
        pieces = []
        for start, length in pieces_of(source.duration_s):
            stream = guarded(source, str(file), ss=f"{start:.3f}", t=f"{length:.3f}")[str(track.index)]
            slow = stream.filter("fps", fps=SUMMARY_FPS)
            pieces.append(_scaled(standard(slow, track, width, height), width, height))
        film = commands.concat(*pieces, v=1, a=0) if len(pieces) > 1 else pieces[0]
        if kind == "gif":
            both = film.filter_multi_output("split", 2)
            palette = both[0].filter("palettegen")
            film = commands.filter([both[1], palette], "paletteuse", dither="bayer", diff_mode="rectangle")
            return Made(await _run(film, {"f": "gif", "loop": 0}, limits), "image/gif")
        output = {"c:v": "libwebp_anim", "quality": 60, "pix_fmt": "yuv420p", "loop": 0, "f": "webp"}
        return Made(await _run(film, output, limits), "image/webp")


async def sound(file: Path, kind: Sound = "mp3", limits: DirectLimits | None = None) -> Made:
    """The first track of sound; AAC in MP4 as it is. Raises as ``thumbnail``, for files without sound."""
    limits = limits or DirectLimits()
    async with _in_time(limits):
        source = await probe(str(file), limits.source)
        if not source.audios:
            raise Problem("unprocessable", "the file has no sound")
        track = source.audios[0]
        media_type, output = _SOUNDS[kind]
        if (kind, track.codec) == ("m4a", "aac"):
            output = {**output, "c:a": "copy"}
            output.pop("b:a")
        stream = guarded(source, str(file), t=limits.source.max_duration_s)[str(track.index)]
        return Made(await _run(stream, output, limits), media_type)


def pieces_of(duration_s: float | None) -> Sequence[tuple[float, float]]:
    """Starts and lengths in seconds: ``CLIPS`` that are evenly spread, or one of what there is of a short film."""
    whole = CLIPS * CLIP_S
    if duration_s is None or duration_s <= whole:
        return [(0.0, whole)]
    return [(duration_s * (number + 0.5) / CLIPS - CLIP_S / 2, CLIP_S) for number in range(CLIPS)]


def fitted(track: VideoTrack, side: int) -> tuple[int, int]:
    """Width and height of at most ``side``, and of at most the track's own."""
    longer, shorter = max(track.width, track.height), min(track.width, track.height)
    return sizes(track, max(MIN_SIDE, round(shorter * min(1.0, side / longer))))


def _track(source: Source) -> VideoTrack:
    if source.video is None:
        raise Problem("unprocessable", "the file has sound and no pictures")
    if min(source.video.width, source.video.height) < MIN_SIDE:
        size = f"{source.video.width} x {source.video.height}"
        raise Problem("undecodable_media", f"{size} pixels are too few")
    return source.video


def _scaled(pictures: Any, width: int, height: int) -> Any:
    return pictures.filter("scale", width, height, flags="lanczos").filter("setsar", 1)


async def _run(stream: Any, output: Mapping[str, Any], limits: DirectLimits) -> bytes:
    with workplace() as place:
        made = place / "made"
        command = compiled(ffmpeg.binary(), commands.output(stream, f"file:{made}", **output, **BARE))
        rules = ChildLimits(limits.memory_mb, int(limits.deadline_s * 64), 64, 2048)
        await ffmpeg.run(command, rules)
        data = await asyncio.to_thread(made.read_bytes) if made.exists() else b""
    if not data:
        raise Problem("undecodable_media", "nothing of the file could be decoded")
    return data


@asynccontextmanager
async def _in_time(limits: DirectLimits) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(limits.deadline_s):
            yield
    except TimeoutError:
        raise Problem("deadline", f"it was not done within {limits.deadline_s:g} s") from None
