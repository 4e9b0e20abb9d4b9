"""Inception-ResNet-v1 for faces (Szegedy et al. 2017; Schroff et al. 2015, "FaceNet"): a face in, a vector out.

Our own definition, with the keys that facenet-pytorch's published checkpoints use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 0.001
"""Of the normalisations, as TensorFlow trained them."""


class Layer(NamedTuple):
    """A convolution: ``kernel`` and ``padding`` are one side, or (height, width)."""

    out: int
    kernel: int | tuple[int, int]
    stride: int = 1
    padding: int | tuple[int, int] = 0


class InceptionResnetV1(nn.Module):
    """``forward`` takes faces, float32 [N,3,H,W], normalised, and gives vectors [N,dim]; their length is not 1.

    ``depths`` are the residual blocks of each of the three stages; the published network has 5, 10 and 5.
    """

    def __init__(self, dim: int = 512, depths: tuple[int, int, int] = (5, 10, 5)) -> None:
        super().__init__()
        first, second, third = depths
        self.conv2d_1a = _Convolution(3, Layer(32, 3, 2))
        self.conv2d_2a = _Convolution(32, Layer(32, 3))
        self.conv2d_2b = _Convolution(32, Layer(64, 3, padding=1))
        self.maxpool_3a = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = _Convolution(64, Layer(80, 1))
        self.conv2d_4a = _Convolution(80, Layer(192, 3))
        self.conv2d_4b = _Convolution(192, Layer(256, 3, 2))
        self.repeat_1 = nn.Sequential(*(_Residual(256, _BLOCK_35, 0.17) for _ in range(first)))
        self.mixed_6a = _Mixed(256, _MIXED_6A, pool=True)
        self.repeat_2 = nn.Sequential(*(_Residual(896, _BLOCK_17, 0.10) for _ in range(second)))
        self.mixed_7a = _Mixed(896, _MIXED_7A, pool=True)
        self.repeat_3 = nn.Sequential(*(_Residual(1792, _BLOCK_8, 0.20) for _ in range(third)))
        self.block8 = _Residual(1792, _BLOCK_8, 1.0, activated=False)
        self.last_linear = nn.Linear(1792, dim, bias=False)
        self.last_bn = nn.BatchNorm1d(dim, eps=EPS)

    def forward(self, faces: Tensor) -> Tensor:
        features = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(faces)))
        features = self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(self.maxpool_3a(features))))
        features = self.mixed_6a(self.repeat_1(features))
        features = self.mixed_7a(self.repeat_2(features))
        features = self.block8(self.repeat_3(features))
        vectors: Tensor = self.last_bn(self.last_linear(features.mean((2, 3))))
        return vectors


class _Convolution(nn.Module):
    def __init__(self, channels: int, layer: Layer) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, layer.out, layer.kernel, layer.stride, layer.padding, bias=False)
        self.bn = nn.BatchNorm2d(layer.out, eps=EPS)

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(features)))


class _Mixed(nn.Module):
    """Branches side by side, their channels joined; with ``pool`` the last of them is a maximum over 3 x 3."""

    def __init__(self, channels: int, branches: Sequence[Sequence[Layer]], *, pool: bool = False) -> None:
        super().__init__()
        made: list[nn.Module] = [_branch(channels, layers) for layers in branches]
        if pool:
            made.append(nn.MaxPool2d(3, stride=2))
        self.branches = len(made)
        for number, module in enumerate(made):
            self.add_module(f"branch{number}", module)

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([self.get_submodule(f"branch{number}")(features) for number in range(self.branches)], 1)


class _Residual(_Mixed):
    """What the branches find, brought back to the input's channels and added to it by a share of ``scale``."""

    def __init__(
        self, channels: int, branches: Sequence[Sequence[Layer]], scale: float, *, activated: bool = True
    ) -> None:
        super().__init__(channels, branches)
        self.conv2d = nn.Conv2d(sum(layers[-1].out for layers in branches), channels, 1)
        self.scale = scale
        self.activated = activated

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.conv2d(super().forward(features)) * self.scale + features
        return functional.relu(found) if self.activated else found


def _branch(channels: int, layers: Sequence[Layer]) -> nn.Module:
    """One convolution by itself, several as a sequence: so are the checkpoints' keys."""
    ins = [channels, *(layer.out for layer in layers)]
    made = [_Convolution(before, layer) for before, layer in zip(ins, layers, strict=False)]
    return made[0] if len(made) == 1 else nn.Sequential(*made)


_BLOCK_35 = (
    [Layer(32, 1)],
    [Layer(32, 1), Layer(32, 3, padding=1)],
    [Layer(32, 1), Layer(32, 3, padding=1), Layer(32, 3, padding=1)],
)
_BLOCK_17 = (
    [Layer(128, 1)],
    [Layer(128, 1), Layer(128, (1, 7), padding=(0, 3)), Layer(128, (7, 1), padding=(3, 0))],
)
_BLOCK_8 = (
    [Layer(192, 1)],
    [Layer(192, 1), Layer(192, (1, 3), padding=(0, 1)), Layer(192, (3, 1), padding=(1, 0))],
)
_MIXED_6A = (
    [Layer(384, 3, 2)],
    [Layer(192, 1), Layer(192, 3, padding=1), Layer(256, 3, 2)],
)
_MIXED_7A = (
    [Layer(256, 1), Layer(384, 3, 2)],
    [Layer(256, 1), Layer(256, 3, 2)],
    [Layer(256, 1), Layer(256, 3, padding=1), Layer(256, 3, 2)],
)
