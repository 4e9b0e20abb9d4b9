"""Which streams a preset makes of a source."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serve_app.adaptation.ladder import load_ladder
from serve_app.adaptation.plan import Plan, make_plan
from serve_app.errors import Problem
from serve_app.media.tracks import AudioTrack, Source, SubtitleTrack, VideoTrack

LADDER = load_ladder()
ALL = frozenset(encoder.encoder for encoder in LADDER.encoders.values())
STEREO = AudioTrack(1, "aac", 2, 44100, "eng", None)


def video(width: int, height: int, rate: Fraction | int = 25) -> VideoTrack:
    return VideoTrack(0, "h264", width, height, Fraction(rate), None)


def planned(track: VideoTrack | None, *audios: AudioTrack, preset: str = "web") -> Plan:
    return make_plan(LADDER, preset, Source("video/mp4", "mov", 10.0, track, audios), ALL)


def sizes(plan: Plan) -> list[tuple[int, int]]:
    return [(each.width, each.height) for each in plan.videos]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ((3840, 2160), [(426, 240), (640, 360), (1280, 720), (1920, 1080)]),
        ((1920, 1080), [(426, 240), (640, 360), (1280, 720), (1920, 1080)]),
        ((1080, 1920), [(240, 426), (360, 640), (720, 1280), (1080, 1920)]),
        # A stream of the source's own height where the ladder ends well below it, and none where it ends near it.
        ((960, 540), [(426, 240), (640, 360), (960, 540)]),
        ((704, 400), [(422, 240), (634, 360)]),
        # Smaller than all rungs: as it is.
        ((128, 128), [(128, 128)]),
        ((321, 181), [(320, 180)]),
    ],
)
def test_sizes(source: tuple[int, int], expected: list[tuple[int, int]]) -> None:
    assert sizes(planned(video(*source))) == expected


@given(st.integers(16, 8192), st.integers(16, 4320))
@example(17, 17)
@example(8192, 16)
def test_never_larger_than_the_source_even_and_in_its_proportions(width: int, height: int) -> None:
    plan = planned(video(width, height))
    assert plan.videos
    for each in plan.videos:
        assert (each.width % 2, each.height % 2) == (0, 0)
        assert each.width <= width
        assert each.height <= height
        # Two pixels of the shorter side, in parts of the longer, are the most that rounding to even numbers moves.
        if min(each.width, each.height) > 16:
            scale = min(width, height) / min(each.width, each.height)
            assert abs(max(each.width, each.height) * scale - max(width, height)) <= 2 * scale + max(width, height) / 8
    rates = [each.bit_rate for each in plan.videos]
    assert rates == sorted(rates)
    assert len({each.name for each in plan.videos}) == len(rates)


def test_a_height_between_two_rungs_has_a_rate_between_theirs() -> None:
    between = {height: planned(video(height * 2, height)).videos[-1].bit_rate for height in (420, 540, 719)}
    assert 475_900 < between[420] < between[540] < between[719] < 1_829_200
    # Of 360 to 720 lines, 540 adds (540^2 - 360^2) / (720^2 - 360^2) = 5/12 of the pixels.
    assert between[540] == pytest.approx(475_900 + 5 / 12 * (1_829_200 - 475_900), abs=1)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (Fraction(30000, 1001), Fraction(30000, 1001)),
        (25, 25),
        (50, 25),
        (60, 30),
        (Fraction(60000, 1001), Fraction(30000, 1001)),
        (120, 30),
        (48, 24),
        (10, 10),
        (40, 30),  # half of it would be jerky
    ],
)
def test_frames_a_second_are_the_sources_or_a_whole_part_of_them(
    rate: Fraction | int, expected: Fraction | int
) -> None:
    plan = planned(video(640, 360, rate))
    assert plan.fps == expected
    # Segments are of whole frames and as near to four seconds as they can be.
    assert plan.segment_frames == plan.segment_s * plan.fps
    assert abs(plan.segment_s - 4) <= 1 / (2 * plan.fps)


def test_each_track_of_sound_is_a_stream_of_at_most_two_channels() -> None:
    other = AudioTrack(4, "ac3", 8, 48000, "deu", "Kommentar")
    first, second = planned(video(640, 360), STEREO, other).audios
    assert (first.name, first.track, first.channels, first.language) == ("aac", 1, 2, "eng")
    assert (second.name, second.track, second.channels, second.title) == ("aac-1", 4, 2, "Kommentar")
    (mono,) = planned(None, AudioTrack(0, "mp3", 1, 8000, None, None)).audios
    assert (mono.channels, mono.bit_rate) == (1, first.bit_rate // 2)


def test_words_go_with_pictures_only() -> None:
    words = (SubtitleTrack(2, "subrip", "eng", "Subs"),)
    with_pictures = Source("video/x-matroska", "matroska", 1.0, video(640, 360), (), words)
    assert [each.track for each in make_plan(LADDER, "web", with_pictures, ALL).subtitles] == [2]
    sound = Source("video/x-matroska", "matroska", 1.0, None, (STEREO,), words)
    assert make_plan(LADDER, "web", sound, ALL).subtitles == ()


def test_what_the_binary_cannot_encode_is_left_out_and_said() -> None:
    source = Source("video/mp4", "mov", 10.0, video(640, 360), (STEREO,))
    plan = make_plan(LADDER, "modern", source, ALL - {"libsvtav1", "libopus"})
    assert {each.codec for each in (*plan.videos, *plan.audios)} == {"h264", "vp9", "aac"}
    assert "opus is left out: this FFmpeg has no libopus" in plan.notes
    assert sum(note.startswith("av1-") for note in plan.notes) == 5
    with pytest.raises(Problem, match="nothing of which"):
        make_plan(LADDER, "modern", source, set())


@pytest.mark.parametrize("size", [(1, 1), (15, 400)])
def test_too_few_pixels_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(Problem, match="too few") as told:
        planned(video(*size))
    assert told.value.code == "undecodable_media"


def test_nothing_of_which_the_preset_makes_something() -> None:
    with pytest.raises(Problem, match="nothing of which"):
        planned(None)
