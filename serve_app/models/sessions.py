"""ONNX Runtime sessions: the accelerator where there is one, and memory that does not creep."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

ERRORS_ONLY = 3
TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


@functools.cache
def gpus() -> int:
    """How many CUDA devices this process may use, asked of the driver; 0 where there is no driver.

    The driver heeds CUDA_VISIBLE_DEVICES, so a replica that was given no GPU counts none.
    """
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
        count = ctypes.c_int(0)
        ready = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    except (OSError, AttributeError):
        return 0
    return count.value if ready else 0


def providers() -> list[tuple[str, dict[str, str]]]:
    """The execution providers for this process, best first.

    ``onnxruntime-gpu`` asked for CUDA without a GPU warns and falls back; so it is asked only where there is one.
    """
    cpu: tuple[str, dict[str, str]] = ("CPUExecutionProvider", {})
    if not gpus() or "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return [cpu]
    # The default doubles its arena at every extension, which a fractional GPU does not have room for; and an
    # exhaustive search for convolutions repeats for every new batch size.
    cuda = {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}
    return [("CUDAExecutionProvider", cuda), cpu]


def open_session(path: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """Open a network; ``threads`` inside one operator on the CPU, 0 for every core this process may use.

    Raises FileNotFoundError where there is no file, and onnxruntime's own error where it is no network.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    # Batches vary: memory patterns are kept for every shape ever seen, and the arena keeps its highest mark.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    # Replicas share the cores; idle threads that spin would take them from the others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen = providers()
    if chosen[0][0].startswith("CUDA"):
        onnxruntime.preload_dlls()
    return onnxruntime.InferenceSession(str(path), sess_options=options, providers=chosen)


def warm(session: onnxruntime.InferenceSession, shapes: Mapping[str, tuple[int, ...]] | None = None) -> None:
    """Run one batch of zeros, so that the first real one does not pay for allocation and kernel choice.

    ``shapes`` gives the shape of inputs whose height or width is free; other free axes are taken as 1.
    """
    feed: dict[str, NDArray[Any]] = {}
    for one in session.get_inputs():
        free = tuple(side if isinstance(side, int) else 1 for side in one.shape)
        feed[one.name] = np.zeros((shapes or {}).get(one.name, free), dtype=TYPES[one.type])
    session.run(None, feed)
