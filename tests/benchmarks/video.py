"""Annotation of videos by a real service: the stages, all annotators against each alone, and memory over duration."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import yaml

from graphs.looking import ANNOTATORS
from tests.benchmarks import footage
from tests.benchmarks.memory import DECODER, watched
from tests.benchmarks.processes import service
from tests.benchmarks.report import Result, progress, table
from tests.cluster.conftest import Service
from tests.conftest import shared_place

CLIPS = ("psd_testvideo_scenes.mp4", "city_pan_60fps.mp4", "nasa_multistream.mp4")
RUNS = 3
LONGEST_S = 3600.0
STAGES = ("load_s", "annotate_s", "after_last_frame_s", "total_s")

Times = dict[str, float]


def run(quick: bool) -> Result:
    place = Path(tempfile.mkdtemp(prefix="mediaverse-video"))
    try:
        short, long = place / "short.mp4", place / "long.mp4"
        seconds, times = (10, 4) if quick else (60, 10)
        footage.film(short, seconds)
        footage.repeat(short, long, times)
        progress(f"video: made {seconds} s and {times * seconds} s of 1080p")
        clips = _clips(short)
        measured = _speed(clips[:1] if quick else clips, 1 if quick else RUNS)
        grown = [_memory(file, clips[0]) for file in (short, long)]
    finally:
        shutil.rmtree(place, ignore_errors=True)
    text = "\n\n".join((_stages(measured), _ratios(measured), f"Memory:\n\n{_growth(grown)}"))
    return Result(text, {"clips": measured, "memory": grown})


def _clips(made: Path) -> list[Path]:
    """Three real clips where there are any, else the minute that was made."""
    folder = shared_place() / "media" / "video"
    return [folder / name for name in CLIPS if (folder / name).is_file()] or [made]


def _speed(clips: Sequence[Path], runs: int) -> list[dict[str, Any]]:
    with _patient_service() as running, httpx.Client(base_url=running.url, timeout=LONGEST_S) as client:
        first = _annotate(client, clips[0], None)
        served = [name for name, result in ANNOTATORS.items() if first["results"][result]["status"] == "ok"]
        return [_clip(client, clip, served, runs) for clip in clips]


def _clip(client: httpx.Client, clip: Path, served: Sequence[str], runs: int) -> dict[str, Any]:
    """Medians of ``runs`` rounds; in each round, all annotators together and then each alone."""
    rounds: list[dict[str, Times]] = []
    for _ in range(runs):
        rounds.append({})
        for asked in ("all", "scenes", *served):
            answer = _annotate(client, clip, None if asked == "all" else asked)
            rounds[-1][asked] = answer["stage"]
            progress(f"video: {clip.name}, {asked}: {answer['stage']}")
    times = {
        asked: {stage: median(one[asked][stage] for one in rounds) for stage in STAGES} for asked in rounds[0]
    }  # fmt: skip
    found = {name: answer[name] for name in ("asset", "decoded")} | {"scenes": len(answer["scenes"])}
    return {"clip": clip.name, "served": list(served), "times": times, "rounds": rounds} | found


def _memory(file: Path, warm_up: Path) -> dict[str, Any]:
    """A fresh service that has answered once, and its peaks while it annotates ``file``."""
    with _patient_service() as running, httpx.Client(base_url=running.url, timeout=LONGEST_S) as client:
        _annotate(client, warm_up, None)
        with watched(running) as peaks:
            answer = _annotate(client, file, None)
    progress(f"video: {file.name}: {peaks.total / 1e9:.2f} GB, {answer['stage']}")
    figures = {"total": peaks.total, "roles": dict(peaks.roles), "stage": answer["stage"]}
    return figures | {"seconds": answer["asset"]["duration_s"], "frames": answer["decoded"]["frames"]}


def _annotate(client: httpx.Client, file: Path, annotators: str | None) -> dict[str, Any]:
    """The answer, with ``wall_s`` of the client's own clock among the stage times."""
    begun = time.perf_counter()
    with file.open("rb") as data:
        answer = client.post(
            "/v1/annotate/video",
            params={"annotators": annotators} if annotators else None,
            files={"file": (file.name, data, "video/mp4")},
        )
    if answer.status_code != 200:
        raise RuntimeError(f"{file.name}: {answer.status_code} {answer.text[:2000]}")
    body: dict[str, Any] = answer.json()
    body["stage"]["wall_s"] = time.perf_counter() - begun
    return body


@contextmanager
def _patient_service() -> Iterator[Service]:
    """A service that gives a request an hour: ten minutes of film take longer than the shipped limit."""
    with service(start=False) as running:
        config = yaml.safe_load(running.config.read_text())
        config["http_options"]["request_timeout_s"] = LONGEST_S
        running.config.write_text(yaml.safe_dump(config))
        running.start()
        yield running


def _stages(measured: list[dict[str, Any]]) -> str:
    heads = ["", "seconds of film", "frames", "scenes", "load s", "annotate s", "last frame to answer, s", "total s"]
    rows = []
    for each in measured:
        times = (each["times"]["all"][stage] for stage in STAGES)
        film = [each["asset"]["duration_s"], each["decoded"]["frames"], each["scenes"]]
        rows.append([each["clip"], *film, *times])
    return table(heads, rows)


def _ratios(measured: list[dict[str, Any]]) -> str:
    """Total seconds: all annotators together, each alone, and all over the slowest alone."""
    names = ["all", "scenes", *measured[0]["served"]]
    rows = []
    for each in measured:
        totals = {name: each["times"][name]["total_s"] for name in names}
        slowest = max(totals[name] for name in each["served"])
        rows.append([each["clip"], *totals.values(), totals["all"] / slowest])
    return table(["total s", *(f"{name} alone" if name != "all" else name for name in names), "all / slowest"], rows)


def _growth(grown: list[dict[str, Any]]) -> str:
    heads = ["seconds of film", "frames", "total s", "GB in all (PSS)", "scene splitter GB", "decoder GB"]
    sizes = [[each["total"], each["roles"]["SceneSplitter"], each["roles"][DECODER]] for each in grown]
    rows: list[list[object]] = [
        [each["seconds"], each["frames"], each["stage"]["total_s"], *(f"{size / 1e9:.3f}" for size in bytes_)]
        for each, bytes_ in zip(grown, sizes, strict=True)
    ]
    ratios = [f"{long / short:.3f}" for short, long in zip(*sizes, strict=True)]
    return table(heads, [*rows, ["long / short", "", "", *ratios]])
