"""Whole ladders of small videos: what players would find in the folder, read by others' code."""

from __future__ import annotations

import asyncio
import re
import subprocess
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import av
import m3u8
import numpy as np
import pytest
from PIL import Image

from serve_app.adaptation.adapt import Adapted, EncodeLimits, adapt
from serve_app.adaptation.ladder import load_ladder
from serve_app.errors import Problem
from serve_app.media import ffmpeg
from serve_app.media.video import Limits
from tests.made_videos import Pixels, corners, noise, write_sound, write_video

LADDER = load_ladder()
MPD = "{urn:mpeg:dash:schema:mpd:2011}"


def make(file: Path, to: Path, preset: str = "web", limits: EncodeLimits | None = None) -> Adapted:
    return asyncio.run(adapt(file, to, preset, LADDER, limits=limits))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine seconds of 640 x 360 at 25 frames a second."""
    place = tmp_path_factory.mktemp("clip")
    return write_video(place / "clip.mp4", noise(225, (640, 360)), rate=25)


@pytest.fixture(scope="module")
def ladder(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Adapted]:
    to = tmp_path_factory.mktemp("out") / "ladder"
    return to, make(clip, to)


def test_every_rendition_has_every_frame(ladder: tuple[Path, Adapted]) -> None:
    to, made = ladder
    assert [each.out.name for each in made.outputs.videos] == ["h264-240", "h264-360"]
    for each in made.outputs.videos:
        with av.open(str(to / f"{each.out.name}.mp4")) as container:
            frames = list(container.decode(video=0))
        assert len(frames) == 225
        assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(225)], abs=1e-3)
        assert {(frame.width, frame.height) for frame in frames} == {(each.out.width, each.out.height)}
        assert [index for index, frame in enumerate(frames) if frame.key_frame] == [0, 100, 200]


def test_segments_are_cut_at_the_same_times_in_all(ladder: tuple[Path, Adapted]) -> None:
    _, made = ladder
    times = {
        tuple(Fraction(one.start, each.file.timescale) for one in each.file.segments) for each in made.outputs.videos
    }
    assert times == {(0, 4, 8)}


def test_the_playlists_are_read_by_another_parser(ladder: tuple[Path, Adapted]) -> None:
    to, made = ladder
    main = m3u8.load(str(to / "master.m3u8"))
    assert main.is_variant
    assert main.is_independent_segments
    listed = {each.uri: each.stream_info for each in main.playlists}
    for video in made.outputs.videos:
        info = listed[f"{video.out.name}.m3u8"]
        assert info.resolution == (video.out.width, video.out.height)
        assert info.frame_rate == 25
        assert info.codecs == video.file.codecs
        assert info.average_bandwidth <= info.bandwidth
    for each in (*main.playlists, *main.iframe_playlists):
        media = m3u8.load(str(to / each.uri))
        assert media.playlist_type == "vod"
        assert media.is_endlist
        assert media.is_i_frames_only == each.uri.endswith("-keys.m3u8")
        assert sum(part.duration for part in media.segments) == pytest.approx(9)
        assert max(round(part.duration) for part in media.segments) <= media.target_duration
        _decodes(to, media)


def _decodes(to: Path, media: m3u8.M3U8) -> None:
    """The bytes that a playlist names, its head and any one segment, are a video by themselves."""
    (start,) = media.segment_map
    head = _range(to, start.uri, start.byterange)
    for number, part in enumerate(media.segments):
        place = to / "part.mp4"
        place.write_bytes(head + _range(to, part.uri, part.byterange))
        with av.open(str(place)) as container:
            frames = list(container.decode(video=0))
        place.unlink()
        assert frames[0].key_frame
        assert frames[0].time == pytest.approx(4 * number, abs=1e-3)
        assert len(frames) == (1 if media.is_i_frames_only else round(part.duration * 25))


def _range(to: Path, uri: str, text: str) -> bytes:
    size, _, offset = text.partition("@")
    return (to / uri).read_bytes()[int(offset) : int(offset) + int(size)]


def test_bandwidths_are_measured(ladder: tuple[Path, Adapted]) -> None:
    to, _ = ladder
    main = m3u8.load(str(to / "master.m3u8"))
    for each in main.playlists:
        media = m3u8.load(str(to / each.uri))
        sizes = [int(part.byterange.partition("@")[0]) for part in media.segments]
        peak = max(8 * size / part.duration for size, part in zip(sizes, media.segments, strict=True))
        assert each.stream_info.bandwidth == pytest.approx(peak, abs=1)
        assert each.stream_info.average_bandwidth == pytest.approx(8 * sum(sizes) / 9, abs=1)


def test_the_manifest_of_dash_names_the_same_bytes(ladder: tuple[Path, Adapted]) -> None:
    to, made = ladder
    root = ElementTree.parse(to / "manifest.mpd").getroot()
    assert root.get("mediaPresentationDuration") == "PT9.000S"
    streams = {each.get("id"): each for each in root.iter(f"{MPD}Representation")}
    assert set(streams) == {each.out.name for each in made.outputs.videos}
    for video in made.outputs.videos:
        stream = streams[video.out.name]
        base = stream.find(f"{MPD}SegmentBase")
        name = stream.findtext(f"{MPD}BaseURL")
        assert base is not None
        assert name is not None
        data = (to / name).read_bytes()
        first, last = map(int, str(base.get("indexRange")).split("-"))
        assert data[first + 4 : first + 8] == b"sidx"
        assert int.from_bytes(data[first : first + 4]) == last - first + 1
        start = base.find(f"{MPD}Initialization")
        assert start is not None
        assert start.get("range") == f"0-{first - 1}"


def test_all_files_are_told_with_their_types(ladder: tuple[Path, Adapted]) -> None:
    to, made = ladder
    assert set(made.files) == {path.name for path in to.iterdir()}
    assert made.files["master.m3u8"] == "application/vnd.apple.mpegurl"
    assert [path for path in to.parent.iterdir() if path != to] == []


def test_sound_and_pictures_begin_together(tmp_path: Path) -> None:
    """A flash and a beep at the same instant are there again in the streams, to a hundredth of a second."""
    pictures = [np.full((240, 320, 3), 255 if 50 <= index < 60 else 0, np.uint8) for index in range(100)]
    write_video(tmp_path / "flash.mp4", pictures, rate=25)
    file = tmp_path / "both.mkv"
    _with_beep(tmp_path / "flash.mp4", file)
    to = tmp_path / "out"
    make(file, to)
    with av.open(str(to / "h264-240.mp4")) as container:
        flash = next(float(frame.time) for frame in container.decode(video=0) if frame.to_ndarray()[:240].mean() > 100)
    with av.open(str(to / "aac.mp4")) as container:
        heard = [
            (float(frame.time), np.abs(frame.to_ndarray()).max(axis=0), frame.sample_rate)
            for frame in container.decode(audio=0)
        ]
    start, samples, rate = next(each for each in heard if each[1].max() > 0.2)
    beep = start + int(np.argmax(samples > 0.2)) / rate
    assert flash == pytest.approx(2.0, abs=1e-3)
    assert beep == pytest.approx(2.0, abs=0.01)


def _with_beep(pictures: Path, to: Path) -> None:
    rate, seconds = 48000, 4
    wave = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate * seconds) / rate)
    wave[: 2 * rate] = 0
    with av.open(str(to), "w") as output, av.open(str(pictures)) as source:
        video = output.add_stream_from_template(source.streams.video[0])
        sound = output.add_stream("pcm_s16le", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate, frame.pts = rate, 0
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                output.mux(packet)
        output.mux(sound.encode(frame))
        output.mux(sound.encode(None))


def test_turned_pictures_come_out_upright(tmp_path: Path) -> None:
    file = write_video(tmp_path / "turned.mp4", [corners((320, 240))] * 10, turn={"degrees": 90})
    to = tmp_path / "out"
    made = make(file, to)
    assert [(each.out.width, each.out.height) for each in made.outputs.videos] == [(240, 320)]
    with av.open(str(file)) as container, av.open(str(to / "h264-240.mp4")) as mine:
        frame = next(container.decode(video=0))
        stored = frame.to_ndarray(format="rgb24")
        ours = next(mine.decode(video=0)).to_ndarray(format="rgb24")
    turned = np.rot90(stored, round(frame.rotation / 90))
    assert np.abs(turned.astype(int) - ours).mean() < 6


def test_sound_alone(tmp_path: Path) -> None:
    to = tmp_path / "out"
    made = make(write_sound(tmp_path / "sound.m4a"), to)
    assert set(made.files) == {"aac.m3u8", "aac.mp4", "manifest.mpd", "master.m3u8"}
    main = m3u8.load(str(to / "master.m3u8"))
    assert [each.uri for each in main.playlists] == ["aac.m3u8"]
    assert [each.uri for each in main.media] == ["aac.m3u8"]


def test_words_become_webvtt(tmp_path: Path) -> None:
    cues = tmp_path / "words.srt"
    cues.write_text("1\n00:00:00,500 --> 00:00:01,250\nHello <b>there</b>\n\n")
    video = write_video(tmp_path / "clip.mp4", noise(50, (320, 240)))
    file = tmp_path / "both.mkv"
    _mixed(video, cues, file)
    to = tmp_path / "out"
    made = make(file, to)
    assert re.search(r"00:00\.500 --> 00:01\.250\nHello <b>there</b>", (to / "subtitles-0.vtt").read_text())
    main = m3u8.load(str(to / "master.m3u8"))
    (words,) = (each for each in main.media if each.type == "SUBTITLES")
    assert words.language == "ger"
    assert m3u8.load(str(to / words.uri)).segments[0].uri == "subtitles-0.vtt"
    assert made.files["subtitles-0.vtt"] == "text/vtt"


def _mixed(video: Path, cues: Path, to: Path) -> None:
    inputs = ("-i", str(video), "-i", str(cues), "-c:v", "copy", "-c:s", "srt", "-metadata:s:s:0", "language=ger")
    subprocess.run([ffmpeg.binary(), "-v", "error", "-nostdin", *inputs, str(to)], check=True, timeout=60)


def test_what_a_camera_wrote_about_its_owner_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "located.mp4"
    write_video(tmp_path / "plain.mp4", noise(10, (320, 240)))
    with av.open(str(tmp_path / "plain.mp4")) as source, av.open(str(file), "w") as output:
        output.metadata["comment"] = "+48.2082+016.3738/"
        output.metadata["title"] = "our garden"
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    assert b"48.2082" in file.read_bytes()
    to = tmp_path / "out"
    make(file, to)
    told = b"".join(path.read_bytes() for path in to.iterdir())
    assert b"48.2082" not in told
    assert b"our garden" not in told


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, clip: Path) -> None:
    to = tmp_path / "out"
    to.mkdir()
    (to / "mine.txt").write_text("mine")
    with pytest.raises(Problem) as told:
        make(clip, to)
    assert told.value.code == "conflict"
    assert [path.name for path in to.iterdir()] == ["mine.txt"]


def test_nothing_is_left_of_what_failed(tmp_path: Path, clip: Path) -> None:
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(clip.read_bytes()[:2000])
    with pytest.raises(Problem) as told:
        make(torn, tmp_path / "out" / "ladder")
    assert told.value.code == "undecodable_media"
    with pytest.raises(Problem, match="are more than the 5 s"):
        make(clip, tmp_path / "out" / "ladder", limits=EncodeLimits(Limits(max_duration_s=5)))
    with pytest.raises(Problem):
        make(clip, tmp_path / "out" / "ladder", limits=EncodeLimits(memory_mb=64))
    assert list(tmp_path.glob("out/*")) + list(tmp_path.glob("out/.*")) == []


def test_newer_codecs_stand_beside_the_one_that_all_players_know(tmp_path: Path) -> None:
    file = tmp_path / "both.mkv"
    _with_beep(write_video(tmp_path / "clip.mp4", noise(100, (426, 240)), rate=25), file)
    to = tmp_path / "out"
    made = make(file, to, "modern")
    codecs = {each.out.name: each.file.codecs for each in made.outputs.videos}
    assert {name: codec.partition(".")[0] for name, codec in codecs.items()} == {
        "h264-240": "avc1", "vp9-240": "vp09", "av1-240": "av01",
    }  # fmt: skip
    assert {each.file.codecs for each in made.outputs.audios} == {"mp4a.40.2", "opus"}
    main = m3u8.load(str(to / "master.m3u8"))
    pairs = {each.stream_info.codecs.partition(".")[0]: each.stream_info.audio for each in main.playlists}
    assert pairs == {"avc1": "aac", "vp09": "opus", "av01": "opus"}
    for name in codecs:
        with av.open(str(to / f"{name}.mp4")) as container:
            assert len(list(container.decode(video=0))) == 100
    root = ElementTree.parse(to / "manifest.mpd").getroot()
    assert len(list(root.iter(f"{MPD}AdaptationSet"))) == 5


def test_small_pictures_for_the_time_line(tmp_path: Path) -> None:
    """Each cue names the part of the sheet that shows what the film shows in the middle of its time."""
    pattern = noise(1, (640, 360))[0].astype(int) // 8
    pictures = [(pattern + 22 * (number // 50)).clip(0, 255).astype(np.uint8) for number in range(550)]
    file = write_video(tmp_path / "steps.mp4", pictures, rate=25)
    to = tmp_path / "out"
    made = make(file, to)
    assert made.files["thumbnails.jpg"] == "image/jpeg"
    cues = re.findall(
        r"(\S+) --> (\S+)\nthumbnails\.jpg#xywh=(\d+),(\d+),(\d+),(\d+)", (to / "thumbnails.vtt").read_text()
    )
    assert len(cues) == 11
    assert cues[0][:2] == ("00:00:00.000", "00:00:02.000")
    assert cues[-1][:2] == ("00:00:20.000", "00:00:22.000")
    with Image.open(to / "thumbnails.jpg") as sheet:
        assert sheet.size == (1600, 900)
        greys = np.asarray(sheet.convert("L"), float)
    for number, (_, _, left, top, width, height) in enumerate(cues):
        assert (width, height) == ("160", "90")
        part = greys[int(top) : int(top) + 90, int(left) : int(left) + 160]
        expected = np.asarray(Image.fromarray(pictures[50 * number + 25]).convert("L"), float).mean()
        assert part.mean() == pytest.approx(expected, abs=6)


def at_rate(rate: str, pictures: list[Pixels], place: Path) -> int:
    """The bits a second of a stream that may have 475,900."""
    table = LADDER.model_dump()
    table["presets"] = {"one": {"rungs": ["h264-360"], "rate": rate}}
    file = write_video(place / f"{rate}.mp4", pictures, rate=25)
    ladder = type(LADDER).model_validate(table)
    (stream,) = asyncio.run(adapt(file, place / rate, "one", ladder)).outputs.videos
    return stream.file.average


def test_a_fixed_rate_is_spent_and_a_capped_one_as_far_as_it_is_needed(tmp_path: Path) -> None:
    plain = noise(200, (640, 360))
    assert at_rate("capped", plain, tmp_path) < 0.8 * 475_900
    dice = np.random.default_rng(1)
    rough = [(each // 2 + dice.integers(0, 24, each.shape, np.uint8)) for each in plain]
    assert 0.8 * 475_900 < at_rate("fixed", rough, tmp_path) < 1.15 * 475_900
