"""A CoCa small enough to be built here, its weights drawn by name, and what open_clip's own ``generate`` says with it.

``golden/coca_tokens.json`` was written by ``python coca_golden.py OUT``, in an environment that has transformers 4.52
beside open_clip 3.3; ``generate`` needs it, this project does not.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

WORDS, START, END = 40, 40, 41
SIDE, LENGTH, LEAST = 32, 14, 5
PICTURES = 8
TOWER = {"layers": 2, "width": 32, "heads": 2}
CONFIG: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": SIDE, "patch_size": 16, "layers": 2, "width": 48, "head_width": 16, "attentional_pool": True,
        "attn_pooler_heads": 2, "attn_pooler_queries": 6, "output_tokens": True,
    },
    "text_cfg": {
        **TOWER, "context_length": 20, "vocab_size": WORDS + 2, "embed_cls": True, "output_tokens": True,
    },
    "multimodal_cfg": {**TOWER, "context_length": 20, "vocab_size": WORDS + 2, "attn_pooler_heads": 2},
}  # fmt: skip
GOLDEN = Path(__file__).parent / "golden" / "coca_tokens.json"


def draw(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Normal numbers that depend on ``name`` and ``shape`` alone."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return torch.tensor(np.random.default_rng(seed).normal(size=shape), dtype=torch.float32)


def build() -> Any:
    """open_clip's model. Matrices keep the size of what they are given; norms are near one, the end is likely."""
    import open_clip.coca_model

    sections = {name: dict(section) if isinstance(section, dict) else section for name, section in CONFIG.items()}
    sections["vision_cfg"]["image_size"] = SIDE
    model = open_clip.coca_model.CoCa(**sections)
    state = {}
    for key, value in model.state_dict().items():
        numbers = draw(key, tuple(value.shape))
        if value.ndim == 1:
            numbers = 1 + 0.1 * numbers if key.endswith("weight") else 0.1 * numbers
        elif "embedding" not in key and "query" not in key:
            numbers *= 1.5 * float(np.prod(value.shape[1:])) ** -0.5
        state[key] = numbers
    projection = state["text_decoder.text_projection"]
    projection[:, END] *= 3
    projection[:, 0] *= 0.7
    model.load_state_dict(state, strict=True)
    return model.eval()


def pictures() -> torch.Tensor:
    return 2 * draw("pictures", (PICTURES, 3, SIDE, SIDE))


def main(out: Path) -> None:
    """Greedy sentences as open_clip generates them, their ends and padding included."""
    made = build().generate(
        pictures(), seq_len=LENGTH, min_seq_len=LEAST, generation_type="top_k", top_k=1, sot_token_id=START,
        eos_token_id=END, pad_token_id=0,
    )  # fmt: skip
    out.write_text(json.dumps(made.tolist()) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
