"""CMAF track files: one stream in one fragmented MP4, with an index of its segments in front.

Boxes as in ISO/IEC 14496-12 (the file format) and 14496-15, 14496-14 and the codecs' own bindings (codec strings).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from serve_app.adaptation.codec_strings import codec_string

_COPY = 1 << 20
_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf"}


@dataclass(frozen=True)
class Segment:
    """One fragment: ``offset`` and ``size`` in bytes of the file, ``start`` and ``duration`` in ticks."""

    offset: int
    size: int
    start: int
    duration: int
    key_size: int
    """Bytes from ``offset`` to the end of its first picture."""


@dataclass(frozen=True)
class TrackFile:
    """What a manifest says of a track file."""

    path: Path
    codecs: str
    """RFC 6381, of what the stream has become."""
    timescale: int
    header_size: int
    """Bytes of ``ftyp`` and ``moov``."""
    index_size: int
    """Bytes of the ``sidx`` behind them."""
    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.header_size + self.index_size + sum(each.size for each in self.segments)

    @property
    def duration_s(self) -> Fraction:
        return Fraction(sum(each.duration for each in self.segments), self.timescale)

    @property
    def peak(self) -> int:
        """Bit/s of the densest segment."""
        return max(-(-each.size * 8 * self.timescale // each.duration) for each in self.segments if each.duration)

    @property
    def average(self) -> int:
        """Bit/s of the whole."""
        return -(-sum(each.size for each in self.segments) * 8 // max(self.duration_s, Fraction(1, 1000)))


@dataclass(frozen=True)
class _Box:
    kind: bytes
    start: int
    body: int
    end: int


def index_file(raw: Path, to: Path) -> TrackFile:
    """Writes ``raw``, as FFmpeg made it, with an index of its fragments (``sidx``) before the first, to ``to``.

    Raises ValueError where ``raw`` is no fragmented MP4 of one track, or has no fragment.
    """
    with raw.open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        boxes = list(_boxes(source, 0, size))
        first = next((at for at, box in enumerate(boxes) if box.kind == b"moof"), None)
        moov = next((box for box in boxes if box.kind == b"moov"), None)
        if moov is None or first is None:
            raise ValueError(f"{raw.name} has no fragments")
        header = b"".join(_bytes(source, box) for box in boxes[:first] if box.kind in (b"ftyp", b"moov"))
        track = _Track.read(_bytes(source, moov))
        fragments = [
            _fragment(source, box, boxes[at + 1], track) for at, box in enumerate(boxes) if box.kind == b"moof"
        ]
        index = _sidx(track, fragments)
        place = len(header) + len(index)
        segments = []
        with to.open("xb") as target:
            target.write(header + index)
            for one in fragments:
                segments.append(Segment(place, one.size, one.start, one.duration, one.key_size))
                _copy(source, one.offset, one.size, target)
                place += one.size
    return TrackFile(to, track.codecs, track.timescale, len(header), len(index), tuple(segments))


@dataclass(frozen=True)
class _Track:
    """Of ``moov``: what its fragments leave out."""

    number: int
    timescale: int
    codecs: str
    duration: int
    size: int

    @classmethod
    def read(cls, moov: bytes) -> _Track:
        found: dict[bytes, bytes] = {}
        for kind, body in _inside(moov[8:]):
            if kind in found and kind == b"tkhd":
                raise ValueError("the file has more than one track")
            found.setdefault(kind, body)
        mdhd, trex = found[b"mdhd"], found[b"trex"]
        timescale = struct.unpack_from(">I", mdhd, 20 if mdhd[0] else 12)[0]
        number, _, duration, size, _ = struct.unpack_from(">5I", trex, 4)
        return cls(number, timescale, codec_string(found[b"stsd"]), duration, size)


def _inside(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All boxes in ``data``, those within containers too, with their bodies."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8 or at + size > len(data):
            raise ValueError("a box ends beyond the one around it")
        body = data[at + 8 : at + size]
        yield kind, body
        if kind in _CONTAINERS:
            yield from _inside(body)
        at += size


def _boxes(file: BinaryIO, at: int, end: int) -> Iterator[_Box]:
    while at + 8 <= end:
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(8))
        body = at + 8
        if size == 1:
            size = struct.unpack(">Q", file.read(8))[0]
            body += 8
        if size < body - at or at + size > end:
            raise ValueError("the file ends within a box")
        yield _Box(kind, at, body, at + size)
        at += size


def _bytes(file: BinaryIO, box: _Box) -> bytes:
    file.seek(box.start)
    return file.read(box.end - box.start)


def _fragment(file: BinaryIO, moof: _Box, mdat: _Box, track: _Track) -> Segment:
    """The fragment of a ``moof`` and the ``mdat`` behind it, at its place in ``file``."""
    if mdat.kind != b"mdat":
        raise ValueError("a fragment has no data")
    boxes = dict(_inside(_bytes(file, moof)[8:]))
    default_duration, default_size = _defaults(boxes[b"tfhd"], track)
    tfdt = boxes[b"tfdt"]
    start = struct.unpack_from(">Q" if tfdt[0] else ">I", tfdt, 4)[0]
    durations, sizes = _samples(boxes[b"trun"], default_duration, default_size)
    key_size = mdat.body - moof.start + sizes[0]
    return Segment(moof.start, mdat.end - moof.start, start, sum(durations), key_size)


def _defaults(tfhd: bytes, track: _Track) -> tuple[int, int]:
    """Duration and size of samples that do not tell their own (14496-12, 8.8.7)."""
    flags = int.from_bytes(tfhd[1:4])
    at = 8 + (8 if flags & 0x1 else 0) + (4 if flags & 0x2 else 0)
    duration, size = track.duration, track.size
    if flags & 0x8:
        duration = struct.unpack_from(">I", tfhd, at)[0]
        at += 4
    if flags & 0x10:
        size = struct.unpack_from(">I", tfhd, at)[0]
    return duration, size


def _samples(trun: bytes, duration: int, size: int) -> tuple[list[int], list[int]]:
    """Durations and sizes of a run (14496-12, 8.8.8)."""
    flags = int.from_bytes(trun[1:4])
    count = struct.unpack_from(">I", trun, 4)[0]
    at = 8 + (4 if flags & 0x1 else 0) + (4 if flags & 0x4 else 0)
    fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
    values = struct.unpack_from(f">{count * len(fields)}I", trun, at)
    columns = {bit: list(values[number :: len(fields)]) for number, bit in enumerate(fields)}
    if not count:
        raise ValueError("a fragment has no samples")
    return columns.get(0x100, [duration] * count), columns.get(0x200, [size] * count)


def _sidx(track: _Track, fragments: list[Segment]) -> bytes:
    """The index of all fragments (14496-12, 8.16.3); each begins with a picture that needs no other."""
    head = struct.pack(">IIIQQHH", 1 << 24, track.number, track.timescale, fragments[0].start, 0, 0, len(fragments))
    rows = b"".join(struct.pack(">III", one.size, one.duration, 0x90000000) for one in fragments)
    return struct.pack(">I4s", 8 + len(head) + len(rows), b"sidx") + head + rows


def _copy(source: BinaryIO, offset: int, size: int, target: BinaryIO) -> None:
    source.seek(offset)
    while size:
        chunk = source.read(min(size, _COPY))
        if not chunk:
            raise ValueError("the file ends within a fragment")
        target.write(chunk)
        size -= len(chunk)
