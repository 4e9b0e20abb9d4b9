"""A file in, a folder out: every stream of a preset, with the manifests that players read."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from serve_app.adaptation import dash, hls, sprites
from serve_app.adaptation.commands import ladder_command
from serve_app.adaptation.ladder import Ladder
from serve_app.adaptation.outputs import Audio, Outputs, Subtitle, Video
from serve_app.adaptation.plan import Plan, make_plan
from serve_app.adaptation.track_files import TrackFile, index_file
from serve_app.errors import Problem
from serve_app.media import ffmpeg
from serve_app.media.confinement import ChildLimits
from serve_app.media.tracks_process import probe
from serve_app.media.video import Limits

Tell = Callable[[float], None]
"""Is told the share that is done, 0..1."""

MARGIN = 1.25
"""Free room that is asked for, in parts of what the streams have at most: they stand twice until they are indexed."""
_GUESSED_S = 600.0
"""For the room of a file that does not tell how long it is."""


@dataclass(frozen=True)
class EncodeLimits:
    """What encoding one file may take."""

    source: Limits = field(default_factory=Limits)
    memory_mb: int = 16384
    """Address space of FFmpeg: each encoder has its threads and its pictures ahead."""
    cpu_s: int = 7 * 24 * 3600
    """Processor seconds of all its threads."""
    stall_s: float = ffmpeg.STALL_S


@dataclass(frozen=True)
class Adapted:
    """What was made: ``files`` by name with their media types, and ``outputs`` as the manifests have them."""

    plan: Plan
    outputs: Outputs
    files: dict[str, str]


MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mp4": "video/mp4",
    ".mpd": "application/dash+xml",
    ".vtt": "text/vtt",
}


async def adapt(
    file: Path,
    to: Path,
    preset: str,
    ladder: Ladder,
    tell: Tell | None = None,
    limits: EncodeLimits | None = None,
    digits: int = 0,
) -> Adapted:
    """Makes ``to``, which must not be there yet, with all that ``preset`` gives of ``file``; all of it or nothing.

    The names of streams end in so many ``digits`` of the SHA-256 of their content, so that caches may keep them.

    Raises ``Problem``: as ``tracks_process.probe``, ``make_plan`` and ``ffmpeg.run``; ``conflict`` where ``to`` is
    there, ``unavailable`` where the disk has too little room.
    """
    limits, to = limits or EncodeLimits(), to.absolute()
    if to.exists():
        raise Problem("conflict", f"{to} is there already", "name a folder that is not there yet")
    source = await probe(str(file), limits.source)
    plan = make_plan(ladder, preset, source, await asyncio.to_thread(ffmpeg.encoders))
    to.parent.mkdir(parents=True, exist_ok=True)
    # Beside it, so that it can be renamed; what a killed process leaves is hidden and named after what it was for.
    place = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.parent))
    try:
        _check_room(plan, place)
        made = await _make(file, place, plan, tell or (lambda _: None), limits, digits)
        place.chmod(0o755)
        place.rename(to)  # refuses a folder with something in it
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
    return made


async def _make(file: Path, place: Path, plan: Plan, tell: Tell, limits: EncodeLimits, digits: int) -> Adapted:
    raw = place / "raw"
    raw.mkdir()
    seconds = plan.source.duration_s
    command = ladder_command(ffmpeg.binary(), plan, str(file.absolute()), raw, limits.source.max_duration_s)
    rules = ChildLimits(limits.memory_mb, limits.cpu_s, 256, _room(place) >> 20)
    await ffmpeg.run(command, rules, lambda done: tell(min(0.99, done / seconds) if seconds else 0.0), limits.stall_s)
    outputs = await asyncio.to_thread(_indexed, plan, raw, place, digits)
    texts = hls.playlists(outputs) | {dash.MAIN: dash.manifest(outputs)}
    if plan.sprite is not None and (raw / sprites.SHEET).exists():
        (raw / sprites.SHEET).rename(place / sprites.SHEET)
        texts[sprites.CUES] = sprites.cues(plan.sprite, outputs.duration_s)
    for name, text in texts.items():
        (place / name).write_text(text, encoding="utf-8")
    shutil.rmtree(raw)
    tell(1.0)
    names = sorted(path.name for path in place.iterdir())
    return Adapted(plan, outputs, {name: MEDIA_TYPES[Path(name).suffix] for name in names})


def _indexed(plan: Plan, raw: Path, to: Path, digits: int) -> Outputs:
    def made(name: str) -> TrackFile:
        path = raw / f"{name}.mp4"
        track = index_file(path, to / path.name)
        path.unlink()
        return _named_by_content(track, digits) if digits else track

    try:
        videos = sorted((Video(each, made(each.name)) for each in plan.videos), key=lambda video: video.out.bit_rate)
        audios = tuple(Audio(each, made(each.name)) for each in plan.audios)
    except (ValueError, FileNotFoundError) as error:
        raise Problem("undecodable_media", "nothing could be encoded of a track of the file") from error
    words = []
    for track in plan.subtitles:
        path = raw / f"{track.name}.vtt"
        size = path.stat().st_size if path.exists() else 0
        if size > len("WEBVTT\n\n"):
            words.append(Subtitle(track, path.name, size))
            path.rename(to / path.name)
    return Outputs(plan.fps, tuple(videos), audios, tuple(words))


def _named_by_content(track: TrackFile, digits: int) -> TrackFile:
    with track.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    path = track.path.with_stem(f"{track.path.stem}-{digest[:digits]}")
    track.path.rename(path)
    return replace(track, path=path)


def _room(place: Path) -> int:
    return shutil.disk_usage(place).free


def _check_room(plan: Plan, place: Path) -> None:
    rates = sum(each.bit_rate for each in plan.videos) + sum(each.bit_rate for each in plan.audios)
    wanted = MARGIN * rates / 8 * (plan.source.duration_s or _GUESSED_S)
    if wanted > _room(place):
        text = f"the disk has {_room(place) >> 20:,} MB free, and the streams may take {int(wanted) >> 20:,} MB"
        raise Problem("unavailable", text, "free some room and try again")
