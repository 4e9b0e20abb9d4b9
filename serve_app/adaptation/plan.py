"""What a preset makes of one source: which streams, of which sizes and rates. Pure rules, nothing is encoded here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from serve_app.adaptation.ladder import Codec, Encoder, Ladder, Rung
from serve_app.adaptation.sprites import SIDE, Sprite
from serve_app.errors import Problem
from serve_app.media.tracks import AudioTrack, Source, VideoTrack

SEGMENT_S = 4
"""Seconds of a segment, which is one group of pictures: each can be shown without another."""
NEAR = Fraction(115, 100)
"""A source that is taller than the highest rung below it by this factor gets a stream of its own height too."""
MIN_SIDE = 16
"""Pixels; smaller pictures have no block that a codec could make."""
_SAME = Fraction(101, 100)
"""24 and 23.976 frames a second are the same."""


@dataclass(frozen=True)
class VideoOut:
    """A stream of pictures to be made."""

    name: str
    codec: Codec
    profile: str | None
    width: int
    height: int
    bit_rate: int
    """Bit/s: what it has at most, or has, by the plan's ``rate``."""


@dataclass(frozen=True)
class AudioOut:
    """A stream of sound to be made of the source's track ``track``."""

    name: str
    codec: Codec
    track: int
    channels: int
    sample_rate: int
    bit_rate: int
    language: str | None
    title: str | None


@dataclass(frozen=True)
class SubtitleOut:
    """A track of words, as WebVTT."""

    name: str
    track: int
    language: str | None
    title: str | None


@dataclass(frozen=True)
class Plan:
    """Everything that is made of a source in one pass."""

    source: Source
    rate: Literal["capped", "fixed"]
    fps: Fraction
    """Frames a second of all videos: one decode serves all."""
    videos: tuple[VideoOut, ...]
    audios: tuple[AudioOut, ...]
    subtitles: tuple[SubtitleOut, ...]
    sprite: Sprite | None
    """Small pictures of the film, where it has pictures."""
    encoders: Mapping[Codec, Encoder]
    notes: tuple[str, ...]
    """What of the source or the preset is left out, and why."""

    @property
    def segment_frames(self) -> int:
        return max(1, round(SEGMENT_S * self.fps))

    @property
    def segment_s(self) -> Fraction:
        """The length of a segment of whole frames."""
        return self.segment_frames / self.fps


def make_plan(ladder: Ladder, preset: str, source: Source, able: Collection[str]) -> Plan:
    """The streams that ``preset`` gives of ``source`` with the encoders in ``able``.

    Raises Problem: ``bad_request`` for a preset that there is not, ``undecodable_media`` where nothing can be made.
    """
    rungs, notes = _makeable(ladder, preset, able)
    rate = ladder.preset(preset).rate
    fps = Fraction(25)
    videos: tuple[VideoOut, ...] = ()
    sprite = None
    tall = [rung for rung in rungs.values() if rung.video is not None]
    if source.video is not None and tall:
        fps = _fps(source.video.rate, max(rung.fps or 0 for rung in tall))
        videos = _videos(tall, source.video, rate)
        longer = max(source.video.width, source.video.height)
        small = sizes(source.video, max(MIN_SIDE, min(source.video.width, source.video.height) * SIDE // longer))
        sprite = Sprite.of(*small, source.duration_s)
    audios = tuple(
        _audio(name, rung, track, number)
        for name, rung in rungs.items()
        if rung.video is None
        for number, track in enumerate(source.audios)
    )
    subtitles = tuple(
        SubtitleOut(f"subtitles-{number}", track.index, track.language, track.title)
        for number, track in enumerate(source.subtitles)
        if videos
    )
    if not videos and not audios:
        raise Problem("undecodable_media", f"the file has nothing of which {preset!r} makes a stream")
    return Plan(source, rate, fps, videos, audios, subtitles, sprite, ladder.encoders, (*source.notes, *notes))


def _makeable(ladder: Ladder, preset: str, able: Collection[str]) -> tuple[dict[str, Rung], list[str]]:
    """The rungs that the encoders can make, and why the others are left out."""
    rungs, notes = {}, []
    for name, rung in ladder.rungs_of(preset).items():
        wanted = [ladder.encoders[codec].encoder for codec in (rung.video_codec, rung.audio_codec) if codec]
        lacking = [encoder for encoder in wanted if encoder not in able]
        if lacking:
            notes.append(f"{name} is left out: this FFmpeg has no {lacking[0]}")
        else:
            rungs[name] = rung
    return rungs, notes


def _fps(rate: Fraction, most: float) -> Fraction:
    """The source's own where that is no more than ``most``, else a whole part of it that is near, else ``most``."""
    limit = Fraction(most).limit_denominator(1001)
    if rate <= limit * _SAME:
        return rate
    part = rate / -(-rate // (limit * _SAME))
    return part if part >= limit * Fraction(4, 5) else limit


def _videos(rungs: list[Rung], track: VideoTrack, rate: str) -> tuple[VideoOut, ...]:
    """Of each codec the rungs that are no taller than the source, and one of the source's own height where those end
    well below it, or are none. Never one that is taller."""
    short = min(track.width, track.height)
    if short < MIN_SIDE:
        raise Problem("undecodable_media", f"{track.width} x {track.height} pixels are too few to be encoded")
    made = []
    for codec in dict.fromkeys(rung.video_codec for rung in rungs):
        own = sorted((rung for rung in rungs if rung.video_codec == codec), key=lambda rung: rung.height or 0)
        fitting = [rung for rung in own if (rung.height or 0) <= short]
        made += [_video(rung, track, rung.height or 0, rung.mbit) for rung in fitting]
        top = fitting[-1] if fitting else None
        above = next((rung for rung in own if (rung.height or 0) > short), None)
        wanted = top is None or (rate == "capped" and short >= NEAR * (top.height or 0))
        if above is not None and wanted:
            made.append(_video(above, track, short, _between(top, above, short)))
    return tuple(made)


def _between(below: Rung | None, above: Rung, height: int) -> float:
    """Mbit/s of a height between two rungs: as many for each pixel more as from the one to the other."""
    low, low_rate = (0, 0.0) if below is None else (below.height or 0, below.mbit)
    share = (height**2 - low**2) / ((above.height or 0) ** 2 - low**2)
    return low_rate + share * (above.mbit - low_rate)


def _video(rung: Rung, track: VideoTrack, short: int, mbit: float) -> VideoOut:
    assert rung.video_codec is not None
    width, height = sizes(track, short)
    name = f"{rung.video_codec}-{min(width, height)}"
    return VideoOut(name, rung.video_codec, rung.profile, width, height, round(mbit * 1e6))


def sizes(track: VideoTrack, short: int) -> tuple[int, int]:
    """Width and height of ``track`` with a shorter side of ``short``: even, as chroma has half of them, never more than
    the source's own, and within two pixels of its proportions."""
    scale = Fraction(min(short, track.width, track.height), min(track.width, track.height))
    width, height = (max(MIN_SIDE, 2 * round(side * scale / 2)) for side in (track.width, track.height))
    return (width if width <= track.width else width - 2), (height if height <= track.height else height - 2)


def _audio(name: str, rung: Rung, track: AudioTrack, number: int) -> AudioOut:
    assert rung.audio_codec is not None
    channels = min(track.channels, 2)
    bit_rate = round(rung.mbit * 1e6 / (2 if channels == 1 else 1))
    more = f"{name}-{number}" if number else name
    return AudioOut(more, rung.audio_codec, track.index, channels, 48000, bit_rate, track.language, track.title)
