"""Naming what happens in clips: eager torch against ONNX Runtime by batch, on the CPU and on a GPU, if there is one."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from serve_app.models.sessions import open_session, providers
from serve_app.models.slowfast import INPUT, R50_8X8, SlowFast, SlowFastConfig, export_slowfast
from tests.benchmarks.report import Result, progress, table

BATCHES = (1, 2, 4, 8)
Floats = NDArray[np.float32]
Runner = Callable[[Floats], object]


def run(quick: bool) -> Result:
    """Clips a second of each runtime at each batch; the runtimes take turns, so that all see the same machine.

    The weights are random: no runtime's speed depends on them.
    """
    parts, raw = [], {}
    gpu = providers()[0][0].startswith("CUDA")
    for name, config in _networks(quick).items():
        devices = ["cpu", "cuda"] if gpu else ["cpu"]
        for device in devices:
            found = _compare(config, device, BATCHES[:2] if quick else BATCHES, rounds=1 if quick else 3)
            raw[f"{name}, {device}"] = found
            parts.append(f"{name} on the {'GPU' if device == 'cuda' else 'CPU'}:\n\n{_shown(found)}")
            progress(f"actions: {name}, {device}: {found}")
    if not gpu:
        parts.append("There was no GPU: its rows, and those of half precision, are left out.")
    return Result("\n\n".join(parts), raw)


def _networks(quick: bool) -> dict[str, SlowFastConfig]:
    # Its training settles the shape; imported here, so that the bench of the other runs without it.
    from serve_app.models.embedded.motion_job import CONFIG

    full = SlowFastConfig(classes=400, crop=64) if quick else R50_8X8
    return {f"SlowFast R50 8x8, {full.crop} px": full, f"motion-embedded, {CONFIG.crop} px": CONFIG}


def _compare(config: SlowFastConfig, device: str, batches: tuple[int, ...], rounds: int) -> dict[str, dict[int, float]]:
    """Runtime -> batch -> clips a second, the median of ``rounds`` after one that warms up."""
    clips = np.random.default_rng(0).standard_normal((max(batches), 3, config.frames, config.crop, config.crop))
    clips = clips.astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        runners = _runners(config, device, Path(folder))
        taken: dict[str, dict[int, list[float]]] = {name: {batch: [] for batch in batches} for name in runners}
        for batch in batches:
            for turn in range(rounds + 1):
                for name, runner in runners.items():
                    begun = time.perf_counter()
                    runner(clips[:batch])
                    if turn:
                        taken[name][batch].append(time.perf_counter() - begun)
    return {name: {batch: batch / median(each) for batch, each in row.items()} for name, row in taken.items()}


def _runners(config: SlowFastConfig, device: str, folder: Path) -> dict[str, Runner]:
    torch.manual_seed(0)
    model = SlowFast(config).eval()
    halves = {"ONNX fp32": False, "ONNX fp16": True} if device == "cuda" else {"ONNX fp32": False}
    runners: dict[str, Runner] = {}
    for name, half in halves.items():
        path = folder / f"{name}.onnx"
        export_slowfast(model, path, half=half)
        runners[name] = _onnx(path, device)
    model = model.to(device)

    def eager(clips: Floats) -> object:
        with torch.inference_mode():
            return model(torch.from_numpy(clips).to(device)).softmax(-1).cpu()

    return {"eager fp32": eager, **runners}


def _onnx(path: Path, device: str) -> Runner:
    session = open_session(path)
    if device == "cpu":
        session.set_providers(["CPUExecutionProvider"])
    return lambda clips: session.run(None, {INPUT: clips})


def _shown(found: dict[str, dict[int, float]]) -> str:
    eager = found["eager fp32"]
    heads = ["clips a second", *(f"batch of {batch}" for batch in eager), "against eager"]
    rows: list[list[Any]] = []
    for name, row in found.items():
        ratios = [row[batch] / eager[batch] for batch in eager]
        shown = "1" if name == "eager fp32" else f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append([name, *row.values(), shown])
    return table(heads, rows)
