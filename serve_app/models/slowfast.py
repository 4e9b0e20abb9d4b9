"""SlowFast: one pathway sees few frames with many channels, the other all frames with few, and tells the first.

Source: Feichtenhofer, Fan, Malik, He, "SlowFast Networks for Video Recognition", ICCV 2019. The modules are named so
that the state dict has the keys of PyTorchVideo's ``create_slowfast``, whose public checkpoints load as they are.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from serve_app.models.onnx_export import trace

INPUT, OUTPUT = "clip", "probabilities"
"""Names in the ONNX file."""
OPSET = 18
EXPANSION = 4
"""A stage gives this many times the channels that its 3x3 convolutions work on."""

Kernel = tuple[int, int, int]
Paths = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class SlowFastConfig:
    """The shape of a network; what is left out is as in SlowFast R50 8x8.

    ``widths`` are the inner channels of the slow stages (a stage gives four times as many), ``stem`` those of the slow
    stem; the fast pathway has 1/``beta_inv`` of each, and the slow one sees 1/``alpha`` of the frames. Kernels of the
    stages are temporal extents of the first convolution in each block. ``head_window`` is the side of the window the
    head averages over, cut to what there is.
    """

    classes: int
    frames: int = 32
    crop: int = 256
    alpha: int = 4
    beta_inv: int = 8
    fusion_ratio: int = 2
    fusion_kernel: int = 7
    stem: int = 64
    slow_stem_kernel: Kernel = (1, 7, 7)
    fast_stem_kernel: Kernel = (5, 7, 7)
    stem_pool: bool = True
    widths: tuple[int, ...] = (64, 128, 256, 512)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    slow_kernels: tuple[int, ...] = (1, 1, 3, 3)
    fast_kernels: tuple[int, ...] = (3, 3, 3, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    head_window: int = 7
    dropout: float = 0.5

    def __post_init__(self) -> None:
        """Raises ValueError for a shape whose pathways would not meet."""
        stages = {len(each) for each in (self.widths, self.depths, self.slow_kernels, self.fast_kernels, self.strides)}
        if len(stages) > 1:
            raise ValueError("widths, depths, slow_kernels, fast_kernels and strides are as many as there are stages")
        if self.frames % self.alpha or any(width % self.beta_inv for width in (self.stem, *self.widths)):
            raise ValueError("frames must be a multiple of alpha, stem and widths multiples of beta_inv")


R50_8X8 = SlowFastConfig(classes=400)


class SlowFast(nn.Module):
    """``forward`` takes clips, float32 [N,3,T,H,W], normalised, T a multiple of alpha, and gives logits [N,classes]."""

    def __init__(self, config: SlowFastConfig) -> None:
        super().__init__()
        self.config = config
        stages = len(config.widths)
        ins = (config.stem, *(EXPANSION * width for width in config.widths))
        blocks: list[nn.Module] = [_Fused(_stems(config), config, config.stem)]
        for stage in range(stages):
            last = stage == stages - 1
            blocks.append(_Fused(_stages(config, stage, ins[stage]), config, None if last else ins[stage + 1]))
        blocks.append(_Pool(config.head_window))
        blocks.append(_Head(ins[-1] + ins[-1] // config.beta_inv, config.classes, config.dropout))
        self.blocks = nn.ModuleList(blocks)
        # Kept as a buffer, so that an exported network has the very numbers and not a formula that may round otherwise.
        self.register_buffer("slow_frames", slow_frames(config.frames, config.alpha), persistent=False)
        _initialise(self)

    def forward(self, clip: Tensor) -> Tensor:
        frames = clip.shape[2]
        chosen = self.get_buffer("slow_frames")
        if frames != self.config.frames:
            chosen = slow_frames(frames, self.config.alpha).to(clip.device)
        paths = (clip.index_select(2, chosen), clip)
        *body, pool, head = self.blocks
        for block in body:
            paths = block(paths)
        logits: Tensor = head(pool(paths))
        return logits


def slow_frames(frames: int, alpha: int) -> Tensor:
    """The frames of the slow pathway, int64 [frames // alpha]: uniform with both ends, cut to whole numbers.

    The reference's transform (PackPathway) does the same.
    """
    return torch.linspace(0, frames - 1, frames // alpha).long()


def export_slowfast(model: SlowFast, path: Path, *, half: bool = False) -> None:
    """Write the network as ONNX: ``clip`` float32 [N,3,T,H,W] to ``probabilities`` float32 [N,classes], any N <= 4096.

    T, H and W are those of the network's config. With ``half`` the weights and what lies between are float16: half the
    memory and, on a GPU, much faster.
    """
    config = model.config
    network = _Probabilities(_folded(model), half).eval()
    example = torch.linspace(-1, 1, 2 * 3 * config.frames * config.crop**2)
    example = example.reshape(2, 3, config.frames, config.crop, config.crop)
    program = trace(network, {INPUT: example}, [OUTPUT], opset=OPSET)
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(path, external_data=False)


class _Fused(nn.Module):
    """A slow and a fast block side by side; what the fast one found is then handed to the slow one."""

    def __init__(self, blocks: nn.ModuleList, config: SlowFastConfig, slow_channels: int | None) -> None:
        super().__init__()
        self.multipathway_blocks = blocks
        self.multipathway_fusion = _Fusion(config, slow_channels // config.beta_inv) if slow_channels else nn.Identity()

    def forward(self, paths: Paths) -> Paths:
        slow, fast = (block(path) for block, path in zip(self.multipathway_blocks, paths, strict=True))
        fused: Paths = self.multipathway_fusion((slow, fast))
        return fused


class _Fusion(nn.Module):
    """The fast features at the slow frame rate, beside the slow ones."""

    def __init__(self, config: SlowFastConfig, channels: int) -> None:
        super().__init__()
        kernel = (config.fusion_kernel, 1, 1)
        self.conv_fast_to_slow = _convolution(channels, channels * config.fusion_ratio, kernel, (config.alpha, 1, 1))
        self.norm = nn.BatchNorm3d(channels * config.fusion_ratio)

    def forward(self, paths: Paths) -> Paths:
        slow, fast = paths
        told = functional.relu(self.norm(self.conv_fast_to_slow(fast)))
        return torch.cat([slow, told], 1), fast


class _Stem(nn.Module):
    def __init__(self, channels: int, kernel: Kernel, pool: bool) -> None:
        super().__init__()
        self.conv = _convolution(3, channels, kernel, (1, 2, 2))
        self.norm = nn.BatchNorm3d(channels)
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)) if pool else nn.Identity()

    def forward(self, clip: Tensor) -> Tensor:
        found: Tensor = self.pool(functional.relu(self.norm(self.conv(clip))))
        return found


class _Stage(nn.Module):
    def __init__(self, channels: int, inner: int, depth: int, kernel: int, stride: int) -> None:
        super().__init__()
        firsts = [(channels, stride)] + [(EXPANSION * inner, 1)] * (depth - 1)
        self.res_blocks = nn.Sequential(*(_Residual(first, inner, kernel, step) for first, step in firsts))

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.res_blocks(features)
        return found


class _Residual(nn.Module):
    def __init__(self, channels: int, inner: int, kernel: int, stride: int) -> None:
        super().__init__()
        out = EXPANSION * inner
        self.branch1_conv: nn.Module = nn.Identity()
        self.branch1_norm: nn.Module = nn.Identity()
        if channels != out or stride != 1:
            self.branch1_conv = _convolution(channels, out, (1, 1, 1), (1, stride, stride))
            self.branch1_norm = nn.BatchNorm3d(out)
        self.branch2 = _Bottleneck(channels, inner, out, kernel, stride)

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.branch1_norm(self.branch1_conv(features)) + self.branch2(features))


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, inner: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_a = _convolution(channels, inner, (kernel, 1, 1), (1, 1, 1))
        self.norm_a = nn.BatchNorm3d(inner)
        self.conv_b = _convolution(inner, inner, (1, 3, 3), (1, stride, stride))
        self.norm_b = nn.BatchNorm3d(inner)
        self.conv_c = _convolution(inner, out, (1, 1, 1), (1, 1, 1))
        self.norm_c = nn.BatchNorm3d(out)

    def forward(self, features: Tensor) -> Tensor:
        features = functional.relu(self.norm_a(self.conv_a(features)))
        features = functional.relu(self.norm_b(self.conv_b(features)))
        found: Tensor = self.norm_c(self.conv_c(features))
        return found


class _Pool(nn.Module):
    """Both pathways averaged over all time and a sliding window of space, side by side: [N,C,1,h,w]."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window

    def forward(self, paths: Paths) -> Tensor:
        return torch.cat([self._average(path) for path in paths], 1)

    def _average(self, features: Tensor) -> Tensor:
        frames, height, width = features.shape[2:]
        return functional.avg_pool3d(features, (frames, min(self.window, height), min(self.window, width)), stride=1)


class _Head(nn.Module):
    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.proj = nn.Linear(channels, classes)

    def forward(self, pooled: Tensor) -> Tensor:
        # The reference projects at every window and averages then; averaging first is the same and cheaper.
        logits: Tensor = self.proj(self.dropout(pooled).mean((2, 3, 4)))
        return logits


class _Probabilities(nn.Module):
    """The network as it is served: float32 in and out whatever it computes in, the softmax inside."""

    def __init__(self, model: SlowFast, half: bool) -> None:
        super().__init__()
        self.model = model.half() if half else model
        self.dtype = torch.float16 if half else torch.float32

    def forward(self, clip: Tensor) -> Tensor:
        logits: Tensor = self.model(clip.to(self.dtype))
        return logits.float().softmax(-1)


def _stems(config: SlowFastConfig) -> nn.ModuleList:
    slow = _Stem(config.stem, config.slow_stem_kernel, config.stem_pool)
    fast = _Stem(config.stem // config.beta_inv, config.fast_stem_kernel, config.stem_pool)
    return nn.ModuleList([slow, fast])


def _stages(config: SlowFastConfig, stage: int, channels: int) -> nn.ModuleList:
    """``channels`` is what the slow pathway brings, without what the fast one tells it."""
    inner, depth, stride = config.widths[stage], config.depths[stage], config.strides[stage]
    own = channels // config.beta_inv
    told = own * config.fusion_ratio
    slow = _Stage(channels + told, inner, depth, config.slow_kernels[stage], stride)
    fast = _Stage(own, inner // config.beta_inv, depth, config.fast_kernels[stage], stride)
    return nn.ModuleList([slow, fast])


def _convolution(channels: int, out: int, kernel: Kernel, stride: Kernel) -> nn.Conv3d:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Conv3d(channels, out, kernel, stride, padding, bias=False)


def _initialise(model: nn.Module) -> None:
    """As the paper trains: He's normal weights, each residual block an identity at first, a quiet classifier."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, _Bottleneck):
            nn.init.zeros_(module.norm_c.weight)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)


def _folded(model: SlowFast) -> SlowFast:
    """A copy whose batch normalisations are part of the convolutions before them.

    Done in float32, before any rounding to half: the running variances of narrow pathways are too small for float16.
    """
    folded = copy.deepcopy(model).eval()
    for module in folded.modules():
        for name, child in list(module.named_children()):
            norm = getattr(module, _norm_of(name), None)
            if isinstance(child, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d):
                setattr(module, name, fuse_conv_bn_eval(child, norm))
                setattr(module, _norm_of(name), nn.Identity())
    return folded


def _norm_of(name: str) -> str:
    """The normalisation that follows the convolution of that name in the same module."""
    return "norm" if name == "conv_fast_to_slow" else name.replace("conv", "norm")
