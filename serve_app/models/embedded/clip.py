"""The embedded CLIP: open_clip's towers from a row of configuration, the views of its pictures, and its loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class ClipConfig:
    """Sizes of the towers; ``vision`` and ``text`` go to open_clip as they are. A bigger model is another row."""

    dim: int = 256
    image_size: int = 128
    context_length: int = 40
    vocabulary: int = 2048
    vision: dict[str, Any] = field(default_factory=lambda: {"layers": (1, 1, 2, 1), "width": 16, "head_width": 32})
    text: dict[str, Any] = field(default_factory=lambda: {"width": 192, "heads": 4, "layers": 2})


@dataclass(frozen=True)
class Twins:
    """How pictures are drawn to degraded views of themselves: ``count`` of a batch, the loss's ``weight``, the share of
    ``grey`` views, and whether a view must also be nearer to its picture than to ``strangers``: views of others and
    pictures that have no view. In grey, other pictures are much alike."""

    count: int = 40
    weight: float = 0.5
    grey: float = 0.45
    strangers: bool = False


def build_clip(config: ClipConfig, vocabulary: int) -> open_clip.CLIP:
    """Fresh towers for a tokenizer of ``vocabulary`` tokens."""
    vision = {**config.vision, "image_size": config.image_size}
    text = {**config.text, "context_length": config.context_length, "vocab_size": vocabulary}
    return open_clip.CLIP(config.dim, vision, text)


class ImageTower(nn.Module):
    """float32 [N, 3, S, S] to unit vectors [N, D]."""

    def __init__(self, model: open_clip.CLIP) -> None:
        super().__init__()
        self.visual = model.visual

    def forward(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.visual(pixels), dim=-1)


class TextTower(nn.Module):
    """int64 [N, L] to unit vectors [N, D]."""

    def __init__(self, model: open_clip.CLIP) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return F.normalize(self.model.encode_text(tokens), dim=-1)


def normalise(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 [N, H, W, 3] to the towers' float32 [N, 3, H, W]."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def encode_texts(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """int64 [N, L]."""
    return torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(texts)], dtype=torch.int64)


def random_view(rng: np.random.Generator, x: Tensor, size: int, least: float) -> Tensor:
    """The same random window for a normalised batch [N, 3, H, W], at ``size``, in a random tone; captions stay true."""
    side = x.shape[-1]
    span = int(side * rng.uniform(least, 1.0))
    top, left = int(rng.integers(side - span + 1)), int(rng.integers(side - span + 1))
    view = F.interpolate(
        x[..., top : top + span, left : left + span], (size, size), mode="bilinear", antialias=span > size
    )
    gain = torch.from_numpy(rng.uniform(0.88, 1.12, (len(x), 1, 1, 1))).float()
    lift = torch.from_numpy(rng.uniform(-0.15, 0.15, (len(x), 1, 1, 1))).float()
    return view * gain + lift


def degraded_view(rng: np.random.Generator, x: Tensor, size: int, grey_share: float) -> Tensor:
    """A harsher view of the same pictures: smaller window, lost detail, noise, some turned, some grey."""
    view = random_view(rng, x, size, 0.7)
    if rng.random() < 0.4:
        turn, zoom = float(np.radians(rng.uniform(-14, 14))), float(rng.uniform(0.8, 1.1))
        matrix = torch.tensor([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0]]).float() * zoom
        grid = F.affine_grid(matrix.expand(len(view), 2, 3), list(view.shape), align_corners=False)
        view = F.grid_sample(view + 2, grid, align_corners=False) - 2  # beside the picture it is black
    if rng.random() < 0.5:
        small = int(size * rng.uniform(0.35, 0.9))
        view = F.interpolate(
            F.interpolate(view, (small, small), mode="bilinear", antialias=True), (size, size), mode="bilinear"
        )
    grey = (view * torch.tensor(_LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True)
    view = torch.where(torch.from_numpy(rng.random((len(x), 1, 1, 1)) < grey_share), grey, view)
    noise = torch.from_numpy(rng.standard_normal(view.shape, dtype=np.float32))
    return view + noise * float(rng.uniform(0, 0.12))


def encode_tokens(model: open_clip.CLIP, tokens: Tensor) -> Tensor:
    """What the text tower makes of int64 [N, L]: [N, D], not normalised.

    The padding is cut off, in parts of like length: attention looks back only, so that nothing after the end token
    counts, and most captions fill half of the context.
    """
    lengths = tokens.argmax(dim=1) + 1  # the end token has the highest id
    order = lengths.argsort(stable=True)
    parts = []
    for rows in order.chunk(4):
        length = int(lengths[rows].max())
        x = model.token_embedding(tokens[rows, :length]) + model.positional_embedding[:length]
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
        parts.append(x[torch.arange(len(rows)), lengths[rows] - 1] @ model.text_projection)
    return torch.cat(parts)[order.argsort()]


def contrastive_loss(left: Tensor, right: Tensor, scale: Tensor, wrong: Tensor | None = None) -> Tensor:
    """The symmetric InfoNCE loss of CLIP (Radford et al. 2021) over unit vectors [N, D].

    ``wrong`` [M, D] are further candidates that no ``left`` belongs to (NegCLIP, Yuksekgonul et al. 2023).
    """
    candidates = right if wrong is None else torch.cat([right, wrong])
    target = torch.arange(len(left), device=left.device)
    forth = F.cross_entropy(scale * left @ candidates.T, target)
    return (forth + F.cross_entropy(scale * right @ left.T, target)) / 2


def twin_loss(images: Tensor, views: Tensor, strangers: bool) -> Tensor:
    """The symmetric InfoNCE loss between unit vectors [T, D] of views and those of their pictures, which are the first
    of ``images`` [N, D]; with ``strangers`` over all of them and the other views (NT-Xent, Chen et al. 2020)."""
    count, scale = len(views), torch.tensor(20.0, device=views.device)
    if not strangers:
        return contrastive_loss(images[:count], views, scale)
    target = torch.arange(count, device=views.device)
    others = (scale * views @ views.T).masked_fill(torch.eye(count, dtype=torch.bool, device=views.device), -torch.inf)
    forth = F.cross_entropy(torch.cat([scale * views @ images.T, others], dim=1), target)
    return (forth + F.cross_entropy(scale * images[:count] @ views.T, target)) / 2


def clip_loss(
    model: open_clip.CLIP,
    pixels: NDArray[np.uint8],
    tokens: Tensor,
    wrong: Tensor,
    rng: np.random.Generator,
    size: int,
    twins: Twins,
) -> Tensor:
    """Pictures against captions right and wrong, and the first of them against degraded views of themselves.

    It is computed where the model is.
    """
    device = model.logit_scale.device
    x = normalise(pixels)
    views = [random_view(rng, x, size, 0.9)]
    if twins.count:
        views.append(degraded_view(rng, x[: twins.count], size, twins.grey))
    batch = torch.cat(views).contiguous(memory_format=torch.channels_last).to(device)
    # The fused attention's backward pass takes longer than plain products at these lengths, on a CPU at least.
    with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        images = model.visual(batch)
        texts = encode_tokens(model, torch.cat([tokens, wrong]).to(device))
    images, texts = F.normalize(images.float(), dim=-1), F.normalize(texts.float(), dim=-1)
    scale = model.logit_scale.exp().clamp(max=100)
    loss = contrastive_loss(images[: len(x)], texts[: len(x)], scale, texts[len(x) :])
    if twins.count:
        loss = loss + twins.weight * twin_loss(images[: len(x)], images[len(x) :], twins.strangers)
    return loss
