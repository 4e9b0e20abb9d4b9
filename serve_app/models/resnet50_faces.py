"""ResNet-50 as the VGG group trained it on faces (Cao et al. 2018, "VGGFace2"): a face in, a 2048-d vector out.

Our own definition. The keys are torchvision's; unlike torchvision's network, and like the Caffe one that was published,
the first convolution of a block strides, not the second, and the first pooling takes in windows that hang over the edge
instead of padding.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

EXPANSION = 4
"""Channels that leave a block for each channel inside it."""


class ResNet50Faces(nn.Module):
    """``forward`` takes faces, float32 [N,3,H,W], BGR minus the mean, and gives vectors [N, 32 * ``width``].

    The published network has width 64 and depths 3, 4, 6, 3.
    """

    def __init__(self, width: int = 64, depths: tuple[int, int, int, int] = (3, 4, 6, 3)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.layer1 = _stage(width, width, depths[0], 1)
        self.layer2 = _stage(4 * width, 2 * width, depths[1], 2)
        self.layer3 = _stage(8 * width, 4 * width, depths[2], 2)
        self.layer4 = _stage(16 * width, 8 * width, depths[3], 2)

    def forward(self, faces: Tensor) -> Tensor:
        features = self.maxpool(functional.relu(self.bn1(self.conv1(faces))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        vectors: Tensor = features.mean((2, 3))
        return vectors


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        out = EXPANSION * inner
        self.conv1 = nn.Conv2d(channels, inner, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, features: Tensor) -> Tensor:
        found = functional.relu(self.bn1(self.conv1(features)))
        found = functional.relu(self.bn2(self.conv2(found)))
        return functional.relu(self.bn3(self.conv3(found)) + self.downsample(features))


def _stage(channels: int, inner: int, depth: int, stride: int) -> nn.Sequential:
    first = _Bottleneck(channels, inner, stride)
    return nn.Sequential(first, *(_Bottleneck(EXPANSION * inner, inner, 1) for _ in range(depth - 1)))
