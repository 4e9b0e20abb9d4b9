"""What is in a video or sound file, track by track: all that has to be known before it is encoded anew.

PyAV reads headers and decodes one frame. It still is C code on hostile bytes: run it in a child process
(``media/tracks_process.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from serve_app.errors import Problem
from serve_app.media.sniff import WINDOW, sniff
from serve_app.media.video import DEMUXERS, Limits, Video, exact_demuxer, opened

if TYPE_CHECKING:
    from av.container import InputContainer

AUDIO_DEMUXERS: dict[str, str] = {
    "audio/aac": "aac",
    "audio/aiff": "aiff",
    "audio/amr": "amr",
    "audio/flac": "flac",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
}
"""Media type -> the only demuxer that may open it, of files without pictures."""

TEXT_CODECS = frozenset({"ass", "mov_text", "subrip", "text", "webvtt"})
"""Subtitles that are letters; others are pictures."""
MAX_CHANNELS = 64
_PACKETS = 20_000
"""Read in search of a track's first sound: some minutes."""

Hdr = Literal["pq", "hlg"]
_TRANSFERS: dict[int, Hdr] = {16: "pq", 18: "hlg"}
"""``transfer_characteristics``, ITU-T H.273, table 3."""


@dataclass(frozen=True)
class VideoTrack:
    """``width`` x ``height`` are upright and of square pixels."""

    index: int
    codec: str
    width: int
    height: int
    rate: Fraction
    """Frames a second: where frames last unequally, as many as its shortest ones would be."""
    hdr: Hdr | None


@dataclass(frozen=True)
class AudioTrack:
    index: int
    codec: str
    channels: int
    sample_rate: int
    language: str | None
    title: str | None


@dataclass(frozen=True)
class SubtitleTrack:
    index: int
    codec: str
    language: str | None
    title: str | None


@dataclass(frozen=True)
class Source:
    """A file to be encoded; the tracks in the file's order, of the videos the first that can be decoded."""

    media_type: str
    demuxer: str
    duration_s: float | None
    """As declared, which may be wrong."""
    video: VideoTrack | None
    audios: tuple[AudioTrack, ...] = ()
    subtitles: tuple[SubtitleTrack, ...] = ()
    notes: tuple[str, ...] = ()
    """What is in the file and is left out."""


def read_tracks(path: str, limits: Limits | None = None) -> Source:
    """The tracks of a file.

    Raises ``Problem``: ``unsupported_media`` for content that is neither video nor sound, ``undecodable_media`` where
    there is no track that can be decoded, ``too_large`` beyond ``limits``.
    """
    limits = limits or Limits()
    with open(path, "rb") as file:
        media_type = sniff(file.read(WINDOW))
    demuxer = (DEMUXERS | AUDIO_DEMUXERS).get(media_type or "")
    if media_type is None or demuxer is None:
        text = f"{media_type or 'unknown content'} is neither video nor sound that is read here"
        raise Problem("unsupported_media", text)
    video, seconds = _video(path, media_type, limits)
    container = opened(path, demuxer)
    try:
        subtitles, notes = _subtitles(container)
        declared = _audios(container)
        heard = _heard(container, {each.index for each in declared})
        audios = tuple(each for each in declared if each.index in heard)
        silent = [each.index for each in declared if each.index not in heard]
        notes += tuple(f"track {index} is left out: it has no sound that can be decoded" for index in silent)
        seconds = seconds or (container.duration / 1_000_000 if container.duration else None)
    finally:
        container.close()
    if video is None and not audios:
        raise Problem("undecodable_media", f"the {media_type} has neither video nor sound that can be decoded")
    if seconds is not None and seconds > limits.max_duration_s:
        raise Problem("too_large", f"{seconds:.0f} s are more than the {limits.max_duration_s:g} s that are encoded")
    return Source(media_type, exact_demuxer(path, demuxer), seconds, video, audios, subtitles, notes)


def _video(path: str, media_type: str, limits: Limits) -> tuple[VideoTrack | None, float | None]:
    """The first video that can be decoded, and its seconds; None where a file of sound has no other pictures."""
    if media_type not in DEMUXERS:
        return None, None
    try:
        video = Video(path, limits)
    except Problem as problem:
        # A file of sound may have a cover, and an MP4 or Ogg of sound alone looks like one with pictures.
        if problem.code == "undecodable_media" and _has_sound(path, media_type):
            return None, None
        raise
    try:
        return _described(video), video.info.duration_s
    finally:
        video.close()


def _has_sound(path: str, media_type: str) -> bool:
    container = opened(path, DEMUXERS[media_type])
    try:
        moving = [stream for stream in container.streams.video if not stream.disposition & 0x400]
        return bool(_audios(container)) and not moving
    finally:
        container.close()


def _described(video: Video) -> VideoTrack:
    stream, first = video.stream, video.first
    image: Any = first.image
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, 16) <= aspect <= 16:
        aspect = Fraction(1)
    width, height = Fraction(image.width), Fraction(image.height)
    # Pixels are made square by growing: nothing that was stored is lost.
    width, height = (width * aspect, height) if aspect >= 1 else (width, height / aspect)
    if first.turn.swap:
        width, height = height, width
    hdr = _TRANSFERS.get(int(image.color_trc))
    return VideoTrack(stream.index, video.info.codec, round(width), round(height), _rate(stream), hdr)


def _rate(stream: Any) -> Fraction:
    """``base_rate`` is what all timestamps fit in, if it is not the container's clock; averages know no pauses."""
    average, base = stream.average_rate, stream.base_rate
    for rate in (base, stream.guessed_rate, average):
        if rate and 1 <= rate <= 240 and (rate is not base or not average or average <= rate * 1.05 or average > 240):
            return Fraction(rate)
    return Fraction(25)


def _audios(container: InputContainer) -> tuple[AudioTrack, ...]:
    found = []
    for stream in container.streams.audio:
        context = stream.codec_context
        if context is None or not context.sample_rate or not 0 < context.channels <= MAX_CHANNELS:
            continue
        name = context.codec.canonical_name
        found.append(AudioTrack(stream.index, name, context.channels, context.sample_rate, *_named(stream)))
    return tuple(found)


def _heard(container: InputContainer, wanted: set[int]) -> set[int]:
    """Which of these tracks have sound that can be decoded: one that has not would end the encoding of all."""
    from av.error import FFmpegError
    from av.stream import Discard

    left = set(wanted)
    for stream in container.streams:
        stream.discard = Discard.default if stream.index in wanted else Discard.all
    try:
        for number, packet in enumerate(container.demux()):
            if not left or number > _PACKETS:
                break
            if packet.stream.index in left and _decodes(packet):
                left.discard(packet.stream.index)
    except FFmpegError:
        pass
    return wanted - left


def _decodes(packet: Any) -> bool:
    from av.error import FFmpegError

    try:
        return bool(packet.decode())
    except FFmpegError:
        return False


def _subtitles(container: InputContainer) -> tuple[tuple[SubtitleTrack, ...], tuple[str, ...]]:
    found, notes = [], []
    for stream in container.streams.subtitles:
        codec = "unknown" if stream.codec_context is None else stream.codec_context.codec.canonical_name
        if codec in TEXT_CODECS:
            found.append(SubtitleTrack(stream.index, codec, *_named(stream)))
        else:
            notes.append(f"subtitles of track {stream.index} are left out: {codec} has pictures and no text")
    return tuple(found), tuple(notes)


def _named(stream: Any) -> tuple[str | None, str | None]:
    """Language and title, as far as they may stand in a manifest."""
    language, title = stream.metadata.get("language"), stream.metadata.get("title")
    known = language if language and language.isascii() and language.isalpha() and len(language) <= 8 else None
    words = "".join(sign for sign in title or "" if sign.isprintable() and sign not in '"<>&').strip()[:80]
    return (None if known == "und" else known), words or None
