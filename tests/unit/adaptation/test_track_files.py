"""Track files against FFmpeg's own reading of them."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import pytest

from serve_app.adaptation.track_files import TrackFile, index_file
from serve_app.media import ffmpeg

PICTURES = ("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=5")
SOUND = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=5")
FRAGMENTS = ("-movflags", "+cmaf+empty_moov+default_base_moof+frag_keyframe+negative_cts_offsets", "-use_editlist", "0")
CODECS = {
    "h264": (*PICTURES, "-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "baseline", *FRAGMENTS),
    "h264-high": (*PICTURES, "-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", *FRAGMENTS),
    "vp9": (*PICTURES, "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", *FRAGMENTS),
    "av1": (*PICTURES, "-c:v", "libsvtav1", "-preset", "12", *FRAGMENTS),
    "aac": (*SOUND, "-c:a", "aac", "-movflags", "+cmaf+empty_moov+delay_moov", "-frag_duration", "2000000"),
    "opus": (*SOUND, "-c:a", "libopus", "-movflags", "+cmaf+empty_moov+delay_moov", "-frag_duration", "2000000"),
}


def make(place: Path, *words: str) -> Path:
    raw = place / "raw.mp4"
    command = [ffmpeg.binary(), "-nostdin", "-v", "error", "-y", *words, "-g", "50", "-f", "mp4", str(raw)]
    subprocess.run(command, check=True, timeout=60)
    return raw


@pytest.fixture(scope="module", params=CODECS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrackFile]:
    place = tmp_path_factory.mktemp(request.param)
    raw = make(place, *CODECS[request.param])
    return raw, index_file(raw, place / "indexed.mp4")


def test_the_packets_are_those_of_the_raw_file(made: tuple[Path, TrackFile]) -> None:
    raw, track = made

    def packets(path: Path) -> list[tuple[int | None, int | None, bytes]]:
        with av.open(str(path)) as container:
            return [(each.pts, each.dts, bytes(each)) for each in container.demux() if each.size]

    assert packets(track.path) == packets(raw)
    assert track.size == track.path.stat().st_size


def test_every_segment_begins_where_ffmpeg_finds_its_first_packet(made: tuple[Path, TrackFile]) -> None:
    _, track = made
    with av.open(str(track.path)) as container:
        (stream,) = container.streams
        packets = [(each.pos, each.size, each.is_keyframe, each.duration) for each in container.demux() if each.size]
        duration = stream.duration
        kind = stream.type
        assert stream.time_base == Fraction(1, track.timescale)
    assert sum(each.duration for each in track.segments) == duration
    assert [each.offset for each in track.segments[1:]] == [each.offset + each.size for each in track.segments[:-1]]
    assert track.segments[-1].offset + track.segments[-1].size == track.path.stat().st_size
    if kind == "video":
        assert len(track.segments) == 3  # 50 + 50 + 25 pictures
    for segment in track.segments:
        inside = [each for each in packets if segment.offset <= each[0] < segment.offset + segment.size]
        place, size, key, _ = inside[0]
        assert key
        assert place + size == segment.offset + segment.key_size
    assert len(packets) == sum(
        segment.offset <= each[0] < segment.offset + segment.size for each in packets for segment in track.segments
    )


def test_the_codec_string_is_the_one_that_ffmpeg_writes_into_a_manifest(made: tuple[Path, TrackFile]) -> None:
    _, track = made
    manifest = track.path.parent / "theirs.mpd"
    command = [ffmpeg.binary(), "-nostdin", "-v", "error", "-y", "-i", str(track.path), "-c", "copy", "-f", "dash"]
    subprocess.run([*command, str(manifest)], check=True, timeout=60, cwd=manifest.parent)
    (theirs,) = re.findall(r'codecs="([^"]+)"', manifest.read_text())
    assert track.codecs.lower() == theirs.lower()


def test_rates_are_of_bytes_and_seconds(made: tuple[Path, TrackFile]) -> None:
    _, track = made
    assert float(track.duration_s) == pytest.approx(5, abs=0.1)
    body = track.path.stat().st_size - track.header_size - track.index_size
    assert track.average == pytest.approx(body * 8 / float(track.duration_s), rel=1e-3)
    assert track.peak >= track.average


def test_a_player_finds_segments_by_the_index_alone(made: tuple[Path, TrackFile]) -> None:
    _, track = made
    box = track.path.read_bytes()[track.header_size : track.header_size + track.index_size]
    assert box[4:8] == b"sidx"
    assert int.from_bytes(box[:4]) == track.index_size
    # ISO/IEC 14496-12, 8.16.3: after version, flags, ids, earliest time, offset and count, 12 bytes a reference.
    rows = [box[at : at + 12] for at in range(40, len(box), 12)]
    sizes = [int.from_bytes(row[:4]) for row in rows]
    assert sizes == [each.size for each in track.segments]
    assert all(row[0] < 128 for row in rows)  # a reference to media
    assert [int.from_bytes(row[4:8]) for row in rows] == [each.duration for each in track.segments]


@pytest.mark.parametrize("cut", [10, 200, 900, -1])
def test_a_torn_file_is_refused(tmp_path: Path, cut: int) -> None:
    raw = make(tmp_path, *CODECS["h264"])
    raw.write_bytes(raw.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"ends within|no fragments|no data"):
        index_file(raw, tmp_path / "indexed.mp4")


def test_two_tracks_are_refused(tmp_path: Path) -> None:
    raw = make(tmp_path, *PICTURES, *SOUND, "-c:v", "libx264", "-c:a", "aac", *FRAGMENTS)
    with pytest.raises(ValueError, match="more than one track"):
        index_file(raw, tmp_path / "indexed.mp4")


def test_an_unknown_codec_is_refused(tmp_path: Path) -> None:
    raw = make(tmp_path, *SOUND, "-c:a", "flac", "-movflags", "+empty_moov+delay_moov", "-frag_duration", "2000000")
    with pytest.raises(ValueError, match="no codec that is made here"):
        index_file(raw, tmp_path / "indexed.mp4")
