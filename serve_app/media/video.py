"""Videos: what they are by their headers and first frame, and their frames, decoded once and in the order of showing.

FFmpeg decodes, through PyAV, with the one demuxer that the content asks for and no protocol but files, so that nothing
in a file can name another file. It still is C code on hostile bytes: run it in a child process (``media/child.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from serve_app.errors import Problem
from serve_app.media.frames import Frame, Turn
from serve_app.media.sniff import WINDOW, sniff

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer

DEMUXERS: dict[str, str] = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "audio/mp4": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/ogg": "ogg",
    "audio/ogg": "ogg",
    "video/x-flv": "flv",
    "video/x-msvideo": "avi",
    "video/x-ms-asf": "asf",
    "video/mp2t": "mpegts",
    "video/mpeg": "mpeg",
}
"""Media type -> the only demuxer that may open it. The start of MP4 and Ogg does not always tell of their pictures."""

MAX_THREADS = 8
"""Decoding threads; each holds a frame."""
MAX_STREAMS = 32
MAX_RATE = 300.0
"""Frames a second; a container that tells of more has told its clock's rate."""
NEARLY = 0.9
"""The share of the declared duration that makes a file without a declared number of frames complete."""
_FAILED_READS = 100


@dataclass(frozen=True)
class Limits:
    """What one video may take. What is declared beyond them is refused at once, what is found beyond them then."""

    max_duration_s: float = 4 * 3600
    max_pixels: int = 36_000_000
    """Of a frame; 8K has 33 million."""
    max_frames: int = 1_000_000
    max_decode_s: float = 3600
    """Wall clock."""
    max_memory_mb: int = 4096
    """Address space of the process that decodes."""


@dataclass(frozen=True)
class VideoInfo:
    """``width`` x ``height`` are upright; ``duration_s``, ``fps`` and ``frames`` as declared or guessed, if at all."""

    media_type: str
    codec: str
    width: int
    height: int
    duration_s: float | None
    start_s: float
    fps: float | None
    frames: int | None


class Video:
    """The frames of a file's first video stream that can be decoded. Iterate once; ``errors`` and ``complete`` tell,
    so far and at the end, how much could not be read."""

    def __init__(self, path: str, limits: Limits | None = None) -> None:
        """Opens the file and decodes its first frame.

        Raises ``Problem``: ``unsupported_media`` for content that is no video, ``undecodable_media`` where no frame
        can be had, ``too_large`` beyond ``limits``.
        """
        self._limits = limits or Limits()
        self.errors = 0
        self.decoded = 0
        self._skipped = 0
        self._packets_read = 0
        self._media_type = _media_type(path)
        self._container = opened(path, DEMUXERS[self._media_type])
        self._images, first = self._first_image(path)
        self._clock = _Clock(self._stream.time_base or Fraction(1, 1000), _rate(self._stream))
        self._turned: tuple[int, int, int] | None = None
        self._turn = Turn()
        self._frame = self._placed(first)
        self._start_s = self._frame.time_s
        self._end_s = self._start_s
        self.info = self._described(self._frame)
        self._check(self.info.duration_s or 0.0)

    def __iter__(self) -> Iterator[Frame]:
        yield from self._counted(self._frame)
        for image in self._images:
            yield from self._counted(self._placed(image))

    @property
    def stream(self) -> VideoStream:
        """The stream that is decoded."""
        return self._stream

    @property
    def first(self) -> Frame:
        """Its first frame, before the iteration has begun."""
        return self._frame

    @property
    def complete(self) -> bool:
        """Whether all that the file declares has come, and without errors."""
        if self.errors:
            return False
        if self._stream.frames:
            return self.decoded + self._skipped >= self._stream.frames
        # Containers that declare no number of frames (Matroska, FLV) count their duration from time 0.
        return self._end_s >= NEARLY * (self.info.duration_s or 0.0)

    def close(self) -> None:
        self._container.close()

    def _first_image(self, path: str) -> tuple[Iterator[VideoFrame], VideoFrame]:
        """The frames of the first stream that has any, and the first of them, which the iterator lacks."""
        from av.stream import Discard

        streams = [stream.index for stream in self._container.streams.video if _is_moving(stream)]
        if not streams:
            raise Problem("undecodable_media", _why_nothing(self._container))
        packets = 0
        for index in streams:
            self._stream = next(stream for stream in self._container.streams.video if stream.index == index)
            context = self._stream.codec_context
            _check_pixels(context.width, context.height, self._limits)
            _multithread(context, self._limits)
            for other in self._container.streams:
                other.discard = Discard.default if other.index == index else Discard.all
            images = self._read()
            first = next(images, None)
            if first is not None:
                return images, first
            packets += self._packets_read
            self.errors = self._skipped = self._packets_read = 0
            if index != streams[-1]:
                self._container.close()
                self._container = opened(path, DEMUXERS[self._media_type])
        raise Problem("undecodable_media", _why_no_frame(packets))

    def _read(self) -> Iterator[VideoFrame]:
        """Decoded images. What cannot be read or decoded is skipped and counted."""
        from av.error import FFmpegError

        context = self._stream.codec_context
        for packet in self._packets():
            self._packets_read += 1
            self._skipped += packet.is_discard
            try:
                yield from context.decode(packet)
            except FFmpegError:
                self.errors += 1
        with suppress(EOFError, FFmpegError):
            yield from context.decode(None)

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        from av.error import FFmpegError

        for _ in range(_FAILED_READS):
            read = False
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size:
                        read = True
                        yield packet
                return
            except FFmpegError:
                self.errors += 1
                if not read:
                    return

    def _placed(self, image: VideoFrame) -> Frame:
        self.errors += image.is_corrupt
        time_s, duration_s = self._clock.place(image.pts, image.duration)
        key = image.rotation, image.width, image.height
        if key != self._turned:
            self._turned, self._turn = key, _turn(image)
        turn = self._turn
        width, height = (image.height, image.width) if turn.swap else (image.width, image.height)
        return Frame(self.decoded, time_s, duration_s, image, turn, width, height)

    def _counted(self, frame: Frame) -> Iterator[Frame]:
        _check_pixels(frame.width, frame.height, self._limits)
        self.decoded += 1
        self._end_s = frame.time_s + frame.duration_s
        self._check(frame.time_s - self._start_s)
        yield frame

    def _check(self, duration_s: float) -> None:
        limits = self._limits
        if duration_s > limits.max_duration_s:
            raise Problem("too_large", f"{duration_s:.0f} s are more than the {limits.max_duration_s:g} s of a video")
        if max(self.decoded, self._stream.frames) > limits.max_frames:
            raise Problem("too_large", f"the video has more than {limits.max_frames:,} frames")

    def _described(self, first: Frame) -> VideoInfo:
        duration, rate = _duration(self._container, self._stream), _rate(self._stream)
        frames = self._stream.frames or (round(duration * rate) if duration and rate else None)
        name = self._stream.codec_context.codec.canonical_name
        return VideoInfo(self._media_type, name, first.width, first.height, duration, first.time_s, rate, frames)


class _Clock:
    """Times of frames in seconds, strictly ascending, from timestamps that may lack, repeat or run backwards."""

    def __init__(self, tick: Fraction, rate: float | None) -> None:
        self._numerator, self._denominator = tick.numerator, tick.denominator
        self._step = 1 / rate if rate else 0.04
        self._last: float | None = None

    def place(self, pts: int | None, duration: int) -> tuple[float, float]:
        """When a frame is shown, and for how long.

        A missing duration, or one of a single tick, which is what FFmpeg gives where it knows none, is taken to be
        that of the frame before.
        """
        time_s = None if pts is None else self._seconds(pts)
        if self._last is None:
            time_s = time_s or 0.0
        elif time_s is None or time_s <= self._last:
            time_s = self._last + self._step
        else:
            self._step = time_s - self._last
        self._last = time_s
        return time_s, self._seconds(duration) if duration > 1 else self._step

    def _seconds(self, ticks: int) -> float:
        return ticks * self._numerator / self._denominator


def _media_type(path: str) -> str:
    with open(path, "rb") as file:
        head = file.read(WINDOW)
    if not head:
        raise Problem("undecodable_media", "the video is empty: 0 bytes")
    media_type = sniff(head)
    if media_type in DEMUXERS:
        return media_type
    if media_type is not None and media_type.startswith("audio/"):
        raise Problem("undecodable_media", f"the file is {media_type}: it has sound and no video")
    raise Problem("unsupported_media", f"{media_type or 'unknown content'} is not a video that is read here")


def opened(path: str, demuxer: str) -> InputContainer:
    """The file, read by this demuxer and no other. Raises Problem("undecodable_media")."""
    import av
    import av.logging
    from av.error import FFmpegError

    av.logging.set_level(None)
    demuxer = exact_demuxer(path, demuxer)
    options = {"protocol_whitelist": "file", "format_whitelist": demuxer, "max_streams": str(MAX_STREAMS)}
    try:
        return av.open(path, "r", format=demuxer, container_options=options, metadata_errors="replace")
    except MemoryError:
        raise
    except (FFmpegError, ValueError) as error:
        text = f"the file ({demuxer}) cannot be opened: its headers are missing or broken"
        raise Problem("undecodable_media", text) from error


def exact_demuxer(path: str, demuxer: str) -> str:
    """``mpegvideo`` in place of ``mpeg`` for a bare stream: it begins with a sequence header, and what is multiplexed
    with a pack header (ISO/IEC 13818-1, -2)."""
    if demuxer != "mpeg":
        return demuxer
    with open(path, "rb") as file:
        return "mpeg" if file.read(4) == b"\0\0\x01\xba" else "mpegvideo"


def _is_moving(stream: VideoStream) -> bool:
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.timed_thumbnails
    return stream.codec_context is not None and not stream.disposition & still


def _why_nothing(container: InputContainer) -> str:
    if container.streams.video:
        return "the codec of the video is unknown, or the file has only a cover picture"
    return "the file has sound and no video" if container.streams.audio else "the file has no video"


def _why_no_frame(packets: int) -> str:
    if packets:
        return f"none of the video's {packets} packets can be decoded: it is damaged or encrypted"
    return "the video has no frames"


def _multithread(context: Any, limits: Limits) -> None:
    import os

    context.thread_type = "AUTO"
    context.thread_count = min(MAX_THREADS, len(os.sched_getaffinity(0)) + 1)
    # Twice, because codecs count their padding; frames are checked to the pixel when they come.
    context.options = {"max_pixels": str(2 * limits.max_pixels)}


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        text = f"frames of {width} x {height} pixels are more than the {limits.max_pixels:,} that are decoded"
        raise Problem("too_large", text)


def _turn(image: VideoFrame) -> Turn:
    data: Any = image.side_data.get("DISPLAYMATRIX")
    return Turn() if data is None else Turn.of_matrix(bytes(data))


def _rate(stream: VideoStream) -> float | None:
    rate = stream.average_rate
    return float(rate) if rate and 0 < rate <= MAX_RATE else None


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds: the stream's own, Matroska's tag of it, or the whole file's."""
    import re

    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if tag := re.fullmatch(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    return container.duration / 1_000_000 if container.duration else None
