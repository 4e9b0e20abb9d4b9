"""Published SlowFast checkpoints: a torch file whose ``model_state`` has the keys of PyTorchVideo's network."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

import torch
from torch import Tensor

from serve_app.models.slowfast import Kernel, SlowFast, SlowFastConfig

State = dict[str, Tensor]


def load_slowfast(checkpoint: Path, *, frames: int, crop: int, alpha: int) -> SlowFast:
    """The network of a checkpoint, ready to infer; no code of the file is run.

    Widths, depths and kernels are read off the tensors, so that R50 and R101 load alike; strides and the head's window,
    which no tensor tells, are the reference's. Raises ValueError where the file is no such checkpoint.
    """
    state = _read(checkpoint)
    try:
        model = SlowFast(_config_of(state, frames, crop, alpha))
        model.load_state_dict(state, strict=True)
    except (KeyError, IndexError, ZeroDivisionError, ValueError, RuntimeError) as error:
        raise ValueError(f"{checkpoint.name} is no SlowFast: {shorten(str(error), 400)}") from None
    return model.eval()


def _read(checkpoint: Path) -> State:
    try:
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # torch has no class for "this is no checkpoint"; which one comes depends on the bytes
        raise ValueError(f"{checkpoint.name} cannot be read as tensors: {shorten(str(error), 200)}") from None
    state = loaded.get("model_state") if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{checkpoint.name} has no model_state")
    return state


def _config_of(state: State, frames: int, crop: int, alpha: int) -> SlowFastConfig:
    slow, fast = (state[f"blocks.0.multipathway_blocks.{path}.conv.weight"] for path in (0, 1))
    fusion = state["blocks.0.multipathway_fusion.conv_fast_to_slow.weight"]
    stages = len({key.split(".")[1] for key in state if ".res_blocks." in key})
    firsts = [[_first(state, stage, path).shape for stage in range(stages)] for path in (0, 1)]
    return SlowFastConfig(
        classes=state[f"blocks.{stages + 2}.proj.weight"].shape[0],
        frames=frames,
        crop=crop,
        alpha=alpha,
        beta_inv=slow.shape[0] // fast.shape[0],
        fusion_ratio=fusion.shape[0] // fusion.shape[1],
        fusion_kernel=fusion.shape[2],
        stem=slow.shape[0],
        slow_stem_kernel=_kernel(slow),
        fast_stem_kernel=_kernel(fast),
        widths=tuple(shape[0] for shape in firsts[0]),
        depths=tuple(_depth(state, stage) for stage in range(stages)),
        slow_kernels=tuple(shape[2] for shape in firsts[0]),
        fast_kernels=tuple(shape[2] for shape in firsts[1]),
        strides=(1, *[2] * (stages - 1)),
    )


def _first(state: State, stage: int, path: int) -> Tensor:
    return state[f"blocks.{stage + 1}.multipathway_blocks.{path}.res_blocks.0.branch2.conv_a.weight"]


def _depth(state: State, stage: int) -> int:
    start = f"blocks.{stage + 1}.multipathway_blocks.0.res_blocks."
    return len({key[len(start) :].partition(".")[0] for key in state if key.startswith(start)})


def _kernel(weight: Tensor) -> Kernel:
    return weight.shape[2], weight.shape[3], weight.shape[4]
