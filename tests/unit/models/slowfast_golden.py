"""Weights and clips for SlowFast that anybody can draw again, and what the reference answers on them.

``golden/slowfast_logits.npz`` and ``golden/slowfast_keys.json`` hold what PyTorchVideo's ``create_slowfast`` (commit
f3142bb, in eval mode, torch 2.15 on a CPU, in float32) gives on them: the logits of each case, and every key and shape
of the state dict of the R50 8x8 network. The reference ran with the arguments in each case's comment, the rest as the
function has it; its slow frames were chosen as its PackPathway does.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from serve_app.models.slowfast import R50_8X8, SlowFastConfig

GOLDEN = Path(__file__).parent / "golden"

TINY = SlowFastConfig(
    classes=7,
    frames=16,
    crop=64,
    alpha=2,
    beta_inv=4,
    fusion_kernel=5,
    stem=16,
    slow_stem_kernel=(1, 5, 5),
    fast_stem_kernel=(3, 5, 5),
    widths=(16, 32, 64, 128),
    depths=(1, 1, 1, 1),
    slow_kernels=(1, 1, 1, 3),
    fast_kernels=(3, 5, 3, 3),
)


@dataclass(frozen=True)
class Case:
    """A network and the shape of its clips."""

    name: str
    config: SlowFastConfig
    shape: tuple[int, int, int, int, int]


CASES = [
    # head_pool_kernel_sizes=((8, 7, 1), (32, 7, 1)): SlowFast R50 8x8; the window slides down 8 rows of features, as it
    # does at the network's own 256x256, which takes a test machine too long.
    Case("tall", R50_8X8, (1, 3, 32, 256, 32)),
    # head_pool_kernel_sizes=((4, 2, 2), (16, 2, 2)): half the frames, three clips, no window that slides.
    Case("short", R50_8X8, (3, 3, 16, 64, 64)),
    # slowfast_channel_reduction_ratio=4, slowfast_fusion_conv_kernel_size=(5, 1, 1), model_num_class=7, model_depth=18,
    # slowfast_fusion_conv_stride=(2, 1, 1), stem_dim_outs=(16, 4), stem_conv_kernel_sizes=((1, 5, 5), (3, 5, 5)),
    # stage_conv_a_kernel_sizes=(((1, 1, 1), (1, 1, 1), (1, 1, 1), (3, 1, 1)),
    #                            ((3, 1, 1), (5, 1, 1), (3, 1, 1), (3, 1, 1))),
    # head_pool_kernel_sizes=((8, 2, 2), (16, 2, 2))
    Case("tiny", TINY, (5, 3, 16, 64, 64)),
]


def draw(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Standard normal numbers that depend on the name and the shape alone."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """A value for every key of a state dict; the scales keep the logits of these networks at a few units."""
    return {key: torch.from_numpy(_value(key, shape)) for key, shape in shapes.items()}


def _value(key: str, shape: tuple[int, ...]) -> NDArray[np.float32] | NDArray[np.int64]:
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    numbers = draw(key, shape)
    if len(shape) > 1:
        return numbers * np.float32(np.prod(shape[1:]) ** -0.5)
    if key.endswith("running_var"):
        return np.exp(numbers / 4)
    if key.endswith(("running_mean", "bias")):
        return numbers / 4
    return (1 + numbers / 4) * np.float32(0.5 if "norm_c" in key else 1)


def clip(case: Case) -> torch.Tensor:
    return torch.from_numpy(draw(f"clip {case.name}", case.shape))


def logits(case: Case) -> NDArray[np.float32]:
    """What the reference answers, float32 [N,classes]."""
    with np.load(GOLDEN / "slowfast_logits.npz", allow_pickle=False) as golden:
        found: NDArray[np.float32] = golden[case.name]
    return found


def reference_shapes() -> dict[str, tuple[int, ...]]:
    """Key -> shape of the reference's R50 8x8."""
    return {key: tuple(shape) for key, shape in json.loads((GOLDEN / "slowfast_keys.json").read_text()).items()}
