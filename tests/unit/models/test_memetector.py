"""MemeTector's network against the published formula and size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from serve_app.models.memetector import MemeTector, MemeTectorConfig

SMALL = MemeTectorConfig(
    side=20, patch=5, dim=8, depth=3, heads=2, key_dim=4, mlp=16, attended=(0, 2), dense=(8, 4), dropout=0.0
)


def test_the_reference_s_sizes_have_the_reference_s_parameters() -> None:
    """3.4 M, as published; counted by hand from the layer sizes, without this code."""
    model = MemeTector(MemeTectorConfig(dense=(2048, 1024)))
    patches, places = 25 * 25 * 3 * 64 + 64, 101 * 64 + 64
    attention = 3 * (64 * 256 + 256) + 256 * 64 + 64
    layer = attention + 2 * 2 * 64 + (64 * 128 + 128) + (128 * 64 + 64)
    head = (4 * 64 * 2048 + 2048) + (2048 * 1024 + 1024) + (1024 + 1)
    expected = patches + places + 8 * layer + 2 * 64 + (2 * 64 + 1) + head
    assert sum(weight.numel() for weight in model.parameters()) == expected
    assert 3.3e6 < expected < 3.5e6


def test_it_is_small_as_it_ships() -> None:
    assert 2 * sum(weight.numel() for weight in MemeTector().parameters()) < 2.0e6


def test_the_context_is_the_published_formula() -> None:
    torch.manual_seed(1)
    model = MemeTector(SMALL).eval()
    y, patches = torch.randn(2, 8), torch.randn(2, 16, 8)
    with torch.no_grad():
        weights, context = model._context(y, patches)
    v, bias = model.score.weight.detach().numpy()[0], float(model.score.bias.detach())
    for n in range(2):
        s = np.array([v @ np.concatenate([y[n].numpy(), z]) + bias for z in patches[n].numpy()])
        alpha = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
        mean = sum(a * z for a, z in zip(alpha, patches[n].numpy(), strict=True))
        np.testing.assert_allclose(weights[n].numpy(), alpha, atol=1e-6)
        np.testing.assert_allclose(context[n].numpy(), mean, atol=1e-6)


def test_attention_is_one_map_for_each_attended_layer() -> None:
    torch.manual_seed(0)
    model = MemeTector(SMALL).eval()
    with torch.no_grad():
        logits, attention = model(torch.randn(3, 3, 20, 20))
    assert logits.shape == (3,)
    assert attention.shape == (3, 2, 4, 4)
    np.testing.assert_allclose(attention.sum(dim=(2, 3)).numpy(), 1.0, atol=1e-5)
    assert not torch.allclose(attention[:, 0], attention[:, 1])


def test_a_patch_stands_in_the_map_where_it_stands_in_the_picture() -> None:
    """With the layers made to add nothing, the score of a patch depends on that patch alone."""
    torch.manual_seed(0)
    model = MemeTector(SMALL).eval()
    with torch.no_grad():
        model.positions.zero_()
        for layer in model.layers:
            layer.out.weight.zero_()
            layer.out.bias.zero_()
            layer.mlp[3].weight.zero_()
            layer.mlp[3].bias.zero_()
        picture = torch.zeros(1, 3, 20, 20)
        picture[..., 5:10, 15:20] = 3.0
        attention = model(picture)[1][0, 0]
    odd = (attention - attention.median()).abs()
    assert divmod(int(odd.argmax()), 4) == (1, 3)


@pytest.mark.parametrize("sizes", [{"patch": 24}, {"attended": ()}, {"attended": (0, 8)}, {"attended": (-1,)}])
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"do not tile|are not among"):
        MemeTectorConfig(**sizes)  # type: ignore[arg-type]
