"""Videos made for what can go wrong with them; what they hold is known because they were written so."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from serve_app.errors import Problem
from serve_app.media.frames import Frame, Painter, Turn
from serve_app.media.video import Limits, Video
from tests.made_videos import corners, greys, noise, write_sound, write_video

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


def frames_of(path: Path, limits: Limits | None = None) -> list[Frame]:
    return list(Video(str(path), limits))


def times_of(path: Path) -> list[float]:
    return [frame.time_s for frame in frames_of(path)]


def pixels_of(frame: Frame, max_side: int = 4000) -> np.ndarray:
    picture, _ = Painter().picture(frame, max_side)
    magic, size, depth, data = picture.split(b"\n", 3)
    assert (magic, depth) == (b"P6", b"255")
    width, height = map(int, size.split())
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def problem_of(path: Path, limits: Limits | None = None) -> Problem:
    with pytest.raises(Problem) as caught:
        frames_of(path, limits)
    return caught.value


def test_frames_come_in_the_order_of_showing_with_b_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "b.mp4", greys(40), **{"x264-params": "bframes=3:b-adapt=0:scenecut=0"})
    with av.open(str(path)) as container:
        delays = {packet.pts - packet.dts for packet in container.demux(video=0) if packet.size}
    assert len(delays) > 1, "the file has no B frames"
    frames = frames_of(path)
    assert [frame.index for frame in frames] == list(range(40))
    assert [frame.time_s for frame in frames] == pytest.approx([index / 25 for index in range(40)])
    greys_seen = [int(pixels_of(frame)[..., 0].mean() / 4 + 0.5) for frame in frames]
    assert greys_seen == list(range(40))


def test_times_of_a_variable_rate_are_the_files_own(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.54, 2.0, 2.3]
    path = write_video(tmp_path / "vfr.mp4", greys(6), times=times)
    assert times_of(path) == pytest.approx(times)


@pytest.mark.parametrize("name", ["late.mkv", "late.ts"])
def test_a_stream_that_starts_late_keeps_its_start(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, greys(5), times=[3.0 + index / 25 for index in range(5)])
    video = Video(str(path))
    assert video.info.start_s == pytest.approx(3.0, abs=0.001)
    assert [frame.time_s for frame in video] == pytest.approx([3 + index / 25 for index in range(5)], abs=0.001)


def test_missing_and_backward_timestamps_are_derived() -> None:
    from fractions import Fraction

    from serve_app.media.video import _Clock

    clock = _Clock(Fraction(1, 1000), 25.0)
    placed = [clock.place(pts, duration) for pts, duration in
              ((100, 40), (None, 40), (180, 0), (90, 1), (None, 20), (400, 40))]  # fmt: skip
    assert [time for time, _ in placed] == pytest.approx([0.1, 0.14, 0.18, 0.22, 0.26, 0.4])
    assert [duration for _, duration in placed] == pytest.approx([0.04, 0.04, 0.04, 0.04, 0.02, 0.04])


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ({"degrees": 0}, "red green blue white"),
        ({"degrees": 90}, "green white red blue"),
        ({"degrees": 180}, "white blue green red"),
        ({"degrees": 270}, "blue red white green"),
        ({"degrees": 0, "hflip": True}, "green red white blue"),
        ({"degrees": 0, "vflip": True}, "blue white red green"),
    ],
)
def test_pictures_stand_upright(tmp_path: Path, turn: dict[str, int], expected: str) -> None:
    """The four corners, row by row, after a counterclockwise turn of the picture and mirroring."""
    path = write_video(tmp_path / "turned.mp4", [corners()] * 2, pixels="yuv444p", turn=turn)
    video = Video(str(path))
    frame = next(iter(video))
    upside = turn["degrees"] in (90, 270)
    assert (video.info.width, video.info.height) == ((48, 64) if upside else (64, 48))
    assert (frame.width, frame.height) == (video.info.width, video.info.height)
    for pixels in (
        pixels_of(frame),
        pixels_of(frame, 32),
        Painter().crop(frame, 40, 40),
        np.stack([Painter().thumbnail(frame, 50)] * 3, -1),
    ):
        height, width = pixels.shape[:2]
        seen = [pixels[height * y // 4, width * x // 4] for y in (1, 3) for x in (1, 3)]
        assert [nearest_colour(colour) for colour in seen] == expected.split()


def nearest_colour(pixel: np.ndarray) -> str:
    """By BT.601 luma where the pixel is grey: 76, 150, 29 and 255."""
    grey = np.ptp(pixel) == 0
    named = {name: np.array(rgb) @ LUMA if grey else np.array(rgb) for name, rgb in COLOURS.items()}
    return min(named, key=lambda name: np.abs(named[name] - (pixel[0] if grey else pixel)).sum())


def test_thumbnails_see_no_change_of_colour_alone(tmp_path: Path) -> None:
    red, green = (np.full((64, 64, 3), rgb, np.uint8) for rgb in ((254, 0, 0), (0, 129, 0)))
    path = write_video(tmp_path / "equal.mp4", [red, green], pixels="yuv444p")
    one, other = (Painter().thumbnail(frame, 50).astype(int) for frame in Video(str(path)))
    assert np.abs(one - other).max() <= 2
    assert np.abs(one - np.array([254, 0, 0]) @ LUMA).max() <= 2


@pytest.mark.parametrize(
    ("size", "pixels", "codec", "name"),
    [((65, 49), "yuv444p", "libx264", "odd.mp4"), ((33, 17), "bgr0", "ffv1", "odd.mkv"),
     ((2, 2), "yuv420p", "libx264", "tiny.mp4"), ((64, 48), "yuv420p10le", "libx264", "deep.mp4"),
     ((64, 48), "yuv420p", "mpeg4", "old.avi"), ((64, 48), "yuv420p", "flv1", "old.flv"),
     ((64, 48), "yuv420p", "mpeg2video", "old.mpg"), ((64, 48), "yuv420p", "mpeg2video", "old.m2v"),
     ((64, 48), "yuv420p", "libvpx", "web.webm")],
)  # fmt: skip
def test_odd_sizes_depths_and_containers(
    tmp_path: Path, size: tuple[int, int], pixels: str, codec: str, name: str
) -> None:
    path = write_video(tmp_path / name, greys(8, size), codec=codec, pixels=pixels)
    video = Video(str(path))
    frames = list(video)
    assert (video.info.width, video.info.height, len(frames), video.errors) == (*size, 8, 0)
    for index in (1, 7):
        picture = pixels_of(frames[index])
        assert picture.shape == (size[1], size[0], 3)
        assert picture.mean() == pytest.approx(4 * index, abs=3)


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    video = Video(str(write_video(tmp_path / "one.mp4", greys(1))))
    [frame] = video
    assert (frame.time_s, frame.duration_s, video.complete) == (0.0, pytest.approx(0.04), True)
    assert (video.info.frames, video.info.fps, video.info.codec) == (1, pytest.approx(25), "h264")


def test_a_damaged_middle_is_skipped_and_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "whole.mp4", noise(60), g="10")
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 4
    middle = begin + (len(data) - begin) // 3
    data[middle : middle + 3000] = bytes(np.random.default_rng(0).integers(0, 256, 3000, np.uint8))
    (tmp_path / "damaged.mp4").write_bytes(data)
    video = Video(str(tmp_path / "damaged.mp4"))
    times = [frame.time_s for frame in video]
    assert 30 < len(times) <= 60
    assert times[-1] == pytest.approx(59 / 25)
    assert times == sorted(set(times))
    assert video.errors > 0
    assert not video.complete


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.ts", "cut.flv"])
def test_a_truncated_file_gives_what_it_has(tmp_path: Path, name: str) -> None:
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    path = write_video(tmp_path / f"whole_{name}", noise(50), container=options, g="10")
    (tmp_path / name).write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    whole, cut = Video(str(path)), Video(str(tmp_path / name))
    assert len(list(whole)) == 50
    assert 20 < len(list(cut)) < 45
    assert whole.complete
    assert not cut.complete or name.endswith("ts"), "only a transport stream does not know how long it was"


def test_frames_that_change_their_size(tmp_path: Path) -> None:
    small = write_video(tmp_path / "small.ts", noise(10, (96, 64)))
    large = write_video(tmp_path / "large.ts", noise(10, (160, 128)), times=[2 + index / 25 for index in range(10)])
    (tmp_path / "both.ts").write_bytes(small.read_bytes() + large.read_bytes())
    frames = frames_of(tmp_path / "both.ts")
    sizes = [(frame.width, frame.height) for frame in frames]
    assert sizes.count((96, 64)) >= 9
    assert sizes.count((160, 128)) >= 9
    assert [pixels_of(frame).shape[1::-1] for frame in frames] == sizes
    assert frames[-1].time_s > frames[0].time_s + 2


def test_large_pictures_are_shrunk_and_say_how_much(tmp_path: Path) -> None:
    frame = frames_of(write_video(tmp_path / "wide.mp4", noise(1, (640, 250))))[0]
    picture, scale = Painter().picture(frame, 100)
    assert picture.startswith(b"P6\n100 39\n255\n")
    assert scale == 6.4
    shrunk = Painter().shrunk(frame, 320)
    picture, scale = Painter().picture(shrunk, 100)
    assert picture.startswith(b"P6\n100 39\n255\n")
    assert scale == 6.4
    assert np.abs(pixels_of(shrunk, 100).astype(int) - pixels_of(frame, 100)).mean() < 6


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "undecodable_media"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "unsupported_media"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "unsupported_media"),
        (b"1\n00:00:01,000 --> 00:00:02,000\nHello\n", "unsupported_media"),
        (b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'/>", "unsupported_media"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_media"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", "unsupported_media"),
        (bytes(range(256)) * 8, "unsupported_media"),
        (b"GIF89a" + bytes(40), "unsupported_media"),
        (b"ID3\x04\0" + bytes(40), "undecodable_media"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(100), "undecodable_media"),
        (b"\x1a\x45\xdf\xa3" + bytes(100), "undecodable_media"),
        (b"FLV\x01\x05\0\0\0\x09\0\0\0\0", "undecodable_media"),
        (b"\x47" + bytes(187) + b"\x47" + bytes(187) + b"\x47" + bytes(187), "undecodable_media"),
    ],
)
def test_what_only_poses_as_video(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "posing.mp4"
    path.write_bytes(content)
    assert problem_of(path).code == code


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    problem = problem_of(write_sound(tmp_path / "sound.mp4"))
    assert problem.code == "undecodable_media"
    assert "sound and no video" in problem.detail


def test_declared_limits_are_refused_at_once(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", noise(30))
    for limits, word in ((Limits(max_duration_s=1.0), "1.0 s|1 s"), (Limits(max_frames=29), "29 frames"),
                         (Limits(max_pixels=96 * 64 - 1), "96 x 64")):  # fmt: skip
        with pytest.raises(Problem, match=word) as caught:
            Video(str(path), limits)
        assert caught.value.code == "too_large"
    assert len(frames_of(path, Limits(max_duration_s=1.2, max_frames=30, max_pixels=96 * 64))) == 30


def test_a_header_of_24_hours_is_refused_or_harmless(tmp_path: Path) -> None:
    """The one entry of ``stts`` (ISO/IEC 14496-12, 8.6.1.2) spreads five frames over a day."""
    path = write_video(tmp_path / "video.mp4", greys(5), container={"use_editlist": "0"})
    data = bytearray(path.read_bytes())
    at, media = data.index(b"stts") + 4, data.index(b"mdhd") + 4
    assert data[at + 4 : at + 12] == b"\0\0\0\1\0\0\0\5"
    timescale = int.from_bytes(data[media + 12 : media + 16], "big")
    data[at + 12 : at + 16] = (24 * 3600 * timescale // 5).to_bytes(4, "big")
    (tmp_path / "day.mp4").write_bytes(data)
    assert problem_of(tmp_path / "day.mp4").code == "too_large"
    frames = frames_of(tmp_path / "day.mp4", Limits(max_duration_s=48 * 3600))
    assert [frame.time_s for frame in frames] == [index * 24 * 3600 / 5 for index in range(5)]


def test_limits_that_no_header_tells_hold_while_decoding(tmp_path: Path) -> None:
    stream = write_video(tmp_path / "stream.ts", noise(30))
    problem = problem_of(stream, Limits(max_frames=20))
    assert (problem.code, "20 frames" in problem.detail) == ("too_large", True)
    jump = write_video(tmp_path / "jump.mkv", greys(3), times=[0, 0.04, 7200])
    assert problem_of(jump, Limits(max_duration_s=3600)).code == "too_large"


def test_an_empty_first_stream_gives_way_to_the_second(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "two.mkv"), "w") as output:
        streams = [output.add_stream("mpeg4", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in greys(6, (64, 48)):
            output.mux(streams[1].encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        output.mux(streams[1].encode(None))
    assert len(frames_of(tmp_path / "two.mkv")) == 6


def test_turns_are_the_nearest_right_angles() -> None:
    def matrix(a: float, b: float, c: float, d: float) -> bytes:
        return np.array([a * 65536, b * 65536, 0, c * 65536, d * 65536, 0, 0, 0, 1 << 30], np.int32).tobytes()

    assert Turn.of_matrix(matrix(1, 0, 0, 1)) == Turn()
    assert Turn.of_matrix(matrix(0.98, 0.17, -0.17, 0.98)) == Turn()
    assert Turn.of_matrix(matrix(0.1, 0.99, -0.99, 0.1)) == Turn(True, True, False)
    assert Turn.of_matrix(matrix(-1, 0, 0, -1)) == Turn(False, True, True)
