"""The three networks of MTCNN (Zhang et al. 2016, "Joint Face Detection and Alignment using Multitask Cascaded
Convolutional Networks") in torch, and their export to ONNX.

The keys of the weights are those of facenet-pytorch 2.6.0 (MIT), whose published weights are what ships in ONNX.
``python -m serve_app.models.mtcnn WEIGHTS OUT`` makes the files anew from a folder with its ``pnet.pt``, ``rnet.pt``
and ``onet.pt``.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from serve_app.models.onnx_export import trace

INPUT = "pictures"
OUTPUTS = ("probability", "regression", "landmarks")
"""How sure a network is of a face; shifts of x1, y1, x2, y2 in sides of the box; five x, then five y in sides of it."""
OPSET = 18
BLOCK = 16
"""ONNX Runtime pools channels by this many; a number that is no multiple of it costs more than filling it up."""
MOST = 65536
"""The largest batch, and the longest side in pixels that the first network takes."""


class PNet(nn.Module):
    """Proposes: looks at every 12 x 12 window of a picture, in steps of 2 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 10, 3)
        self.prelu1 = nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(10, 16, 3)
        self.prelu2 = nn.PReLU(16)
        self.conv3 = nn.Conv2d(16, 32, 3)
        self.prelu3 = nn.PReLU(32)
        self.conv4_1 = nn.Conv2d(32, 2, 1)
        self.conv4_2 = nn.Conv2d(32, 4, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 3, H, W] to probabilities [N, h, w] and regressions [N, 4, h, w] of the windows, h = ceil(H / 2) - 5."""
        maps = self.pool1(self.prelu1(self.conv1(pictures)))
        maps = self.prelu3(self.conv3(self.prelu2(self.conv2(maps))))
        return _of_face(self.conv4_1(maps)), self.conv4_2(maps)


class RNet(nn.Module):
    """Refines: looks at each proposal in 24 x 24 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 28, 3)
        self.prelu1 = nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(28, 48, 3)
        self.prelu2 = nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3 = nn.Conv2d(48, 64, 2)
        self.prelu3 = nn.PReLU(64)
        self.dense4 = nn.Linear(576, 128)
        self.prelu4 = nn.PReLU(128)
        self.dense5_1 = nn.Linear(128, 2)
        self.dense5_2 = nn.Linear(128, 4)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 3, 24, 24] to probabilities [N] and regressions [N, 4]."""
        maps = self.pool1(self.prelu1(self.conv1(crops)))
        maps = self.pool2(self.prelu2(self.conv2(maps)))
        row = self.prelu4(self.dense4(_flat(self.prelu3(self.conv3(maps)))))
        return _of_face(self.dense5_1(row)), self.dense5_2(row)


class ONet(nn.Module):
    """Decides: looks at what is left in 48 x 48 pixels, and finds the eyes, the nose and the corners of the mouth."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3)
        self.prelu1 = nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.prelu2 = nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.prelu3 = nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4 = nn.Conv2d(64, 128, 2)
        self.prelu4 = nn.PReLU(128)
        self.dense5 = nn.Linear(1152, 256)
        self.prelu5 = nn.PReLU(256)
        self.dense6_1 = nn.Linear(256, 2)
        self.dense6_2 = nn.Linear(256, 4)
        self.dense6_3 = nn.Linear(256, 10)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, 3, 48, 48] to probabilities [N], regressions [N, 4] and landmarks [N, 10]."""
        maps = self.pool1(self.prelu1(self.conv1(crops)))
        maps = self.pool2(self.prelu2(self.conv2(maps)))
        maps = self.pool3(self.prelu3(self.conv3(maps)))
        row = self.prelu5(self.dense5(_flat(self.prelu4(self.conv4(maps)))))
        return _of_face(self.dense6_1(row)), self.dense6_2(row), self.dense6_3(row)


Network = PNet | RNet | ONet
SIDES = {"pnet": None, "rnet": 24, "onet": 48}
"""What the networks' files are called, and the side of their pictures; the first takes any."""


def load(folder: Path) -> dict[str, Network]:
    """The networks with the weights of ``pnet.pt``, ``rnet.pt`` and ``onet.pt``; no code of the files is run."""
    networks: dict[str, Network] = {"pnet": PNet(), "rnet": RNet(), "onet": ONet()}
    for name, network in networks.items():
        network.load_state_dict(torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True))
    return {name: network.eval() for name, network in networks.items()}


def export(networks: dict[str, Network], out: Path) -> None:
    """Write each network as ``NAME.onnx``: ``pictures`` float32 [N, 3, H, W] of pixels in 0..255."""
    out.mkdir(parents=True, exist_ok=True)
    for name, network in networks.items():
        side = SIDES[name]
        free = {0: torch.export.Dim("batch", min=1, max=MOST)}
        if side is None:
            free |= {2: torch.export.Dim("height", min=12, max=MOST), 3: torch.export.Dim("width", min=12, max=MOST)}
        example, outputs = torch.zeros(2, 3, side or 61, side or 78), OUTPUTS[: 3 if name == "onet" else 2]
        program = trace(_pooled_first(network), {INPUT: example}, outputs, opset=OPSET, shapes=[free])
        (out / f"{name}.onnx").write_bytes(_stripped(program.model_proto).SerializeToString())


class _First(nn.Module):
    """The first convolution, activation and pooling of a network, pooled before it is activated: less work.

    PReLU of slope a >= 0 rises, so that the largest value gives the largest. With a < 0 it is max(x, a x), whose
    largest is that of both: a second convolution, in the same call, gives a x. These outputs come last (``order``).
    """

    def __init__(self, conv: nn.Conv2d, prelu: nn.PReLU, pool: nn.MaxPool2d) -> None:
        super().__init__()
        slopes = prelu.weight.detach()
        rising, falling = (slopes >= 0).nonzero()[:, 0], (slopes < 0).nonzero()[:, 0]
        self.order = torch.cat([rising, falling])
        used = len(rising), len(falling), len(falling)
        self.counts = *used, -sum(used) % BLOCK
        # (x - 127.5) / 128, which the weights were trained on, is part of the convolution.
        weight = conv.weight.detach() / 128
        assert conv.bias is not None
        bias = conv.bias.detach() - 127.5 * weight.sum((1, 2, 3))
        scaled = weight[falling] * slopes[falling, None, None, None], bias[falling] * slopes[falling]
        self.conv = nn.Conv2d(3, sum(self.counts), 3)
        kernels, shifts = torch.zeros_like(self.conv.weight), torch.zeros(sum(self.counts))
        kernels[: sum(used)] = torch.cat([weight[self.order], scaled[0]])
        shifts[: sum(used)] = torch.cat([bias[self.order], scaled[1]])
        self.conv.weight, self.conv.bias = nn.Parameter(kernels), nn.Parameter(shifts)
        self.pool = pool
        self.prelu = nn.PReLU(len(rising))
        self.prelu.weight = nn.Parameter(slopes[rising])

    def forward(self, pictures: Tensor) -> Tensor:
        risen, straight, scaled, _ = self.pool(self.conv(pictures)).split(self.counts, 1)
        return torch.cat([self.prelu(risen), torch.maximum(straight, scaled)], 1)


def _pooled_first(network: Network) -> nn.Module:
    """The network that takes pixels in 0..255 and starts with a :class:`_First`."""
    network = copy.deepcopy(network)
    first = _First(network.conv1, network.prelu1, network.pool1)
    for name, part in (("conv1", first), ("prelu1", nn.Identity()), ("pool1", nn.Identity())):
        setattr(network, name, part)
    network.conv2.weight = nn.Parameter(network.conv2.weight[:, first.order])
    return network.eval()


def _stripped(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network without where in the source its nodes came from: that names folders of this machine."""
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        del part.metadata_props[:]
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    return model


def _of_face(scores: Tensor) -> Tensor:
    """The second of two classes' softmax over axis 1."""
    return (scores[:, 1] - scores[:, 0]).sigmoid()


def _flat(maps: Tensor) -> Tensor:
    """The published weights come from a framework that stores columns first."""
    return maps.permute(0, 3, 2, 1).flatten(1)


if __name__ == "__main__":
    export(load(Path(sys.argv[1])), Path(sys.argv[2]))
