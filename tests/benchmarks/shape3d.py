"""Annotation of 3D models by a real service: the stages, until a stored one is found and shown, and memory by size."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from tests import meshes
from tests.benchmarks.memory import READER, watched
from tests.benchmarks.processes import service
from tests.benchmarks.report import Result, progress, table
from tests.cluster.conftest import Service
from tests.conftest import shared_place

MESHES = (
    "BoxTextured.glb", "CesiumMilkTruck.glb", "bunny.ply", "chair.glb", "cow_mesh", "fuze", "kitchen_counter.glb",
    "simple_room.glb", "spider", "teapot.obj",
)  # fmt: skip
"""Folders are sent as a zip."""
MADE = (3, 5, 7, 8)
"""Spheres, by how often an icosahedron is subdivided: 1,280 to 1,310,720 triangles."""
RUNS = 3
STAGES = ("load_s", "render_s", "annotate_s", "total_s")
RENDERER = "MultiViewRenderer"


def run(quick: bool) -> Result:
    files, spheres = (_files()[:2], MADE[:2]) if quick else (_files(), MADE)
    with service() as running, httpx.Client(base_url=running.url, timeout=600) as client:
        _annotate(client, _sphere(1))  # the first answer opens what later ones find open
        measured = [_measured(client, name, data, 1 if quick else RUNS) for name, data in files]
    grown = [_grown(subdivisions) for subdivisions in spheres]
    text = f"{_stages(measured)}\n\nMemory:\n\n{_sizes(grown)}"
    return Result(text, {"meshes": measured, "memory": grown})


def _files() -> list[tuple[str, bytes]]:
    """Ten real meshes where there are any, else spheres."""
    folder = shared_place() / "media" / "3d"
    found = [folder / name for name in MESHES if (folder / name).exists()]
    return [(path.name, _packed(path)) for path in found] or [(f"sphere {n}", _sphere(n)) for n in MADE[:2]]


def _packed(path: Path) -> bytes:
    if path.is_file():
        return path.read_bytes()
    return meshes.zipped({file.name: file.read_bytes() for file in sorted(path.iterdir())})


def _sphere(subdivisions: int) -> bytes:
    return meshes.file(meshes.solid("sphere", subdivisions=subdivisions), "glb")


def _measured(client: httpx.Client, name: str, data: bytes, runs: int) -> dict[str, Any]:
    """Medians of a few answers, and the seconds from storing one until it is found, and until it is shown."""
    answers = [_annotate(client, data) for _ in range(runs)]
    times = {stage: median(answer["stage"][stage] for answer in answers) for stage in STAGES}
    asset = answers[0]["asset"]
    found, shown = _stored(client, data)
    progress(f"shape3d: {name}: {times}, found after {found:.1f} s")
    facts = {name: asset[name] for name in ("triangles", "textured")}
    views = len(answers[0]["views"])
    return {"mesh": name, "views": views, "found_s": found, "shown_s": shown} | facts | times


def _annotate(client: httpx.Client, data: bytes) -> dict[str, Any]:
    answer = client.post("/v1/annotate/3d", files={"file": data})
    if answer.status_code != 200:
        raise RuntimeError(f"{answer.status_code} {answer.text[:2000]}")
    body: dict[str, Any] = answer.json()
    return body


def _stored(client: httpx.Client, data: bytes) -> tuple[float, float]:
    begun, found = time.perf_counter(), 0.0
    posted = client.post("/v1/assets", files={"file": data}, data={"owner": uuid.uuid4().hex}).json()
    while True:
        asset = client.get(f"/v1/assets/{posted['id']}").json()
        if "failed" in (asset["state"], asset["stages"]["preview"]["state"]):
            raise RuntimeError(str(asset["stages"]))
        if asset["state"] == "ready" and not found:
            found = time.perf_counter() - begun
        if asset["stages"]["preview"]["state"] == "ready":
            return found, time.perf_counter() - begun
        time.sleep(0.02)


def _grown(subdivisions: int) -> dict[str, Any]:
    """A fresh service that has answered once, and its peaks while it annotates a sphere."""
    data = _sphere(subdivisions)
    with service() as running, httpx.Client(base_url=running.url, timeout=600) as client:
        _annotate(client, _sphere(1))
        return _peaks(running, client, data)


def _peaks(running: Service, client: httpx.Client, data: bytes) -> dict[str, Any]:
    with watched(running) as peaks:
        answer = _annotate(client, data)
    progress(f"shape3d: {answer['asset']['triangles']} triangles: {dict(peaks.roles)}")
    sizes = {"renderer": peaks.roles[RENDERER], "reader": peaks.roles[READER], "total": peaks.total}
    return {"triangles": answer["asset"]["triangles"], "file": len(data)} | sizes | answer["stage"]


def _stages(measured: Sequence[dict[str, Any]]) -> str:
    heads = ["", "triangles", "views", "load s", "render s", "annotate s", "total s", "stored: found s", "shown s"]
    keys = ("mesh", "triangles", "views", *STAGES, "found_s", "shown_s")
    return table(heads, [[each[key] for key in keys] for each in measured])


def _sizes(grown: Sequence[dict[str, Any]]) -> str:
    heads = ["triangles", "file MB", "load s", "render s", "reader GB", "renderer GB", "GB in all (PSS)"]
    rows: list[list[object]] = [
        [
            f"{each['triangles']:,}", each["file"] / 1e6, each["load_s"], each["render_s"],
            *(f"{each[name] / 1e9:.2f}" for name in ("reader", "renderer", "total")),
        ]
        for each in grown
    ]  # fmt: skip
    return table(heads, rows)
