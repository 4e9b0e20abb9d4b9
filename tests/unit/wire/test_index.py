"""The routes of the index and the commands that call them, over a port that plays a small part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from serve_app.catalog import Catalog, Files, NewContent
from serve_app.cli import app
from serve_app.errors import Problem
from serve_app.wire import index_schemas, schemas
from tests.unit.wire.door import Jobs, job, services, serving

FILES = index_schemas.FileFinding(missing=0, unnamed=7, unnamed_files=[f"{n}/[x]" for n in range(7)])
SERVED = index_schemas.ServedModel(model="clip-embedded", revision="clip-embedded@2", dim=256, vectors=9, missing=1)


class Index:
    """Remembers what it was asked; whole unless told otherwise."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.faults: list[str] = []

    async def status(self) -> index_schemas.Index:
        task = index_schemas.TaskIndex(task="cross_modal_embedding", served=SERVED, job=job("running", 0.5))
        return index_schemas.Index(tasks=[task], shards=[{"seq": 3}], recall_at_10=0.996)

    async def reindex(self, model: str) -> schemas.Job:
        self.asked.append(model)
        if model == "nonsense":
            raise Problem("not_found", "no such model")
        return job("queued", kind="reindex")

    async def rollback(self, task: str) -> schemas.Job:
        self.asked.append(("rollback", task))
        return job("queued", kind="reindex")

    async def examine(self, files: bool = False) -> index_schemas.Diagnosis:
        finding = index_schemas.Finding(
            modality="text", revision="r@1", contents=3, keys=2, vectors=1, explained_failures=0, processing=0,
            unexplained=len(self.faults),
        )  # fmt: skip
        remedy = "mediaverse doctor --repair" if self.faults else None
        return index_schemas.Diagnosis(
            healthy=not self.faults, findings=[finding], files=FILES if files else None, faults=self.faults,
            remedy=remedy,
        )  # fmt: skip

    async def repair(self) -> index_schemas.Diagnosis:
        self.asked.append("repair")
        return await self.examine()


@pytest.fixture
def index() -> Index:
    return Index()


@pytest.fixture
def url(index: Index) -> Iterator[str]:
    jobs = Jobs(job("running", 0.5, kind="reindex"), job("succeeded", 1.0, kind="reindex"))
    with serving(services(index=index, jobs=jobs)) as address:
        yield address


def run(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_the_index_is_shown_changed_and_changed_back(url: str, index: Index) -> None:
    shown = httpx.get(f"{url}/v1/index").json()
    assert shown["tasks"][0]["served"]["missing"] == 1
    assert shown["recall_at_10"] == 0.996
    accepted = httpx.post(f"{url}/v1/index/reindex", json={"model": "other"})
    assert (accepted.status_code, accepted.headers["location"]) == (202, "/v1/jobs/j1")
    assert httpx.post(f"{url}/v1/index/reindex", json={"model": "nonsense"}).json()["code"] == "not_found"
    assert httpx.post(f"{url}/v1/index/reindex", json={}).status_code == 400
    assert httpx.post(f"{url}/v1/index/rollback").status_code == 202
    assert httpx.post(f"{url}/v1/index/rollback", json={"task": "text_embedding"}).status_code == 202
    assert index.asked == [
        "other", "nonsense", ("rollback", "cross_modal_embedding"), ("rollback", "text_embedding"),
    ]  # fmt: skip
    told = httpx.get(f"{url}/v1/index/doctor").json()
    assert told["healthy"] is True
    assert "files" not in told, "who asks often does not pay for them"
    assert httpx.get(f"{url}/v1/index/doctor?files=true").json()["files"]["unnamed"] == 7
    assert httpx.post(f"{url}/v1/index/doctor").status_code == 202


def test_a_service_without_an_index_says_so() -> None:
    with serving(services()) as address:
        assert httpx.get(f"{address}/v1/index").json()["code"] == "unavailable"


def test_reindex_waits_for_the_switch_or_says_which_job(url: str, index: Index) -> None:
    assert "switched" in run("reindex", "--model", "other", "--url", url).stdout
    assert json.loads(run("reindex", "--rollback", "--json", "--url", url).stdout)["state"] == "succeeded"
    assert "jobs watch j1" in run("reindex", "--model", "other", "--no-wait", "--url", url).stdout
    shown = run("reindex", "--status", "--url", url).stdout
    assert "clip-embedded" in shown
    assert "recall@10 against exact search: 0.996" in shown
    assert run("reindex", "--model", "nonsense", "--url", url, code=1)
    assert run("reindex", "--url", url, code=2)
    assert run("reindex", "--rollback", "--status", "--url", url, code=2)


def test_the_doctor_says_what_is_wrong_and_exits_so(url: str, index: Index) -> None:
    assert "all is well" in run("doctor", "--url", url).stdout
    assert "named by no" not in run("doctor", "--no-files", "--url", url).stdout
    spoken = run("doctor", "--url", url).stdout.replace("\n", " ")
    assert "no row names and that may be deleted: 7: 0/[x], 1/[x], 2/[x], 3/[x], 4/[x], ..." in spoken
    assert json.loads(run("doctor", "--json", "--url", url).stdout)["files"] == FILES.model_dump()
    index.faults = ["text by r@1: 1 content has neither a vector nor a reason why not: a [x]"]
    result = run("doctor", "--url", url, code=1)
    assert "a [x]" in result.stderr
    assert "mediaverse doctor --repair" in result.stdout
    assert json.loads(run("doctor", "--json", "--url", url, code=1).stdout)["faults"] == index.faults
    assert "queued what mends it" in run("doctor", "--repair", "--url", url, code=1).stdout
    assert index.asked == ["repair"]


def test_the_doctor_looks_into_a_catalog_where_no_service_runs(tmp_path: Path) -> None:
    catalog = Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}")
    catalog.settings.adopt("cross_modal_embedding", "m", "m@1", 2)
    files = Files(str(tmp_path / "files"))
    new = NewContent("a", "anna", "text", "text/plain", "0" * 64, 3, files.put(b"abc"))
    catalog.contents.add(new, [1.0, 0.0], "m@1")
    assert "all is well" in run("doctor", "--home", str(tmp_path)).stdout
    files.delete([new.file])
    result = run("doctor", "--home", str(tmp_path), code=1)
    assert "1 file is named by rows and not stored" in result.stderr
    assert "--repair" not in result.stdout, "which brings no file back"
    told = json.loads(run("doctor", "--home", str(tmp_path), "--json", code=1).stdout)
    assert (told["healthy"], told["files"]["missing_files"], told["files"]["missing_assets"]) == (
        False,
        [new.file],
        ["a"],
    )
    assert "all is well" in run("doctor", "--home", str(tmp_path), "--no-files").stdout
    assert "all is well" in run("doctor", "--catalog", f"sqlite:///{tmp_path / 'catalog.db'}").stdout
    catalog.settings.switch("cross_modal_embedding", catalog.settings.get("cross_modal_embedding").served)
    with catalog._database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE vectors SET data = NULL")
    result = run("doctor", "--home", str(tmp_path), "--repair", code=1)
    assert "1 content has neither a vector nor a reason" in result.stderr
    assert {item.kind for item in catalog.jobs.page(state="queued").items} == {"index", "reindex"}
    assert run("doctor", "--catalog", "mysql://nowhere", code=1)
    catalog.close()
