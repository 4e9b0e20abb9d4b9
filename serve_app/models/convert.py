"""Published checkpoints as ONNX and what belongs to them as plain files: serving needs neither torch nor open_clip.

Runs once after a pull, and at the end of training an embedded encoder. torch and open_clip are imported here only,
and only when something is converted.
"""

from __future__ import annotations

import json
import pickle  # for the name of its error only; no file is unpickled
import warnings
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from serve_app.models.manifest import Caption, Clip, UnusableFile, Video
from serve_app.models.onnx_export import trace
from serve_app.models.vocabulary import from_gemma, from_open_clip

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IMAGE, TEXT, TOKENIZER = "clip_image.onnx", "clip_text.onnx", "clip_tokenizer.json"
"""The files that :func:`export_clip` writes."""

SLOWFAST, SLOWFAST_HALF, SLOWFAST_LABELS = "slowfast.onnx", "slowfast_half.onnx", "slowfast_labels.txt"
"""The files that :func:`convert_slowfast` writes."""

OPSET = 18


def convert_open_clip(files: dict[str, Path], clip: Clip, out: Path) -> None:
    """Write the two towers and the tokenizer of a fetched open_clip checkpoint into ``out``.

    ``files`` has ``checkpoint`` (safetensors, or a torch file whose hash the caller has checked) and, for towers that
    do not use CLIP's own vocabulary, ``vocabulary`` (the ``tokenizer.json`` published with them).
    """
    model = _load(files["checkpoint"], clip)
    if "vocabulary" in files:
        tokenizer = from_gemma(files["vocabulary"], clip.context_length)
    else:
        tokenizer = from_open_clip(clip.context_length)
    export_clip(model, tokenizer, out, image_size=clip.image_size, context_length=clip.context_length)


def export_clip(
    model: Any, tokenizer: Tokenizer, out: Path, *, image_size: int | None = None, context_length: int | None = None
) -> None:
    """Write ``clip_image.onnx``, ``clip_text.onnx`` and ``clip_tokenizer.json`` into ``out``.

    ``model`` is a torch module with ``encode_image(float32 [N,3,S,S])`` and ``encode_text(int64 [N,L])``, both giving
    [N,D]; S and L are taken from it as open_clip has them where they are not given. The networks read ``pixels`` and
    ``tokens`` and give ``embedding``, float32 [N,D], L2-normalised inside the graph, for any N up to 4096.
    """
    import torch

    size = image_size or _side(model.visual.image_size)
    length = context_length or int(model.context_length)
    out.mkdir(parents=True, exist_ok=True)
    # Zeros would let constant folding and data-dependent branches see a special case; two rows keep N from being 1.
    pixels = torch.linspace(-1, 1, 2 * 3 * size * size).reshape(2, 3, size, size)
    tokens = torch.arange(1, 1 + 2 * length).reshape(2, length) % 50
    _export(_tower(model, "encode_image"), "pixels", pixels, out / IMAGE)
    _export(_tower(model, "encode_text"), "tokens", tokens, out / TEXT)
    tokenizer.save(str(out / TOKENIZER))


def convert_slowfast(files: dict[str, Path], video: Video, out: Path) -> None:
    """Write a fetched SlowFast checkpoint as ONNX, once in float32 and once in float16, and its labels, into ``out``.

    ``files`` has ``checkpoint`` (as PyTorchVideo publishes it) and, where the row does not list the labels, the
    ``classnames`` published with it. Raises :class:`UnusableFile` where one of them is not what the row says.
    """
    from serve_app.models.slowfast import export_slowfast
    from serve_app.models.slowfast_checkpoint import load_slowfast

    try:
        labels = video.labels if isinstance(video.labels, list) else class_names(files["classnames"])
    except ValueError as error:
        raise UnusableFile("classnames", str(error)) from None
    try:
        model = load_slowfast(files["checkpoint"], frames=video.frames, crop=video.crop, alpha=video.alpha)
    except ValueError as error:
        raise UnusableFile("checkpoint", str(error)) from None
    if model.config.classes != len(labels):
        raise UnusableFile("checkpoint", f"it has {model.config.classes} classes, there are {len(labels)} labels")
    export_slowfast(model, out / SLOWFAST)
    export_slowfast(model, out / SLOWFAST_HALF, half=True)
    (out / SLOWFAST_LABELS).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")


def convert_coca(files: dict[str, Path], caption: Caption, out: Path) -> None:
    """Write the two networks of a fetched CoCa ``checkpoint`` and their tokenizer into ``out``.

    Raises :class:`UnusableFile` where it is no checkpoint of ``caption.architecture``.
    """
    from serve_app.models.coca import export_coca

    try:
        model = _load(files["checkpoint"], caption)
        tokenizer = from_open_clip(caption.context_length)
        export_coca(model, tokenizer, out, image_size=caption.image_size, length=caption.max_tokens)
    except (RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise UnusableFile("checkpoint", f"{files['checkpoint'].name}: {shorten(str(error), 300)}") from None


def convert_classifier(files: dict[str, Path], weights: Path) -> None:
    """Write a fetched TensorFlow.js classifier as the ONNX file ``weights``.

    ``files`` has ``topology`` (its ``model.json``); all others are its shards, in the order of their logical names.
    Raises :class:`UnusableFile` where they are no such network.
    """
    from serve_app.models.tfjs import convert_tfjs

    shards = [path for name, path in sorted(files.items()) if name != "topology"]
    try:
        convert_tfjs(files["topology"], shards, weights)
    except ValueError as error:
        raise UnusableFile("topology", str(error)) from None


def class_names(published: Path) -> list[str]:
    """The labels of a ``kinetics_classnames.json`` in the order of the classes.

    The file maps names, some of them in quotation marks of their own, to numbers. Raises ValueError for anything else.
    """
    try:
        table = json.loads(published.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{published.name} is no JSON text") from None
    if not isinstance(table, dict) or sorted(table.values(), key=str) != sorted(range(len(table)), key=str):
        raise ValueError(f"{published.name} does not give each name its number, from 0 on")
    names = [" ".join(name.replace('"', " ").split()) for name in sorted(table, key=table.__getitem__)]
    if not names or "" in names:
        raise ValueError(f"{published.name} has a class without a name")
    return names


def _tower(model: Any, verb: str) -> Any:
    """One tower as a module of its own, with the normalisation inside."""
    import torch

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            embedding: torch.Tensor = getattr(self.model, verb)(batch)
            return torch.nn.functional.normalize(embedding, dim=-1)

    return Tower().eval()


def _export(tower: Any, name: str, example: Any, path: Path) -> None:
    program = trace(tower, {name: example}, opset=OPSET)
    graph = program.model.graph
    # The token lookup's own result is called "embedding" too, and ONNX names must be unique.
    for value in (value for node in graph for value in node.outputs):
        if value.name == "embedding":
            value.name = "embedding_inner"
    graph.outputs[0].name = "embedding"
    program.save(path, external_data=False)


def _load(checkpoint: Path, clip: Clip) -> Any:
    """The open_clip model of a checkpoint, in float32 on the CPU, without touching the network."""
    import open_clip

    if clip.pretrained_tag == "openai":
        from open_clip.openai import load_openai_model

        with warnings.catch_warnings():
            # torch deprecates TorchScript, and OpenAI's archive is nothing else. It may run code when it is loaded:
            # the manifest wants its hash, and the pull has refused any other file.
            warnings.simplefilter("ignore", FutureWarning)
            model = load_openai_model(str(checkpoint), precision="fp32", device="cpu")
    else:
        with checkpoint.open("rb") as stream:
            # The network is built before the file is read, which takes long for nothing where it is a web page.
            if checkpoint.suffix != ".safetensors" and not stream.read(2).startswith((b"PK", b"\x80")):
                raise ValueError(f"{checkpoint.name} is no file of torch")
        model = open_clip.create_model(
            str(clip.architecture), pretrained=str(checkpoint), precision="fp32", device="cpu", weights_only=True
        )
    return model.eval()


def _side(size: int | tuple[int, int]) -> int:
    return size if isinstance(size, int) else int(size[0])
