"""What was made of a plan, as the manifests tell it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from serve_app.adaptation.plan import AudioOut, SubtitleOut, VideoOut
from serve_app.adaptation.track_files import TrackFile


@dataclass(frozen=True)
class Video:
    out: VideoOut
    file: TrackFile


@dataclass(frozen=True)
class Audio:
    out: AudioOut
    file: TrackFile


@dataclass(frozen=True)
class Subtitle:
    out: SubtitleOut
    file: str
    """Its name."""
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Outputs:
    """All streams of one asset; the videos by ascending rate, as planned, the audios in the source's order."""

    fps: Fraction
    videos: tuple[Video, ...]
    audios: tuple[Audio, ...]
    subtitles: tuple[Subtitle, ...]

    @property
    def duration_s(self) -> float:
        """Seconds of the pictures, or of the sound where there are none."""
        return max(float(each.file.duration_s) for each in self.videos or self.audios)
