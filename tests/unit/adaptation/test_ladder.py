"""The ladder's table, against the platform's own, and what a broken table is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from serve_app.adaptation.ladder import Rung, load_ladder
from serve_app.errors import Problem

SPECIFIED = """
mp4  -     -  -             mp4a.40.5 .0501   mp4  -    - - mp4a.40.2 .1306   webm - - - opus .1438
mp4  240   24 av01.0.00M.08 -         .1364   webm 240  24 vp9 - .1685        mp4 240 24 avc1.4d400d - .1894
webm 360   24 vp9           -         .3087   mp4  360  24 avc1.4d4015 - .4759 mp4 360 24 avc1.42001E mp4a.40.2 .5507
mp4  480   24 av01.0.04M.08 -         .5304   webm 480  24 vp9 - .5684
webm 720   24 vp9           -        1.1336   mp4  720  24 avc1.64001F mp4a.40.2 1.7396  mp4 720 24 avc1.4d401f - 1.8292
mp4  1080  24 av01.0.08M.08 -        1.7207   webm 1080 24 vp9 - 2.0172       mp4 1080 24 avc1.640028 - 3.2762
webm 1440  24 vp9           -        6.7398   mp4  1440 24 av01.0.12M.08 - 6.0961
webm 2160  24 vp9           -       13.3851   mp4  2160 24 av01.0.12M.08 - 13.4839
"""
"""Container, height, fps, video, audio, Mbit/s: the platform's specification, section 5."""


def test_all_rungs_of_the_specification_are_there() -> None:
    words = SPECIFIED.split()
    rows = [tuple(words[at : at + 6]) for at in range(0, len(words), 6)]
    assert len(rows) == 21

    def row(rung: Rung) -> tuple[str, ...]:
        shown = (rung.height, None if rung.fps is None else round(rung.fps), rung.video, rung.audio)
        rate = f"{rung.mbit:.4f}".removeprefix("0")
        return (rung.container, *("-" if each is None else str(each) for each in shown), rate)

    ladder = load_ladder()
    assert {row(rung) for name, rung in ladder.rungs.items() if not name.startswith("sphere")} == set(rows)
    assert [rung.mbit for name, rung in ladder.rungs.items() if name.startswith("sphere")] == [3, 8, 16, 30]


def test_profiles_are_those_of_the_codec_strings() -> None:
    # ISO/IEC 14496-10, Annex A: profile_idc 66 is Baseline, 77 Main, 100 High.
    ladder = load_ladder()
    profiles = {
        name: ladder.rungs[name].profile for name in ("h264-360-aac", "h264-360", "h264-1080", "vp9-360", "aac")
    }
    expected = {"h264-360-aac": "baseline", "h264-360": "main", "h264-1080": "high", "vp9-360": None, "aac": None}
    assert profiles == expected


def test_a_preset_sets_what_its_rungs_share(tmp_path: Path) -> None:
    assert {rung.fps for rung in load_ladder().rungs_of("web").values() if rung.video} == {30}
    with pytest.raises(Problem, match="no preset 'wen' of videos") as told:
        load_ladder().rungs_of("wen")
    assert told.value.code == "bad_request"
    assert "web" in str(told.value.remedy)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rungs: {a: {container: mp4, mbit: 1}}", "a video, an audio or both"),
        ("rungs: {a: {container: mp4, mbit: 1, video: avc1.4d401f}}", "height and fps"),
        ("rungs: {a: {container: mp4, mbit: 1, audio: mp4a.40.2, fps: 24}}", "height and fps"),
        ("rungs: {a: {container: mp4, mbit: 1, height: 240, fps: 24, video: hvc1.1}}", "no codec that is made here"),
        ("rungs: {a: {container: mp4, mbit: 1, height: 240, fps: 24, video: avc1.7A0000}}", "names no profile"),
        ("rungs: {a: {container: mp4, mbit: 0, audio: opus}}", "greater than 0"),
        ("rungs: {}\npresets: {p: {rungs: [b]}}", "there is no rung b"),
        (
            "rungs: {a: {container: mp4, mbit: 1, height: 240, fps: 24, video: vp9}}\npresets: {p: {rungs: [a]}}",
            "no encoder of vp9",
        ),
        ("rungs: {}\nencoders: {h264: {encoder: 'x;y', crf: 1}}", "encoder"),
        ("rungs: {}\nencoders: {h264: {encoder: libx264}}", "pictures have a crf"),
        ("rungs: {}\npresets: {'../x': {rungs: [a]}}", "should match pattern"),
        ("rungs: {a: {container: webm, mbit: 1, audio: opus}}\npresets: {p: {rungs: [a]}}", "made in MP4"),
        (
            "rungs: {a: {container: mp4, mbit: 1, height: 240, fps: 24, video: avc1.4d400d, audio: opus}}\n"
            "presets: {p: {rungs: [a]}}",
            "pictures and sound apart",
        ),
        ("rungs: {}\nencoders: {aac: {encoder: aac, crf: 3}}", "sound has none"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, text: str, words: str) -> None:
    place = tmp_path / "ladder.yaml"
    lacking = [f"{key}: {{}}" for key in ("presets", "encoders") if key not in text]
    place.write_text("\n".join([text, *lacking]))
    with pytest.raises(ValidationError, match=words):
        load_ladder(place)
