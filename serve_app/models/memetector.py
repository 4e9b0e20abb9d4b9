"""MemeTector (Koutlis, Schinas and Papadopoulos 2022, "MemeTector: Enforcing deep focus for meme detection"): a vision
transformer whose class token is scored against the patches of several earlier layers.

The sizes by default are the reference's but for the dense layers after the attention, which have 256 and 128 units
where it has 2048 and 1024: three quarters of its 3.4 M parameters stand there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INPUT, SCORE, ATTENTION = "pictures", "score", "attention"
"""The names of what the exported network takes and gives."""


@dataclass(frozen=True)
class MemeTectorConfig:
    """Any size of it. ``attended`` are the layers, counted from 0, whose patches are scored after them."""

    side: int = 250
    patch: int = 25
    dim: int = 64
    depth: int = 8
    heads: int = 4
    key_dim: int = 64
    mlp: int = 128
    attended: tuple[int, ...] = (0, 2, 4, 6)
    dense: tuple[int, int] = (256, 128)
    dropout: float = 0.1
    head_dropout: float = 0.5
    eps: float = 1e-6

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.side // self.patch

    def __post_init__(self) -> None:
        """Raises ValueError where the sizes do not fit each other."""
        if self.side % self.patch:
            raise ValueError(f"patches of {self.patch} do not tile a side of {self.side}")
        if not self.attended or max(self.attended) >= self.depth or min(self.attended) < 0:
            raise ValueError(f"the attended layers {self.attended} are not among {self.depth}")


class Layer(nn.Module):
    """Self-attention and a perceptron, each behind its own normalisation and beside a way around it."""

    def __init__(self, config: MemeTectorConfig) -> None:
        super().__init__()
        self.heads, self.key_dim, self.dropout = config.heads, config.key_dim, config.dropout
        width = config.heads * config.key_dim
        self.norm1, self.norm2 = (nn.LayerNorm(config.dim, config.eps) for _ in range(2))
        self.qkv, self.out = nn.Linear(config.dim, 3 * width), nn.Linear(width, config.dim)
        self.mlp = nn.Sequential(
            nn.Linear(config.dim, config.mlp),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.mlp, config.dim),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [N, T, dim] to the same."""
        count, tokens, _ = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(count, tokens, 3, self.heads, self.key_dim).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        x = x + self.out(mixed.transpose(1, 2).reshape(count, tokens, -1))
        mapped: Tensor = self.mlp(self.norm2(x))
        return x + mapped


class MemeTector(nn.Module):
    """Normalised pictures float32 [N, 3, side, side] to logits [N] and attention [N, attended, grid, grid]."""

    def __init__(self, config: MemeTectorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MemeTectorConfig()
        self.patches = nn.Conv2d(3, config.dim, config.patch, config.patch)
        self.token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.positions = nn.Parameter(0.02 * torch.randn(1, config.grid**2 + 1, config.dim))
        self.enter = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, config.eps)
        self.drop = nn.Dropout(config.head_dropout)
        self.score = nn.Linear(2 * config.dim, 1)
        first, second = config.dense
        self.head = nn.Sequential(
            nn.Linear(len(config.attended) * config.dim, first),
            nn.GELU(),
            nn.Dropout(config.head_dropout),
            nn.Linear(first, second),
            nn.GELU(),
            nn.Dropout(config.head_dropout),
            nn.Linear(second, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, attention, _ = self.look(x)
        return logits, attention

    def look(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same, and the patches [N, grid * grid, dim] of the last layer that is attended."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], dim=1)
        tokens = self.enter(tokens + self.positions)
        seen: list[Tensor] = []
        for number, layer in enumerate(self.layers):
            tokens = layer(tokens)
            if number in self.config.attended:
                seen.append(tokens[:, 1:])
        y = self.drop(self.norm(tokens[:, 0]))
        attention, contexts = zip(*(self._context(y, patches) for patches in seen), strict=True)
        logits = self.head(torch.cat(contexts, dim=-1))[:, 0]
        grid = self.config.grid
        return logits, torch.stack(attention, dim=1).reshape(x.shape[0], -1, grid, grid), seen[-1]

    def _context(self, y: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """s_i = v . [y ; z_i] and its softmax over the patches, [N, P]; the mean of the patches under it, [N, dim].

        What y adds is the same for every patch, so the softmax takes it away again: the published formula all the same.
        """
        pairs = torch.cat([y[:, None].expand_as(patches), patches], dim=-1)
        weights = self.score(pairs)[..., 0].softmax(dim=-1)
        return weights, (weights[..., None] * patches).sum(dim=1)
