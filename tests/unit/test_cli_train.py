"""``mediaverse train`` and ``evaluate`` for memes, on a world of a few pictures."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from serve_app import cli_evaluate, cli_train
from serve_app.errors import Problem
from serve_app.models.memes.scenarios import Scenario


def run(app: typer.Typer, *told: str) -> str:
    result = CliRunner().invoke(app, told)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    run(cli_train.app, "memes-world", "--out", str(out), "--memes", "20", "--with-text", "20", "--without-text", "20")
    return out


def folders(world: Path) -> list[str]:
    pairs = (("--memes", "memes"), ("--with-text", "with-text"), ("--without-text", "without-text"))
    return [word for option, name in pairs for word in (option, str(world / name))]


def test_a_network_is_trained_exported_and_its_row_printed(world: Path, tmp_path: Path) -> None:
    told = ["memes", *folders(world), "--out", str(tmp_path), "--epochs", "1", "--batch", "17", "--threads", "1"]
    said = json.loads(run(cli_train.app, *told, "--scenario", "0.67,1.0", "--json"))
    assert said["scenario"] == "0.67,1.00"
    assert said["steps"] == 2
    assert len(said["accuracies"]) == 13
    file = Path(said["file"])
    assert file.stat().st_size == said["bytes"] < 2_200_000
    session = onnxruntime.InferenceSession(str(file))
    assert [one.name for one in session.get_outputs()] == ["score", "attention"]
    assert session.get_inputs()[0].shape[1:] == [3, 250, 250]


def test_scenarios_are_crossed_and_plotted(world: Path, tmp_path: Path) -> None:
    told = ["memes", *folders(world), "--out", str(tmp_path), "--minutes", "0.01", "--batch", "4", "--threads", "1"]
    chosen = ["--scenario", "1,1", "--scenario", "1,0"]
    said = json.loads(run(cli_evaluate.app, *told, *chosen, "--plot", str(tmp_path / "matrix.png"), "--json"))
    assert said["scenarios"] == ["1.00,1.00", "1.00,0.00"]
    assert [len(row) for row in said["accuracies"]] == [2, 2]
    assert said["mean"] == pytest.approx(sum(map(sum, said["accuracies"])) / 4)
    with Image.open(tmp_path / "matrix.png") as image:
        assert image.format == "PNG"
    assert "mean accuracy" in run(cli_evaluate.app, *told, *chosen)


def test_the_shipped_network_is_measured_on_files(world: Path) -> None:
    told = ["meme-files", "--memes", str(world / "memes"), "--others", str(world / "with-text")]
    said = json.loads(run(cli_evaluate.app, *told, "--json"))
    assert len(said["memes"]) == len(said["others"]) == 20
    assert len(said["told"]) >= 16
    assert len(said["false_alarms"]) <= 4
    assert f"{len(said['told'])} of 20 memes told" in run(cli_evaluate.app, *told)


def test_scenarios_are_read_and_refused() -> None:
    assert cli_train.read_scenario("0.67,1.0") == Scenario(0.67, 1.0)
    assert cli_train.read_scenario("0") == Scenario(0.0)
    for wrong in ("much", "2,0", "0.5;0.5", "0.5,-1"):
        with pytest.raises(Problem):
            cli_train.read_scenario(wrong)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    told = ["memes", "--out", str(tmp_path)]
    for option in ("--memes", "--with-text", "--without-text"):
        told += [option, str(tmp_path / "nowhere")]
    result = CliRunner().invoke(cli_train.app, told)
    assert result.exit_code == 1
    assert "no folder" in result.output


def test_words_are_found_where_no_box_is_known(shared: Path, tmp_path: Path) -> None:
    """Of a real macro the visual part is what lies between the words."""
    memes = tmp_path / "memes"
    memes.mkdir()
    (memes / "macro.jpg").write_bytes((shared / "media/images/memes_derived/macro_516008.jpg").read_bytes())
    (tmp_path / "plain").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "plain" / "a.png")
    pools = cli_train.pools_of((memes, tmp_path / "plain", tmp_path / "plain"), tmp_path / "cache", 0)
    assert pools.parted.tolist() == [True]
    rows = pools.text[0].max(axis=1)
    assert rows[0] > 0.5
    assert rows[-1] > 0.5
    assert rows[3:7].max() == 0
