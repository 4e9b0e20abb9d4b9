"""What is in a file, track by track."""

from __future__ import annotations

import asyncio
from pathlib import Path

import av
import pytest

from serve_app.errors import Problem
from serve_app.media.tracks import read_tracks
from serve_app.media.tracks_process import probe
from serve_app.media.video import Limits
from tests.made_videos import corners, greys, noise, write_sound, write_video


def test_a_video(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", noise(50, (320, 180)), rate=25)
    source = read_tracks(str(file))
    assert (source.media_type, source.demuxer, source.duration_s) == ("video/mp4", "mov", 2.0)
    assert source.video is not None
    assert (source.video.width, source.video.height, source.video.rate) == (320, 180, 25)
    assert (source.video.codec, source.video.hdr) == ("h264", None)
    assert (source.audios, source.subtitles, source.notes) == ((), (), ())
    assert asyncio.run(probe(str(file))) == source


def test_pixels_are_square_and_upright(tmp_path: Path) -> None:
    turned = read_tracks(str(write_video(tmp_path / "t.mp4", [corners((320, 180))] * 3, turn={"degrees": 90}))).video
    assert turned is not None
    assert (turned.width, turned.height) == (180, 320)
    wide = write_video(tmp_path / "w.mp4", greys(5, (360, 288)), x264opts="sar=16/11")
    wider = read_tracks(str(wide)).video
    assert wider is not None
    assert (wider.width, wider.height) == (round(360 * 16 / 11), 288)


def test_frames_that_last_unequally(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.12, 0.48, 0.52, 0.56, 1.0]
    track = read_tracks(str(write_video(tmp_path / "v.mp4", greys(8), times=times))).video
    assert track is not None
    assert track.rate == 25


def test_the_dynamic_range(tmp_path: Path) -> None:
    colours = "colorprim=bt2020:transfer={}:colormatrix=bt2020nc"
    for transfer, hdr in (("smpte2084", "pq"), ("arib-std-b67", "hlg"), ("bt709", None)):
        file = write_video(
            tmp_path / f"{transfer}.mp4", greys(5), pixels="yuv420p10le", x264opts=colours.format(transfer)
        )  # fmt: skip
        track = read_tracks(str(file)).video
        assert track is not None
        assert track.hdr == hdr


def test_sound_alone(tmp_path: Path) -> None:
    source = read_tracks(str(write_sound(tmp_path / "s.m4a")))
    assert source.video is None
    (track,) = source.audios
    assert (track.index, track.codec, track.channels, track.sample_rate) == (0, "aac", 2, 44100)
    assert source.duration_s == pytest.approx(1, abs=0.05)


def test_a_track_without_any_sound_is_left_out(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", noise(50, (320, 240)))
    file = tmp_path / "declared.mkv"
    with av.open(str(film)) as source, av.open(str(file), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        output.add_stream("aac", rate=48000).codec_context.open()
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    with av.open(str(file)) as container:
        assert len(container.streams.audio) == 1
    found = read_tracks(str(file))
    assert found.audios == ()
    assert found.notes == ("track 1 is left out: it has no sound that can be decoded",)


def test_what_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "a.mp4"
    text.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    film = write_video(tmp_path / "b.mp4", greys(50))
    torn = tmp_path / "c.mp4"
    torn.write_bytes(film.read_bytes()[:300])
    for file, limits, code in (
        (text, Limits(), "unsupported_media"),
        (torn, Limits(), "undecodable_media"),
        (film, Limits(max_duration_s=1), "too_large"),
        (film, Limits(max_pixels=100), "too_large"),
    ):
        with pytest.raises(Problem) as told:
            asyncio.run(probe(str(file), limits))
        assert told.value.code == code, file


def test_tracks_of_a_film_with_two_languages(shared: Path) -> None:
    source = read_tracks(str(shared / "media" / "video" / "nasa_multistream.mp4"))
    assert source.video is not None
    assert (source.video.index, source.video.width, source.video.height) == (0, 320, 180)
    assert [(each.index, each.sample_rate, each.language) for each in source.audios] == [
        (1, 8000, "eng"),
        (4, 16000, "eng"),
    ]
    assert [(each.index, each.codec) for each in source.subtitles] == [(2, "mov_text"), (5, "mov_text")]
