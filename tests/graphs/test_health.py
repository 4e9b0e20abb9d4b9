"""Readiness over plain handles and a real catalog."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ray.exceptions import RayActorError

from graphs.health import HealthGraph
from serve_app.errors import Problem
from serve_app.wire.schemas import Readiness
from tests.graphs.world import Handle, World


class Model:
    def __init__(self, **status: Any) -> None:
        self.given = status

    async def status(self) -> dict[str, Any]:
        return self.given


def ask(world: World, **handles: Handle) -> Readiness:
    graph = HealthGraph("embedded", world.models, dict(handles), world.places)
    return asyncio.run(graph.ready())


def test_all_warm_is_ready_and_names_what_nobody_serves(world: World) -> None:
    answer = ask(world, object_detection=Handle(Model(state="ready")), search_0=Handle(Model(seq=3)))
    assert answer.ready
    tasks = {task.task: task for task in answer.tasks}
    assert (tasks["object_detection"].model, tasks["object_detection"].state) == ("shapes-embedded", "ready")
    assert tasks["search_0"].state == tasks["catalog"].state == "ready"
    assert tasks["captioning"].state == "unavailable"
    assert tasks["captioning"].remedy


def test_what_no_model_serves_says_itself_what_it_is_and_where(world: World) -> None:
    answer = ask(world, multi_view_rendering=Handle(Model(state="ready", model="embree", device="cpu")))
    (task,) = [task for task in answer.tasks if task.task == "multi_view_rendering"]
    assert (task.state, task.model, task.device) == ("ready", "embree", "cpu")


def test_missing_weights_are_not_ready_and_carry_the_remedy(world: World) -> None:
    missing = Handle(Model(state="unavailable", remedy="mediaverse models pull light"))
    answer = ask(world, object_detection=missing)
    assert not answer.ready
    assert [task.remedy for task in answer.tasks if task.task == "object_detection"] == ["mediaverse models pull light"]


def test_a_dead_or_busy_replica_is_starting(world: World) -> None:
    for fault in (RayActorError(), Problem("overloaded", "busy")):
        handle = Handle(Model())
        handle.fault = fault
        answer = ask(world, face_detection=handle)
        assert not answer.ready
        assert [task.state for task in answer.tasks if task.task == "face_detection"] == ["starting"]


def test_a_catalog_that_cannot_be_used_is_not_ready(world: World) -> None:
    world.catalog.close()
    Path(world.folder / "catalog.db").write_bytes(b"no database" * 1000)
    for leftover in ("catalog.db-wal", "catalog.db-shm"):
        Path(world.folder / leftover).unlink(missing_ok=True)
    broken = HealthGraph("embedded", world.models, {}, type(world.places)(**world.places.__getstate__()))
    answer = asyncio.run(broken.ready())
    assert not answer.ready
    catalog = next(task for task in answer.tasks if task.task == "catalog")
    assert catalog.state == "unavailable"
    assert catalog.remedy
