"""The embedded CLIP's arithmetic against open_clip's own and values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from serve_app.models.embedded.clip import (
    MEAN,
    STD,
    ClipConfig,
    build_clip,
    contrastive_loss,
    degraded_view,
    encode_tokens,
    normalise,
    random_view,
    twin_loss,
)

SMALL = ClipConfig(
    dim=32,
    image_size=64,
    context_length=24,
    vision={"layers": (1, 1, 1, 1), "width": 8, "head_width": 32},
    text={"width": 32, "heads": 2, "layers": 2},
)


def test_cutting_the_padding_off_changes_nothing() -> None:
    torch.manual_seed(3)
    model = build_clip(SMALL, 100).eval()
    torch.nn.init.normal_(model.positional_embedding)
    tokens = torch.randint(2, 98, (32, 24))
    tokens[:, 0] = 1
    for row, length in zip(tokens, [2, 24, 5, 23] * 8, strict=True):
        row[length - 1], row[length:] = 99, 0
    with torch.no_grad():
        assert torch.allclose(encode_tokens(model, tokens), model.encode_text(tokens), atol=1e-5)


def test_contrastive_loss_by_hand() -> None:
    one, other, third = torch.eye(3)
    pictures, texts, scale = torch.stack([one, other]), torch.stack([one, other]), torch.tensor(2.0)
    forth = math.log(math.exp(2) + 1) - 2
    assert float(contrastive_loss(pictures, texts, scale)) == pytest.approx(forth)
    alike = math.log(2 * math.exp(2) + 2) - 2  # a wrong text as near as the right one, and one that is far
    found = float(contrastive_loss(pictures[:1], texts[:1], scale, torch.stack([one, other, third])))
    assert found == pytest.approx((alike + 0.0) / 2)


def test_twins_must_also_be_nearer_than_strangers() -> None:
    one, other, third = torch.eye(3)
    images, views = torch.stack([one, other, third]), torch.stack([one, other])
    back = math.log(math.exp(20) + 1) - 20
    assert float(twin_loss(images, views, False)) == pytest.approx(back, abs=1e-6)
    forth = math.log(math.exp(20) + 3) - 20  # another picture, a picture without a view, another view
    assert float(twin_loss(images, views, True)) == pytest.approx((forth + back) / 2, abs=1e-6)
    alike = float(twin_loss(images, torch.stack([one, one]), True))  # either view is as near to the other as can be
    assert alike == pytest.approx(((20 + 2 * math.log(2)) / 2 + math.log(2)) / 2, abs=1e-6)


def test_views_keep_the_picture() -> None:
    pixels = np.zeros((20, 80, 80, 3), np.uint8)
    pixels[:, :40], pixels[:, 40:] = (200, 60, 60), (60, 60, 200)
    x = normalise(pixels)
    assert float(x.max()) == pytest.approx((200 / 255 - MEAN[0]) / STD[0], abs=1e-6)
    grey = 0
    for seed in range(6):
        near = random_view(np.random.default_rng(seed), x, 64, 0.9)
        assert near.shape == (20, 3, 64, 64)
        assert (near[:, 0, :20].mean((1, 2)) > near[:, 2, :20].mean((1, 2))).all(), "red above"
        far = degraded_view(np.random.default_rng(seed), x, 64, 0.45)
        assert far.shape == (20, 3, 64, 64)
        spread = (far[:, 0] - far[:, 2])[:, 8:20, 24:40].mean((1, 2))
        grey += int((spread.abs() < 0.05).sum())
        assert ((spread.abs() < 0.05) | (spread > 0.5)).all(), "grey, or still red above"
    assert 30 <= grey <= 80, "a little less than half of them"
