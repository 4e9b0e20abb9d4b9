"""The shipped configuration is sound, and every fault of another one is named with its path."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.config import DEPLOYMENTS, AppArgs, ServeConfig, check_config, load_resources
from serve_app.models.manifest import load_manifest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "serve_config.yaml"
TABLE = ROOT / "configs" / "resources.yaml"


class Files:
    """Changed copies of the two shipped files."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "mine.yaml"
        self.resources = folder / "resources.yaml"
        self.write(yaml.safe_load(SHIPPED.read_text()), yaml.safe_load(TABLE.read_text()))

    def write(self, config: object, resources: object) -> None:
        self.config.write_text(yaml.safe_dump(config))
        self.resources.write_text(yaml.safe_dump(resources))

    def change(self, where: str, value: object) -> None:
        """Set ``mine.applications.0.args.shards`` or ``resources.cpu.budget`` and the like."""
        file, *path = where.split(".")
        place = {"mine": self.config, "resources": self.resources}[file]
        whole = node = yaml.safe_load(place.read_text())
        steps: list[Any] = [int(step) if step.isdigit() else step for step in path]
        for step in steps[:-1]:
            node = node[step]
        node[steps[-1]] = value
        place.write_text(yaml.safe_dump(whole))

    def faults(self) -> list[str]:
        return check_config(self.config, self.resources)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_the_shipped_files_are_sound(files: Files) -> None:
    assert check_config(SHIPPED) == []
    assert files.faults() == [], "a copy that nobody changed"
    config = ServeConfig.model_validate(yaml.safe_load(SHIPPED.read_text()))
    assert config.http_options.host == "127.0.0.1", "a service that anybody can reach is the operator's choice"
    table = load_resources()
    assert set(table.cpu.deployments) == set(table.gpu.deployments) == set(DEPLOYMENTS)
    assert all(row.num_gpus == 0 for row in table.cpu.deployments.values())
    assert table.cpu.budget.num_cpus <= 2, "a laptop of two cores"


OBJECTS = "object_detection"
FAULTS: list[tuple[str, object, str, str]] = [
    # a place, the value put there, the path that is named, a word of the reason
    ("mine.aplications", [], "aplications", "not permitted"),
    ("mine.http_options.prot", 8000, "http_options.prot", "not permitted"),
    ("mine.logging_config.level", "INFO", "logging_config.level", "not permitted"),
    ("mine.applications.0.deployments", [], "applications.0.deployments", "not permitted"),
    ("mine.applications.0.args.shard", 2, "applications.0.args.shard", "not permitted"),
    ("mine.http_options.port", "http", "http_options.port", "integer"),
    ("mine.http_options.port", 70000, "http_options.port", "65535"),
    ("mine.http_options.request_timeout_s", -1, "http_options.request_timeout_s", "greater"),
    ("mine.proxy_location", "Everywhere", "proxy_location", "EveryNode"),
    ("mine.applications.0.args.shards", 0, "applications.0.args.shards", "greater"),
    ("mine.applications.0.args.shards", 2.5, "applications.0.args.shards", "integer"),
    ("mine.applications.0.args.index", "Nonsense16", "applications.0.args.index.text", "FAISS makes no index"),
    ("mine.applications.0.args.index", {"image": "PQ7"}, "applications.0.args.index.image", "FAISS makes no index"),
    ("mine.applications.0.args.index", {"sound": "Flat"}, "applications.0.args.index.modalities.sound.[key]", "video"),
    ("mine.applications.0.args.index", "rm -rf", "applications.0.args.index.factory", "pattern"),
    ("mine.applications.0.args.nprobe", 2, "applications.0.args.nprobe", "not permitted"),
    ("mine.applications.0.args.shape3d", {"spin": 1}, "applications.0.args.shape3d.spin", "not permitted"),
    ("mine.applications.0.args.shape3d", {"distance": 0.5}, "applications.0.args.shape3d.distance", "greater"),
    ("mine.applications.0.args.shape3d", {"azimuths_deg": [360]}, "applications.0.args.shape3d.azimuths_deg.0", "less"),
    ("mine.applications.0.args.shape3d", {"azimuths_deg": [0, 90, 0]}, "applications.0.args.shape3d", "the same"),
    ("mine.applications.0.args.shape3d", {"azimuths_deg": []}, "applications.0.args.shape3d.azimuths_deg", "least"),
    ("mine.applications.0.args.resources", "tpu", "applications.0.args.resources", "auto"),
    ("mine.applications.0.args.models", ["mtcnn"], "applications.0.args.models", "dictionary"),
    ("mine.applications.0.args", 3, "applications.0.args", "dictionary"),
    ("mine.applications.0.import_path", "graphs.app:build", "applications.0.import_path", "graphs.app:build_app"),
    ("mine.applications.0.args.profile", "huge", "applications.0.args.profile", "embedded, full, light"),
    ("mine.applications.0.args.models", {OBJECTS: "yolo99"}, f"applications.0.args.models.{OBJECTS}", "yolo99"),
    ("mine.applications.0.args.models", {OBJECTS: "mtcnn"}, f"applications.0.args.models.{OBJECTS}", "mtcnn"),
    ("mine.applications.0.args.models", {"smelling": "mtcnn"}, "applications.0.args.models.smelling", "mtcnn"),
    ("mine.applications.0.args.models", {OBJECTS: None}, f"applications.0.args.models.{OBJECTS}", "without this task"),
    ("mine.applications.0.args.models", {"smelling": None}, "applications.0.args.models.smelling", "no model"),
    ("mine.applications", [], "applications", "at least 1"),
    ("resources.tpu", {}, "tpu", "not permitted"),
    ("resources.cpu.budgets", {}, "cpu.budgets", "not permitted"),
    ("resources.cpu.budget.memory", 1, "cpu.budget.memory", "not permitted"),
    ("resources.gpu.deployments.clip_encoder.num_gpu", 1, "gpu.deployments.clip_encoder.num_gpu", "not permitted"),
    ("resources.cpu.deployments.ingress.num_cpus", "many", "cpu.deployments.ingress.num_cpus", "number"),
    ("resources.cpu.deployments.ingress.num_cpus", True, "cpu.deployments.ingress.num_cpus", "number"),
    ("resources.cpu.deployments.ingress.num_cpus", -0.1, "cpu.deployments.ingress.num_cpus", "greater"),
    ("resources.cpu.deployments.ingress.num_cpus", float("nan"), "cpu.deployments.ingress.num_cpus", "finite"),
    ("resources.cpu.budget.num_cpus", float("inf"), "cpu.budget.num_cpus", "finite"),
    ("resources.cpu.deployments.ingress.max_queue", 1.5, "cpu.deployments.ingress.max_queue", "integer"),
    ("resources.gpu.deployments.clip_encoder.num_gpus", 1.5, "gpu.deployments.clip_encoder", "num_gpus 1.5"),
    ("resources.gpu.deployments.clip_encoder.max_replicas", 0, "gpu.deployments.clip_encoder.max_replicas", "greater"),
    ("resources.gpu.deployments.ingress.max_replicas", 1, "gpu.deployments.ingress", "max_replicas 1 is below"),
    ("resources.gpu.deployments.clip_encoder.max_batch_size", 1001, "gpu.deployments.clip_encoder", "max_batch_size"),
    ("resources.gpu.deployments.clip_encoder.num_gpus", 0.6, "gpu", "1.4 num_gpus, the budget is 1"),
    ("resources.gpu.deployments.face_detector.num_gpus", 0.45, "gpu", "1.35 num_gpus, the budget is 1"),
    ("resources.cpu.deployments.ingress.num_cpus", 0.9, "cpu", "2.35 num_cpus, the budget is 2"),
    ("resources.cpu.deployments.recommender", {}, "cpu.deployments.recommender.max_queue", "required"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value", "path", "reason"), FAULTS)
def test_a_fault_is_named_with_its_path(files: Files, place: str, value: object, path: str, reason: str) -> None:
    files.change(place, value)
    faults = files.faults()
    assert faults
    file = {"mine": "mine.yaml", "resources": "resources.yaml"}[place.split(".")[0]]
    fitting = [fault for fault in faults if fault.startswith(f"{file}: {path}: ")]
    assert fitting, faults
    assert reason in " ".join(fitting)


def test_a_task_is_replaced_or_left_out() -> None:
    rows = AppArgs(models={OBJECTS: "fastestdet", "face_identity": None}).rows(load_manifest())
    assert rows[OBJECTS].name == "fastestdet"
    assert "face_identity" not in rows
    assert "face_identity" in AppArgs().rows(load_manifest())


def test_a_deployment_is_missing_or_too_much(files: Files) -> None:
    table = yaml.safe_load(TABLE.read_text())
    table["cpu"]["deployments"]["recomender"] = table["cpu"]["deployments"].pop("recommender")
    files.write(yaml.safe_load(SHIPPED.read_text()), table)
    (fault,) = files.faults()
    assert fault.startswith("resources.yaml: cpu: ")
    assert "recomender, recommender" in fault


SMALL = ("face_descriptor", "meme_detector", "still_actions", "captioner", "nsfw_detector", "multi_view_renderer",
         "sentence_encoder")  # fmt: skip


def test_hundredths_that_fill_the_budget_exactly_are_no_fault(files: Files) -> None:
    shares = {
        "clip_encoder": 0.05,
        "object_detector": 0.1,
        "face_detector": 0.2,
        "action_recognizer": 0.55,
        "concern_detector": 0.1,
    }
    assert sum(shares.values()) > 1, "as floats they are more than one"
    for name in SMALL:
        files.change(f"resources.gpu.deployments.{name}.num_gpus", 0)
    for name, share in shares.items():
        files.change(f"resources.gpu.deployments.{name}.num_gpus", share)
    assert files.faults() == []


def test_shares_that_no_set_of_gpus_can_hold_are_refused(files: Files) -> None:
    # 3 x 0.6 is less than 2 GPUs, but each of them has room for one share of 0.6 only.
    files.change("resources.gpu.budget.num_gpus", 2)
    for name in ("action_recognizer", "concern_detector", *SMALL):
        files.change(f"resources.gpu.deployments.{name}.num_gpus", 0)
    for name in ("clip_encoder", "object_detector", "face_detector"):
        files.change(f"resources.gpu.deployments.{name}.num_gpus", 0.6)
    (fault,) = files.faults()
    assert fault.startswith("resources.yaml: gpu: ")
    assert "no GPU of 2 has room for the 0.6 num_gpus" in fault
    files.change("resources.gpu.budget.num_gpus", 3)
    assert files.faults() == []
    files.change("resources.gpu.deployments.clip_encoder.num_gpus", 2)
    (fault,) = files.faults()
    assert "3.2 num_gpus, the budget is 3" in fault
    files.change("resources.gpu.deployments.object_detector.num_gpus", 0.4)
    assert files.faults() == []


def test_every_fault_is_named_at_once(files: Files) -> None:
    files.change("mine.http_options.prot", 1)
    files.change("mine.applications.0.args.shard", 1)
    files.change("resources.cpu.budget.num_cpus", 0)
    named = [fault.split(": ")[:2] for fault in files.faults()]
    assert sorted(named) == [
        ["mine.yaml", "applications.0.args.shard"],
        ["mine.yaml", "http_options.prot"],
        ["resources.yaml", "cpu.budget.num_cpus"],
    ]


def test_one_application_only(files: Files) -> None:
    config = yaml.safe_load(SHIPPED.read_text())
    config["applications"] += copy.deepcopy(config["applications"])
    files.write(config, yaml.safe_load(TABLE.read_text()))
    (fault,) = files.faults()
    assert fault.startswith("mine.yaml: applications: ")
    assert "not 2" in fault


@pytest.mark.parametrize("text", ["", "[]", "3", "just words"])
def test_a_file_that_is_no_table_is_refused(files: Files, text: str) -> None:
    for place in (files.config, files.resources):
        before = place.read_text()
        place.write_text(text)
        (fault,) = files.faults()
        assert fault.startswith(f"{place.name}: (top): ")
        place.write_text(before)


@pytest.mark.parametrize(
    "data", [b"applications: [", b"a: b: c", b"\xff\xfe\xfa", b"a: \x01", b"!!python/object:os.system {}"]
)
def test_broken_yaml_is_one_line_with_the_name_of_the_file(files: Files, data: bytes) -> None:
    for place in (files.config, files.resources):
        before = place.read_bytes()
        place.write_bytes(data)
        (fault,) = files.faults()
        assert fault.startswith(f"{place.name}: ")
        assert "\n" not in fault
        place.write_bytes(before)


def test_a_key_that_stands_twice_is_refused(files: Files) -> None:
    files.config.write_text(SHIPPED.read_text() + "http_options: {port: 9000}\n")
    (fault,) = files.faults()
    assert "'http_options' stands twice" in fault


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "remove it and calibrate again"), ('{"a@1": {"text-image": 3}}', "a@1: text-image: 3")],
)
def test_thresholds_that_are_none_are_refused_with_their_path(files: Files, content: str, message: str) -> None:
    home = files.config.parent / "home"
    home.mkdir()
    files.change("mine.applications.0.args.home", str(home))
    assert files.faults() == []
    (home / "thresholds.json").write_text('{"a@1": {"text-image": 0.3}}')
    assert files.faults() == []
    (home / "thresholds.json").write_text(content)
    (fault,) = files.faults()
    assert fault.startswith(f"{home / 'thresholds.json'}: ")
    assert message in fault


def test_the_shipped_thresholds_are_looked_at(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    own = files.config.parent / "thresholds.yaml"
    own.write_text("a@1: {text: .5}")
    monkeypatch.setattr("serve_app.retrieval.thresholds.shipped", lambda: own)
    assert files.faults() == [f"{own}: a@1: 'text' is no pair such as text-image"]


@pytest.mark.parametrize("name", ["nowhere.yaml", "."])
def test_a_missing_file_is_named(files: Files, name: str) -> None:
    (fault,) = check_config(files.config.parent / name)
    assert str(files.config.parent / name) in fault


def test_the_home_comes_from_the_arguments_or_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDIAVERSE_HOME", str(tmp_path / "elsewhere"))
    assert AppArgs().home_path == tmp_path / "elsewhere"
    assert AppArgs(home=str(tmp_path)).catalog_url == f"sqlite:///{tmp_path}/catalog.db"
    assert AppArgs(home=str(tmp_path)).files_url == f"file://{tmp_path}/files"
    assert AppArgs(home="relative").home_path == Path.cwd() / "relative"
    monkeypatch.delenv("MEDIAVERSE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert AppArgs().home_path == tmp_path / ".mediaverse"
