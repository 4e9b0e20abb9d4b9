"""Converted towers answer as the torch model does, for any batch, and the pull makes them once."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.openai import load_openai_model
from safetensors.torch import save_file
from test_vocabulary import gemma_like
from tokenizers import Tokenizer

from serve_app.models.convert import IMAGE, TEXT, TOKENIZER, convert_open_clip, export_clip
from serve_app.models.manifest import Clip, Model
from serve_app.models.pull import PullError, pull
from serve_app.models.sessions import open_session, warm
from serve_app.models.store import Store
from serve_app.models.vocabulary import from_open_clip

CLIP_ROW = {
    "image_size": 32,
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "interpolation": "bicubic",
    "resize": "shortest",
    "context_length": 77,
    "dim": 32,
    "architecture": "any",
    "pretrained_tag": "openai",
}


def agree(folder: Path, model: Any, size: int, tokens: torch.Tensor) -> None:
    """Both towers against eager torch, one at a time and five together."""
    pixels = torch.randn(5, 3, size, size, generator=torch.Generator().manual_seed(1))
    for name, verb, batch in ((IMAGE, "encode_image", pixels), (TEXT, "encode_text", tokens)):
        session = open_session(folder / name)
        warm(session)
        [given], [made] = session.get_inputs(), session.get_outputs()
        assert (given.name, made.name) == ("pixels" if name == IMAGE else "tokens", "embedding")
        with torch.no_grad():
            expected = torch.nn.functional.normalize(getattr(model, verb)(batch), dim=-1).numpy()
        for part in (slice(0, 1), slice(0, 5)):
            found = session.run(None, {given.name: batch[part].numpy()})[0]
            np.testing.assert_allclose(found, expected[part], atol=1e-4)
            np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small TorchScript archive like OpenAI's: random weights, and no mask among its tensors."""
    torch.manual_seed(0)
    model = CLIP(
        32,
        CLIPVisionCfg(layers=1, width=64, patch_size=16, image_size=32),
        CLIPTextCfg(context_length=77, vocab_size=49408, width=64, heads=1, layers=1),
        quick_gelu=True,
    ).eval()
    mask = model.attn_mask
    del model.attn_mask
    model.attn_mask = mask
    path = tmp_path_factory.mktemp("openai") / "small.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(model, (torch.zeros(1, 3, 32, 32), torch.ones(1, 77).long()), check_trace=False).save(path)
    return path


def row(archive: Path, sha256: str) -> Model:
    files = {
        "checkpoint": {"url": "https://weights.example/small.pt", "sha256": sha256},
        "image": {"converted": IMAGE},
        "text": {"converted": TEXT},
        "tokenizer": {"converted": TOKENIZER},
    }
    return Model.model_validate(
        {
            "name": "small",
            "task": "cross_modal_embedding",
            "revision": "1",
            "licence": "MIT",
            "source": "here",
            "files": files,
            "convert": "open_clip",
            "clip": CLIP_ROW,
        }
    )


def test_a_pulled_openai_archive_becomes_towers_once(archive: Path, tmp_path: Path) -> None:
    model, store = row(archive, hashlib.sha256(archive.read_bytes()).hexdigest()), Store(tmp_path)
    pulled = pull(store, [model], from_dir=archive.parent)
    assert [one.origin for one in pulled] == ["copied", "converted", "converted", "converted"]
    files = store.locate(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        eager = load_openai_model(str(archive), precision="fp32", device="cpu")
    texts = ["a cat", "two dogs in the snow", "\U0001f600", "", "word " * 100]
    tokenizer = Tokenizer.from_file(str(files["tokenizer"]))
    tokens = torch.tensor([tokenizer.encode(text).ids for text in texts])
    assert tokens.equal(open_clip.tokenize(texts))
    agree(store.folder(model), eager, 32, tokens)
    assert {one.origin for one in pull(store, [model])} == {"present"}


def test_a_damaged_tower_is_converted_again_and_a_crash_leaves_no_rubbish(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quick(files: dict[str, Path], clip: Clip, out: Path) -> None:
        for name in (IMAGE, TEXT, TOKENIZER):
            (out / name).write_text(name)

    monkeypatch.setattr("serve_app.models.convert.convert_open_clip", quick)
    model, store = row(archive, hashlib.sha256(archive.read_bytes()).hexdigest()), Store(tmp_path)
    pull(store, [model], from_dir=archive.parent)
    (store.folder(model) / ".convert-left").mkdir()
    store.locate(model)["text"].write_bytes(b"damaged")
    assert {report.file: report.state for report in store.verify(model)}["text"] == "corrupt"
    assert [one.origin for one in pull(store, [model])] == ["present", "converted", "converted", "converted"]
    assert {report.state for report in store.verify(model)} == {"ok"}
    assert not list(store.folder(model).glob(".convert-*"))


def test_an_archive_with_another_hash_is_never_opened(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(PullError, match="has another hash"):
        pull(Store(tmp_path), [row(archive, "0" * 64)], from_dir=archive.parent)


def test_a_siglip_checkpoint_with_its_own_vocabulary(tmp_path: Path) -> None:
    text = {
        "context_length": 16,
        "vocab_size": 64,
        "hf_tokenizer_name": "none",
        "width": 32,
        "heads": 2,
        "layers": 1,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    }
    vision = {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"}
    config = {"embed_dim": 64, "custom_text": True, "init_logit_bias": -10, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / "small-siglip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "small-siglip.json")
    torch.manual_seed(0)
    eager = open_clip.create_model("small-siglip").eval()
    save_file(eager.state_dict(), tmp_path / "open_clip_model.safetensors")
    sizes = {"image_size": 160, "context_length": 16, "dim": 64, "architecture": "small-siglip"}
    clip = Clip.model_validate({**CLIP_ROW, **sizes, "pretrained_tag": None})
    files = {
        "checkpoint": tmp_path / "open_clip_model.safetensors",
        "vocabulary": gemma_like(tmp_path / "tokenizer.json"),
    }
    convert_open_clip(files, clip, tmp_path / "out")
    tokenizer = Tokenizer.from_file(str(tmp_path / "out" / TOKENIZER))
    tokens = torch.tensor([one.ids for one in tokenizer.encode_batch(["a dog", "", "the cats", "a photo", "a " * 40])])
    agree(tmp_path / "out", eager, 160, tokens)


def test_any_module_with_two_towers_can_be_exported(tmp_path: Path) -> None:
    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.pixels, self.words = torch.nn.Linear(3 * 8 * 8, 4), torch.nn.Embedding(49408, 4)

        def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.pixels(pixels.flatten(1))

        def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.words(tokens).mean(1)

    model = Tiny().eval()
    export_clip(model, from_open_clip(7), tmp_path, image_size=8, context_length=7)
    agree(tmp_path, model, 8, torch.arange(35).reshape(5, 7))
    assert sorted(path.name for path in tmp_path.iterdir()) == [IMAGE, TEXT, TOKENIZER]
