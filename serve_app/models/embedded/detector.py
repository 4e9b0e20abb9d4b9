"""The embedded detector: a small anchor-free convolutional network, its loss, its data and its figures.

One point per cell of two grids (strides 8 and 16) says which solid is centred near it and how far the box reaches to
each side (FCOS, Tian et al. 2019); the class score learns the overlap of its box (varifocal loss, Zhang et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import batched_nms, box_convert

STRIDES = (8, 16)
PAD = 114  # the grey beside a letterboxed picture
RANGES = ((0.0, 72.0), (56.0, 1e9))  # longest side of the boxes that each grid answers for, in pixels


@dataclass(frozen=True)
class DetectorConfig:
    """``widths`` of the stages at strides 2, 4, 8, 16; ``depths`` residual blocks in the last three."""

    image_size: int = 256
    classes: int = 7
    widths: tuple[int, int, int, int] = (8, 24, 64, 128)
    depths: tuple[int, int, int] = (0, 2, 3)
    neck: int = 64


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width // 2, 1), _conv(width // 2, width))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.body(x)
        return result


class Detector(nn.Module):
    """RGB float32 [N, 3, S, S] in 0..1 to [N, 4 + C, A]: cx, cy, w, h in pixels, then class scores in 0..1.

    A = (S/8)^2 + (S/16)^2. :meth:`raw` gives logits and side distances instead, for the loss. A score is
    sigmoid(slope * logit + intercept); the export fits these two, which start as 1 and 0.
    """

    points: Tensor
    reach: Tensor
    slope: Tensor
    intercept: Tensor

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        w2, w4, w8, w16 = config.widths
        self.stem = nn.Sequential(
            _conv(3, w2, 3, 2), _conv(w2, w4, 3, 2), *[_Residual(w4) for _ in range(config.depths[0])]
        )
        self.stage8 = nn.Sequential(_conv(w4, w8, 3, 2), *[_Residual(w8) for _ in range(config.depths[1])])
        self.stage16 = nn.Sequential(_conv(w8, w16, 3, 2), *[_Residual(w16) for _ in range(config.depths[2])])
        self.context = nn.Sequential(_conv(w16, w16, 3, 2), _Residual(w16))
        self.join16 = _conv(2 * w16, config.neck, 1)
        self.join8 = _conv(w8 + config.neck, config.neck, 1)
        self.heads = nn.ModuleList(
            nn.Sequential(_conv(config.neck, config.neck), _conv(config.neck, config.neck)) for _ in STRIDES
        )
        self.scores = nn.ModuleList(nn.Conv2d(config.neck, config.classes, 1) for _ in STRIDES)
        self.sides = nn.ModuleList(nn.Conv2d(config.neck, 4, 1) for _ in STRIDES)
        for layer in self.scores:
            nn.init.constant_(layer.bias, -4.6)  # type: ignore[arg-type]  # few cells have anything in them
        for layer in self.sides:
            nn.init.constant_(layer.bias, 1.5)  # type: ignore[arg-type]  # boxes of a likely size overlap from the start
        points, reach = cell_points(config.image_size)
        self.register_buffer("points", points, persistent=False)
        self.register_buffer("reach", reach, persistent=False)
        self.register_buffer("slope", torch.tensor(1.0), persistent=False)
        self.register_buffer("intercept", torch.tensor(0.0), persistent=False)

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [N, A, C] and distances left, up, right, down in pixels [N, A, 4]."""
        x8 = self.stage8(self.stem(x * 4 - 2))
        x16 = self.stage16(x8)
        wide = F.interpolate(self.context(x16), scale_factor=2.0, mode="nearest")
        y16 = self.join16(torch.cat([x16, wide], dim=1))
        y8 = self.join8(torch.cat([x8, F.interpolate(y16, scale_factor=2.0, mode="nearest")], dim=1))
        features = [head(y) for head, y in zip(self.heads, (y8, y16), strict=True)]
        logits = torch.cat([layer(y).flatten(2) for layer, y in zip(self.scores, features, strict=True)], dim=2)
        sides = torch.cat([layer(y).flatten(2) for layer, y in zip(self.sides, features, strict=True)], dim=2)
        return logits.transpose(1, 2), F.softplus(sides.transpose(1, 2).float()) * self.reach[:, None]

    def forward(self, x: Tensor) -> Tensor:
        logits, sides = self.raw(x)
        first, second = self.points - sides[..., :2], self.points + sides[..., 2:]
        scores = (self.slope * logits.float() + self.intercept).sigmoid()
        return torch.cat([(first + second) / 2, second - first, scores], dim=2).transpose(1, 2)


def cell_points(size: int) -> tuple[Tensor, Tensor]:
    """Centres [A, 2] in pixels of the cells of both grids, and the unit [A] of their side distances."""
    points, reach = [], []
    for stride in STRIDES:
        at = (torch.arange(size // stride) + 0.5) * stride
        y, x = torch.meshgrid(at, at, indexing="ij")
        points.append(torch.stack([x, y], dim=-1).view(-1, 2))
        reach.append(torch.full((len(points[-1]),), 2.0 * stride))
    return torch.cat(points), torch.cat(reach)


def assign(boxes: Tensor, size: int) -> Tensor:
    """Which of a picture's boxes [M, 5] (rows of -1: none) each cell answers for, int64 [N, A]; -1 for none.

    ``boxes`` is [N, M, 5]. A cell near a box's centre answers when the box's longest side is in its grid's range; the
    smallest box wins.
    """
    points, reach = (values.to(boxes.device) for values in cell_points(size))
    stride = reach / 2
    x1, y1, x2, y2 = (boxes[..., k, None] for k in range(4))
    centre = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2], dim=-1)
    near = ((points - centre).abs().amax(-1) < 1.5 * stride) & (boxes[..., 4, None] >= 0)
    px, py = points[:, 0], points[:, 1]
    near &= (px > x1) & (px < x2) & (py > y1) & (py < y2)
    longest = torch.maximum(x2 - x1, y2 - y1)
    low = torch.where(stride == STRIDES[0], RANGES[0][0], RANGES[1][0])
    high = torch.where(stride == STRIDES[0], RANGES[0][1], RANGES[1][1])
    near &= (longest >= low) & (longest < high)
    area = torch.where(near, (x2 - x1) * (y2 - y1), torch.inf)
    best, which = area.min(dim=1)
    return torch.where(torch.isfinite(best), which, -1)


def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and GIoU (Rezatofighi et al. 2019) of boxes [P, 4], row by row."""
    inner = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inner
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    iou = inner / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull.clamp(min=1e-6)


def detector_loss(model: Detector, x: Tensor, boxes: Tensor) -> Tensor:
    """Varifocal loss of the scores plus GIoU loss of the boxes, per positive cell, computed where the model is."""
    x, boxes = x.to(model.points.device), boxes.to(model.points.device)
    with torch.autocast(x.device.type, torch.bfloat16):
        logits, sides = model.raw(x)
    logits = logits.float()
    owner = assign(boxes, x.shape[-1])
    picture, cell = torch.nonzero(owner >= 0, as_tuple=True)
    truth = boxes[picture, owner[picture, cell]]
    points, reach = model.points[cell], sides[picture, cell]
    iou, giou = overlap(torch.cat([points - reach[:, :2], points + reach[:, 2:]], dim=1), truth[:, :4])
    target = torch.zeros_like(logits)
    target[picture, cell, truth[:, 4].long()] = iou.detach().clamp(min=0.05)
    focus = torch.where(target > 0, target, 0.75 * logits.sigmoid().detach() ** 2)
    score = (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * focus).sum()
    positives = max(1, len(cell))
    return score / positives + 2.0 * (1 - giou).sum() / positives


def augmented(rng: np.random.Generator, pixels: NDArray[np.uint8], boxes: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """A training batch, mirrored, shrunk and recoloured: RGB float32 [N, 3, S, S] in 0..1 and boxes [N, M, 5]."""
    boxes = boxes.copy()
    there = boxes[..., 4] >= 0
    side = pixels.shape[2]
    if rng.random() < 0.5:
        pixels = pixels[:, :, ::-1]
        boxes[..., [0, 2]] = side - boxes[..., [2, 0]]
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
    if rng.random() < 0.5:
        x = x[:, torch.from_numpy(rng.permutation(3))]  # a shape is what it is in any colour
    gain = torch.from_numpy(rng.uniform(0.75, 1.25, (len(x), 3, 1, 1))).float()
    x = x * gain
    if rng.random() < 0.3:
        noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
        x = x + noise * float(rng.uniform(0, 0.05))
    x = x.clamp(0, 1)
    if rng.random() < 0.4:  # the bars of a letterboxed picture, and smaller solids
        small = int(side * rng.uniform(0.6, 1.0))
        left, top = rng.integers(side - small + 1, size=2).tolist()
        bars = (left, side - small - left, top, side - small - top)
        shrunk = F.interpolate(x, (small, small), mode="bilinear", antialias=True)
        x = F.pad(shrunk, bars, value=PAD / 255)
        boxes[..., :4] = boxes[..., :4] * (small / side) + np.array([left, top, left, top], np.float32)
    boxes[~there] = -1
    return x.contiguous(memory_format=torch.channels_last), torch.from_numpy(boxes)


@torch.no_grad()
def detect(model: Detector, pictures: NDArray[np.uint8], threshold: float, nms_iou: float) -> list[NDArray[np.float32]]:
    """Rows x1, y1, x2, y2, score, class for each of the pictures [N, S, S, 3], best first."""
    model.eval()
    found = []
    for first in range(0, len(pictures), 32):
        x = torch.from_numpy(pictures[first : first + 32]).permute(0, 3, 1, 2).float() / 255
        for output in model(x):
            scores, classes = output[4:].max(dim=0)
            likely = scores >= threshold
            boxes, scores, classes = (
                box_convert(output[:4, likely].T, "cxcywh", "xyxy"),
                scores[likely],
                classes[likely],
            )
            kept = batched_nms(boxes, scores, classes, nms_iou)
            found.append(torch.cat([boxes, scores[:, None], classes[:, None]], dim=1)[kept].numpy())
    return found
