"""Counting right boundaries by hand, reading labels, and the command that does both on files."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from typer.testing import CliRunner

from serve_app.cli_evaluate import app
from serve_app.errors import Problem
from serve_app.evaluation.scenes import Score, read_labels, score, split_files

FRAMES = st.lists(st.integers(1, 60), max_size=6, unique=True)


def test_by_hand() -> None:
    got = score([10, 21, 40, 90], [(10, 10), (20, 20), (50, 60)], tolerance=1)
    assert got == Score(found=4, labelled=3, right=2)
    assert (got.precision, got.recall, got.f1) == (0.5, pytest.approx(2 / 3), pytest.approx(4 / 7))


def test_tolerance_is_in_frames_on_both_sides() -> None:
    rights = [score([28, 32], [(30, 30)], tolerance).right for tolerance in (0, 1, 2)]
    assert rights == [0, 0, 1]
    assert score([360], [(360, 394)]).right == score([394], [(360, 394)]).right == 1
    assert score([395], [(360, 394)]).right == 0


def test_one_found_frame_is_right_once() -> None:
    assert score([30], [(30, 30), (31, 31)], 1).right == 1
    assert score([29, 30], [(30, 30)], 1) == Score(2, 1, 1)


def test_pairs_are_chosen_for_the_most_matches() -> None:
    """The span could take 10, and then nothing is left for the cut at 10."""
    assert score([10, 15], [(5, 20), (10, 10)]).right == 2


@given(FRAMES, FRAMES, st.integers(0, 5))
def test_as_many_pairs_as_scipy_finds(found: list[int], labelled: list[int], tolerance: int) -> None:
    near = np.abs(np.subtract.outer(np.array(found), np.array(labelled))) <= tolerance
    most = (maximum_bipartite_matching(csr_array(near.astype(int))) >= 0).sum() if near.any() else 0
    assert score(found, [(frame, frame) for frame in labelled], tolerance).right == most


def test_nothing_to_find() -> None:
    assert score([], []).f1 == 1
    assert score([5], []).f1 == 0
    assert score([], [(5, 5)]).f1 == 0


def test_scores_add_up() -> None:
    assert Score(2, 3, 1) + Score(1, 1, 1) == Score(3, 4, 2)


def test_labels() -> None:
    text = "# name\tframes\n\na.mp4\t30, 180,360-394\nb c.mkv\t\nd.mp4\n"
    assert read_labels(text) == {"a.mp4": [(30, 30), (180, 180), (360, 394)], "b c.mkv": [], "d.mp4": []}


@pytest.mark.parametrize("frames", ["x", "30;40", "40-30", "0", "-3", "3.5", "9" * 30])
def test_labels_that_are_no_frames_are_refused_by_line(frames: str) -> None:
    with pytest.raises(Problem, match="line 2") as problem:
        read_labels(f"a.mp4\t1\nb.mp4\t{frames}\n")
    assert problem.value.code == "bad_request"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of three and of one scene, 10 frames/s, and something that is no video."""
    place = tmp_path_factory.mktemp("clips")
    _write(place / "three.mp4", [1] * 12 + [2] * 10 + [3] * 20)
    _write(place / "one.mp4", [4] * 15)
    (place / "notes.txt").write_text("no video")
    return place


def _write(path: Path, pictures: list[int]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(10), options={"crf": "20", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for seed in pictures:
            blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(blocks, "rgb24")))
        container.mux(stream.encode(None))


def test_files_are_split_or_say_why_not(folder: Path) -> None:
    found = dict(split_files(sorted(folder.iterdir()), ["correlation", "adaptive"]))
    three, notes = found[folder / "three.mp4"], found[folder / "notes.txt"]
    assert isinstance(notes, Problem)
    assert not isinstance(three, Problem)
    assert three.boundaries == {"correlation": [12, 22], "adaptive": [12, 22]}
    assert three.times_s == pytest.approx(np.arange(42) / 10)


def test_the_command_lists_scenes(folder: Path) -> None:
    done = CliRunner().invoke(app, ["scenes", str(folder), "--json"])
    assert done.exit_code == 0
    scenes = json.loads(done.stdout)["scenes"]
    spans = [(one["file"], one["start_frame"], one["end_frame"], one["start_s"]) for one in scenes]
    assert spans == [
        ("one.mp4", 0, 15, 0.0), ("three.mp4", 0, 12, 0.0), ("three.mp4", 12, 22, 1.2), ("three.mp4", 22, 42, 2.2),
    ]  # fmt: skip
    assert "notes.txt" in done.stderr


def test_the_command_scores_against_labels(folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.tsv"
    labels.write_text("three.mp4\t13,30\none.mp4\nnot-here.mp4\t5\n")
    done = CliRunner().invoke(app, ["scenes", str(folder), "--cuts", str(labels), "--json"])
    assert done.exit_code == 0
    answer = json.loads(done.stdout)
    assert answer["labelled"] == 2
    for name in ("correlation", "adaptive"):
        assert answer["detectors"][name] == {"f1": 0.5, "precision": 0.5, "recall": 0.5, "found": 2, "right": 1}
    strict = ["scenes", str(folder / "three.mp4"), "--cuts", str(labels), "--tolerance", "0", "--detector", "adaptive"]
    done = CliRunner().invoke(app, strict)
    assert done.exit_code == 0
    row = next(line for line in done.stdout.splitlines() if "adaptive" in line)
    assert "0.000" in row
    assert "correlation" not in done.stdout


def test_the_command_says_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.tsv"
    labels.write_text("three.mp4\tnever\n")
    for arguments, sentence in (
        ([str(folder), "--cuts", str(labels)], "line 1"),
        ([str(folder), "--detector", "magic"], "no detector 'magic'"),
    ):
        done = CliRunner().invoke(app, ["scenes", *arguments])
        assert done.exit_code == 2
        assert sentence in done.stderr
    assert CliRunner().invoke(app, ["scenes", str(folder / "notes.txt")]).exit_code == 1
