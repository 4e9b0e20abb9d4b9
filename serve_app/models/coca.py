"""CoCa as it is served: one network turns a picture into what a decoder attends to, one says the next token.

Source: Yu et al., "CoCa: Contrastive Captioners are Image-Text Foundation Models", 2022, in the form of open_clip,
whose modules and checkpoints are used. The decoder is written down step by step here: keys and values of the tokens so
far and of the picture are computed once, where open_clip's own ``generate`` computes them anew for every token.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from serve_app.models.onnx_export import LARGEST_BATCH, trace

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IMAGE, TEXT, TOKENIZER = "coca_image.onnx", "coca_text.onnx", "coca_tokenizer.json"
"""The files that :func:`export_coca` writes."""
OPSET = 18


class Sight(nn.Module):
    """``pixels`` float32 [N,3,S,S] to the keys and values of every cross-attention, [N,layers,2,heads,tokens,width]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.visual, self.blocks = model.visual, model.text_decoder.cross_attn

    def forward(self, pixels: Tensor) -> Tensor:
        _, tokens = self.visual(pixels)
        return torch.stack([_keys_and_values(block.attn, block.ln_1_kv(tokens)) for block in self.blocks], 1)


class Step(nn.Module):
    """One token further.

    Takes ``token`` int64 [N], its ``position`` int64 [1] (0 for the first), ``past`` float32
    [N,layers,2,heads,length,width], of which the places before ``position`` count, and ``sight`` as :class:`Sight`
    gives it. Gives log-probabilities of the next token [N,vocabulary], and the keys and values of this one,
    [N,layers,2,heads,1,width], which belong into ``past`` at ``position``.
    """

    def __init__(self, model: Any, length: int) -> None:
        """Raises ValueError for a model whose two text stacks are not alike, or are built of other attention."""
        super().__init__()
        self.text, self.decoder = model.text, model.text_decoder
        blocks = [*self.text.transformer.resblocks, *self.decoder.resblocks, *self.decoder.cross_attn]
        kinds = {(type(block.attn), block.attn.num_heads, block.attn.embed_dim) for block in blocks}
        if len(kinds) > 1 or next(iter(kinds))[0] is not nn.MultiheadAttention:
            raise ValueError("the captioner's text layers are not of one kind")
        self.register_buffer("places", torch.arange(length + 1), persistent=False)

    def forward(self, token: Tensor, position: Tensor, past: Tensor, sight: Tensor) -> tuple[Tensor, Tensor]:
        places = self.get_buffer("places")
        # This token's own key comes last, after the whole of the past.
        seen = (places < position) | (places == len(places) - 1)
        features = self.text.token_embedding(token)[:, None] + self.text.positional_embedding[position]
        made: list[Tensor] = []
        for block in self.text.transformer.resblocks:
            features, own = _look_back(block, features, past[:, len(made)], seen)
            made.append(own)
        for layer, (block, cross) in enumerate(zip(self.decoder.resblocks, self.decoder.cross_attn, strict=True)):
            features, own = _look_back(block, features, past[:, len(made)], seen)
            made.append(own)
            features = _attend(cross, features, sight[:, layer])
        logits = self.decoder.ln_final(features)[:, 0] @ self.decoder.text_projection
        return logits.log_softmax(-1), torch.stack(made, 1)


def export_coca(model: Any, tokenizer: Tokenizer, out: Path, *, image_size: int, length: int) -> None:
    """Write :class:`Sight`, :class:`Step` for sentences of up to ``length`` tokens, and the tokenizer, into ``out``.

    ``model`` is open_clip's, in float32, ready to infer. Raises ValueError for one that is built otherwise.
    """
    sight, step = Sight(model).eval(), Step(model, length).eval()
    out.mkdir(parents=True, exist_ok=True)
    pixels = torch.linspace(-1, 1, 2 * 3 * image_size**2).reshape(2, 3, image_size, image_size)
    with torch.no_grad():
        seen = sight(pixels)
    _, layers, _, heads, _, width = seen.shape
    layers += len(model.text.transformer.resblocks)
    past = torch.linspace(-1, 1, 2 * layers * 2 * heads * length * width).reshape(2, layers, 2, heads, length, width)
    _export(sight, {"pixels": pixels}, ["sight"], out / IMAGE)
    inputs = {"token": torch.tensor([1, 2]), "position": torch.tensor([3]), "past": past, "sight": seen}
    _export(step, inputs, ["scores", "own"], out / TEXT)
    tokenizer.save(str(out / TOKENIZER))


def _export(module: nn.Module, inputs: dict[str, Tensor], outputs: list[str], path: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    shapes = [None if name == "position" else {0: batch} for name in inputs]
    with warnings.catch_warnings():
        # One axis in several inputs has one name only, and the exporter says so each time.
        warnings.filterwarnings("ignore", "# The axis name", UserWarning)
        program = trace(module, inputs, outputs, opset=OPSET, shapes=shapes)
    program.save(path, external_data=False)


def _split(features: Tensor, heads: int) -> Tensor:
    """[N, L, heads * width] as [N, heads, L, width]."""
    return features.reshape(*features.shape[:2], heads, -1).transpose(1, 2)


def _keys_and_values(attention: nn.MultiheadAttention, features: Tensor) -> Tensor:
    """[N, 2, heads, L, width] of features [N, L, heads * width]."""
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    size = attention.embed_dim
    both = functional.linear(features, weight[size:], bias[size:]).chunk(2, -1)
    return torch.stack([_split(each, attention.num_heads) for each in both], 1)


def _attend(block: Any, features: Tensor, keys_and_values: Tensor, seen: Tensor | None = None) -> Tensor:
    """One residual block, whose keys and values are given; where ``seen`` [L] is False they do not count."""
    attention = block.attn
    size = attention.embed_dim
    query = functional.linear(block.ln_1(features), attention.in_proj_weight[:size], attention.in_proj_bias[:size])
    found = functional.scaled_dot_product_attention(
        _split(query, attention.num_heads), keys_and_values[:, 0], keys_and_values[:, 1], attn_mask=seen
    )
    features = features + block.ls_1(attention.out_proj(found.transpose(1, 2).flatten(2)))
    out: Tensor = features + block.ls_2(block.mlp(block.ln_2(features)))
    return out


def _look_back(block: Any, features: Tensor, past: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """One block of causal self-attention for one more token, and that token's own keys and values."""
    own = _keys_and_values(block.attn, block.ln_1(features))
    return _attend(block, features, torch.cat([past, own], 3), seen[None, None, None]), own
