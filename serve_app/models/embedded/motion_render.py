"""Shots to clips: a virtual camera over a larger picture, sprites in front, light, and what cameras and codecs do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from serve_app.models.embedded.motion import CAMERA_LABELS, LABELS, Layer, Shot
from serve_app.models.embedded.motion_paths import FRAMES, Floats
from serve_app.models.embedded.motion_world import SIDE, World

CROP = 64
_LEAST_SPAN, _MOST_SPAN = 60.0, 112.0  # pixels of the picture behind that one side of the view shows
_CONTRAST = 55.0  # how far, of 255, the mean colours of a sprite and of what lies behind it are kept apart
_MOVED = len(CAMERA_LABELS)
_TOGETHER = 8  # clips rendered at once: more do not fit the caches of a processor


@dataclass(frozen=True)
class Placed:
    """Where the shots of a batch take place: the picture behind each, its scale (pixels a side of the view) and the
    pixel at its middle; which way it lies, +1 or -1 for both axes."""

    picture: NDArray[np.int64]
    span: Floats
    middle: Floats
    mirror: Floats


def _place(rng: np.random.Generator, shots: list[Shot], world: World) -> Placed:
    """A picture for each shot, as large as fits what the camera sees; and a sprite for each thing in front."""
    picture, span, middle = [], [], []
    for shot in shots:
        camera = shot.target[:_MOVED].any()
        picture.append(int(rng.choice(world.busy)) if camera else int(rng.integers(len(world.pictures))))
        for layer in shot.layers:
            turns = np.ptp(layer.turn) > 0.5
            layer.sprite = int(rng.choice(world.turnable)) if turns else int(rng.integers(len(world.sprites)))
        reach = 0.5 * np.exp(-shot.zoom) * (np.abs(np.cos(shot.turn)) + np.abs(np.sin(shot.turn)))
        low = np.array([(shot.x - reach).min(), (shot.y - reach).min()])
        high = np.array([(shot.x + reach).max(), (shot.y + reach).max()])
        scale = min(rng.uniform(_LEAST_SPAN, _MOST_SPAN), (SIDE - 2) / (high - low).max())
        span.append(scale)
        middle.append(rng.uniform(1 - low * scale, np.maximum(SIDE - 1 - high * scale, 1 - low * scale + 1e-6)))
    return Placed(np.array(picture), np.array(span), np.array(middle), rng.choice([-1.0, 1.0], (len(shots), 2)))


def _tensor(rows: list[Floats]) -> Tensor:
    return torch.from_numpy(np.stack(rows)).float()


def _maps(x: Floats, y: Floats, scale: Floats, turn: Floats) -> Floats:
    """Points p to scale * R(turn) p + (x, y): as matrices [..., 2, 3]."""
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    return np.stack([np.stack([cos, -sin, x], -1), np.stack([sin, cos, y], -1)], -2)


def _view(shots: list[Shot]) -> Tensor:
    """Where the pixels of each frame look in the view, homogeneous, [N, T, CROP * CROP, 3] in -.5..+.5, bent by the
    swells; one view for all where none is bent."""
    line = (torch.arange(CROP) + 0.5) / CROP - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1).view(1, 1, -1, 3).expand(len(shots), FRAMES, -1, -1)
    bent = [number for number, shot in enumerate(shots) if shot.swell.any()]
    if bent:
        points = points.clone()
        spot = torch.tensor([shots[number].spot for number in bent])[:, None, None]
        near = torch.exp(-((points[bent, :1, :, :2] - spot[..., :2]) ** 2).sum(-1) / (2 * spot[..., 2] ** 2))
        swell = _tensor([shots[number].swell for number in bent])[:, :, None]
        for row, shift in zip(bent, swell * near[..., None], strict=True):
            points[row, ..., :2] += shift
    return points


def _seen(view: Tensor, maps: Floats) -> Tensor:
    """The points of the view through the maps [N, T, 2, 3], as [N, T, P, 2]."""
    return view @ torch.from_numpy(maps).float().transpose(2, 3)


def _sampled(pictures: Tensor, points: Tensor, padding: str) -> Tensor:
    """Pictures [N, C, S, S] at points [N, T, P, 2] in -1..1, as [N, C, T, P]."""
    return F.grid_sample(pictures, points, "bilinear", padding, align_corners=False)


def _behind(shots: list[Shot], placed: Placed, world: World, view: Tensor) -> tuple[Tensor, Tensor]:
    """The background of each pixel, [N, 3, T, P] in 0..255, and the mean colour of each [N, 3, 1, 1]."""
    maps = np.stack([_maps(shot.x, shot.y, np.exp(-shot.zoom), shot.turn) for shot in shots])
    maps *= placed.span[:, None, None, None]
    maps[..., 2] += placed.middle[:, None]
    maps /= SIDE / 2
    maps[..., 2] -= 1
    points = _seen(view, maps * placed.mirror[:, None, :, None])
    pictures = torch.from_numpy(world.pictures[placed.picture]).permute(0, 3, 1, 2).float()
    return _sampled(pictures, points, "reflection"), pictures.mean(dim=(2, 3))[..., None, None]


def _onto(shot: Shot, layer: Layer) -> Floats:
    """Points of the view to points of the layer's sprite in -1..1, as maps [T, 2, 3]."""
    x, y, size, turn = layer.x, layer.y, layer.size, layer.turn * np.ones(FRAMES)
    if not layer.held:
        cos, sin, zoom = np.cos(shot.turn), np.sin(shot.turn), np.exp(shot.zoom)
        x, y = x - layer.parallax * shot.x, y - layer.parallax * shot.y
        x, y = zoom * (cos * x + sin * y), zoom * (cos * y - sin * x)
        size, turn = size * zoom, turn - shot.turn
    cos, sin, scale = np.cos(turn), np.sin(turn), 2 / size
    return _maps(-scale * (cos * x + sin * y), -scale * (cos * y - sin * x), scale, -turn)


def _in_front(frames: Tensor, mean: Tensor, shots: list[Shot], world: World, view: Tensor) -> None:
    """Paint the things in front over ``frames`` [N, 3, T, P], first things first."""
    for depth in range(max(len(shot.layers) for shot in shots)):
        rows = [number for number, shot in enumerate(shots) if len(shot.layers) > depth]
        maps = np.stack([_onto(shots[number], shots[number].layers[depth]) for number in rows])
        sprites = [shots[number].layers[depth].sprite for number in rows]
        points = _seen(view[rows], maps)
        thing = _sampled(torch.from_numpy(world.sprites[sprites]).permute(0, 3, 1, 2).float(), points, "zeros")
        alpha = thing[:, 3:] / 255
        colour = thing[:, :3].sum(dim=(2, 3), keepdim=True) / alpha.sum(dim=(2, 3), keepdim=True).clamp(min=1)
        apart = (colour - mean[rows]).mean(dim=1, keepdim=True)
        push = torch.where(apart >= 0, _CONTRAST - apart, -_CONTRAST - apart) * (apart.abs() < _CONTRAST)
        frames[rows] = frames[rows] * (1 - alpha) + (thing[:, :3] + push * alpha).clamp(0, 255)


def _held(rng: np.random.Generator, shot: Shot) -> NDArray[np.int64]:
    """Which frame each place of the clip shows, [T]: a window of few frames repeats some."""
    if rng.random() > 0.2:
        return np.arange(FRAMES)
    sudden = sum(shot.target[LABELS.index(label)] for label in ("shake", "flicker", "object bouncing"))
    kept = np.linspace(0, FRAMES - 1, int(rng.integers(12 if sudden else 6, FRAMES))).round().astype(np.int64)
    return np.asarray(kept[np.linspace(0, len(kept) - 1, FRAMES).round().astype(np.int64)])


def _soften(rng: np.random.Generator, frames: Tensor) -> None:
    """Blur a third of the clips [N, 3, T, H, W], and lay the blocks of a coarse codec over some."""
    count = len(frames)
    soft = np.flatnonzero(rng.random(count) < 0.35)
    if len(soft):
        x = frames[soft].flatten(1, 2)
        share = torch.from_numpy(rng.uniform(0.2, 1, (len(soft), 1, 1, 1))).float()
        x = torch.lerp(x, F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), share)
        frames[soft] = x.view(len(soft), *frames.shape[1:])
    coarse = np.flatnonzero(rng.random(count) < 0.12)
    if len(coarse):
        x = frames[coarse].flatten(1, 2)
        blocks = F.interpolate(F.avg_pool2d(x, 4), scale_factor=4.0, mode="nearest")
        frames[coarse] = torch.lerp(x, blocks, float(rng.uniform(0.2, 0.7))).view(len(coarse), *frames.shape[1:])


def _spoil(rng: np.random.Generator, frames: Tensor) -> None:
    """Another balance of colours and brightness, grey clips, noise, few levels and bars, on clips [N, 3, T, H, W]."""
    count = len(frames)
    gain = rng.uniform(0.55, 1.2, (count, 1, 1, 1, 1)) * rng.uniform(0.8, 1.2, (count, 3, 1, 1, 1))
    frames *= torch.from_numpy(gain).float()
    frames += torch.from_numpy(rng.uniform(-15, 30, (count, 1, 1, 1, 1))).float()
    grey = np.flatnonzero(rng.random(count) < 0.12)
    frames[grey] = frames[grey].mean(dim=1, keepdim=True).expand(-1, 3, -1, -1, -1)
    noisy = np.flatnonzero(rng.random(count) < 0.3)
    if len(noisy):
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        shape = (len(noisy), 1, *frames.shape[2:])
        strength = torch.from_numpy(rng.uniform(2, 22, (len(noisy), 1, 1, 1, 1))).float()
        frames[noisy] += torch.randn(shape, generator=generator) * strength
    few = np.flatnonzero(rng.random(count) < 0.08)
    step = float(rng.uniform(8, 28))
    frames[few] = (frames[few] / step).round() * step
    for number in np.flatnonzero(rng.random(count) < 0.12):
        bar = int(rng.integers(3, 14))
        clip = frames[number] if rng.random() < 0.6 else frames[number].transpose(2, 3)
        clip[:, :, :bar] = clip[:, :, CROP - bar :] = float(rng.choice([0.0, 16.0, 255.0], p=[0.8, 0.15, 0.05]))


def render(rng: np.random.Generator, shots: list[Shot], world: World, spoilt: bool = True) -> NDArray[np.uint8]:
    """Clips uint8 [N, T, CROP, CROP, 3] of the shots in that world, as cameras and codecs leave them or pure."""
    parts = range(0, len(shots), _TOGETHER)
    return np.concatenate([_rendered(rng, shots[first : first + _TOGETHER], world, spoilt) for first in parts])


def _rendered(rng: np.random.Generator, shots: list[Shot], world: World, spoilt: bool) -> NDArray[np.uint8]:
    placed, view = _place(rng, shots, world), _view(shots)
    frames, mean = _behind(shots, placed, world, view)
    if any(shot.layers for shot in shots):
        _in_front(frames, mean, shots, world, view)
    frames = frames.view(len(shots), 3, FRAMES, CROP, CROP)
    if spoilt:
        _soften(rng, frames)
    frames *= _tensor([shot.light for shot in shots]).permute(0, 2, 1)[..., None, None]
    if spoilt:
        _spoil(rng, frames)
        held = torch.from_numpy(np.stack([_held(rng, shot) for shot in shots]))
        frames = frames.gather(2, held[:, None, :, None, None].expand_as(frames))
    return np.asarray(frames.clamp_(0, 255).round_().to(torch.uint8).permute(0, 2, 3, 4, 1).contiguous().numpy())


def targets(shots: list[Shot]) -> NDArray[np.float32]:
    """How true each label is of each shot, [N, 18]."""
    return np.stack([shot.target for shot in shots]).astype(np.float32)
