"""``mediaverse evaluate faces`` on a folder of people whose faces are patches of colour."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import Result
from onnx import TensorProto, helper
from PIL import Image
from typer.testing import CliRunner

from serve_app.cli import app
from serve_app.models.manifest import shipped
from tests.unit.annotation.colour_network import SPEC, colour_network

PEOPLE = {"Ada": (250, 20), "Ōtomo": (20, 250)}
"""Red and green of their faces; blue is another in each picture."""

Run = Callable[..., Result]


def means() -> bytes:
    """The mean of each channel."""
    node = helper.make_node("ReduceMean", ["faces"], ["vectors"], axes=[2, 3], keepdims=0)
    taken = helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["N", 3, 8, 8])
    given = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph([node], "means", [taken], [given])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def manifest() -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load(shipped().read_text(encoding="utf-8"))
    row = {"revision": "1", "licence": "none", "source": "made here"}
    detector = json.loads(json.dumps(SPEC))
    descriptor = {
        "side": 8, "colour": "rgb", "mean": [0, 0, 0], "std": [255, 255, 255], "align": "box", "margin": 0, "dim": 3,
        "thresholds": {1: 1.0},
    }  # fmt: skip
    files = {name: {"weights": {"url": f"https://example.org/{name}.onnx"}} for name in ("colours", "means")}
    table["models"]["colours"] = {**row, "task": "face_detection", "files": files["colours"], "detector": detector}
    table["models"]["means"] = {**row, "task": "face_identity", "files": files["means"], "descriptor": descriptor}
    table["profiles"]["patches"] = {"face_detection": "colours", "face_identity": "means"}
    return table


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The command over a folder of two people of four pictures each, a stranger without a face, and a torn picture."""
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(manifest()), encoding="utf-8")
    for name, weights in (("colours", colour_network("N")), ("means", means())):
        folder = tmp_path / "home" / "models" / f"{name}@1"
        folder.mkdir(parents=True)
        (folder / f"{name}.onnx").write_bytes(weights)
    for person, (red, green) in PEOPLE.items():
        (tmp_path / "people" / person).mkdir(parents=True)
        for number in range(4):
            pixels = np.zeros((32, 32, 3), np.uint8)
            pixels[8:16, 8:16] = red, green, 20 * number
            Image.fromarray(pixels).save(tmp_path / "people" / person / f"{number}.png")
    (tmp_path / "people" / "Nobody").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "people" / "Nobody" / "empty.png")
    (tmp_path / "people" / "Nobody" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "people" / "notes.txt").write_text("not a person")

    def command(*options: str, profile: str = "patches") -> Result:
        places = ["--home", str(tmp_path / "home"), "--manifest", str(tmp_path / "models.yaml")]
        return CliRunner().invoke(
            app, ["evaluate", "faces", str(tmp_path / "people"), "--profile", profile, *places, *options]
        )

    return command


def test_thresholds_and_accuracy_of_a_folder_of_people(run: Run) -> None:
    result = run("--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["model"], found["faces"], found["people"]) == ("means@1", 8, 2)
    assert set(found["skipped"]) == {"Nobody/empty.png", "Nobody/torn.jpg"}
    assert found["skipped"]["Nobody/empty.png"] == "no face is found in it"
    assert found["pairs"] == {"same": 12, "different": 16}
    # Of one person blue is 0 to 60 of about 250; of two people red and green change places.
    unit = [np.array((250, 20, blue)) / np.linalg.norm((250, 20, blue)) for blue in (0, 20, 40, 60)]
    widest = float(np.linalg.norm(unit[0] - unit[3]))
    nearest = float(np.linalg.norm(unit[3] - unit[3][[1, 0, 2]]))
    assert found["best"]["accuracy"] == 1
    assert found["best"]["threshold"] == pytest.approx((widest + nearest) / 2, abs=0.005)
    assert [one["rate"] for one in found["at_rate"]] == [0.1]
    assert [(one["k"], one["people"], one["identified"]) for one in found["prototypes"]] == [
        (1, 2, 1), (2, 2, 1), (3, 2, 1)
    ]  # fmt: skip
    assert found["thresholds"] == {str(one["k"]): one["best"]["threshold"] for one in found["prototypes"]}


def test_tables_for_people_and_a_line_for_the_manifest(run: Run) -> None:
    result = run("--skip", "Nobody", "--largest", "2")
    assert result.exit_code == 0, result.output
    assert "means@1: 8 faces of 2 people" in result.stdout
    assert "12 pairs of one person, 16 of two" in result.stdout
    line = result.stdout.strip().splitlines()[-1]
    table = yaml.safe_load(line.partition("thresholds: ")[2])
    assert list(table) == [1, 2]
    assert all(0.3 < distance < 1.2 for distance in table.values())


def test_one_person_is_not_enough(run: Run) -> None:
    result = run("--skip", "Ada")
    assert result.exit_code == 1
    assert "faces of two people, two of one of them, are needed; 4 faces were found" in result.stderr
    assert "Nobody/empty.png: no face is found in it" in result.stderr


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--model", "colours"), 2, "colours is no face descriptor; there are "),
        (("--model", "inception-resnet-v1-vggface2"), 1, "mediaverse models pull inception-resnet-v1-vggface2"),
        (("--profile", "huge"), 2, "no profile 'huge'"),
    ],
)
def test_what_cannot_be_measured_is_said(run: Run, options: tuple[str, ...], code: int, message: str) -> None:
    result = run(*options)
    assert result.exit_code == code
    assert message in result.stderr


def test_the_shipped_descriptor_tells_presidents_apart(shared: Path, tmp_path: Path) -> None:
    options = ["--home", str(tmp_path), "--skip", "multi", "--skip", "unknown", "--json"]
    result = CliRunner().invoke(app, ["evaluate", "faces", str(shared / "media" / "faces"), *options])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["faces"], found["people"], found["skipped"]) == (5, 2, {})
    assert found["best"]["accuracy"] == 1
