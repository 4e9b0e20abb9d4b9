"""Published face networks as ONNX: a checkpoint of one of the known kinds becomes ``face_descriptor.onnx``.

The network reads ``faces`` and gives ``vectors``. No code of a checkpoint is run: torch files are read as tensors only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import shorten
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from serve_app.models.inception_resnet import InceptionResnetV1
from serve_app.models.manifest import Descriptor, UnusableFile
from serve_app.models.onnx_export import trace
from serve_app.models.resnet50_faces import ResNet50Faces

FACE = "face_descriptor.onnx"
"""The file that :func:`convert_face` writes."""
INPUT, OUTPUT = "faces", "vectors"

OPSET = 18

State = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)


def convert_face(kind: str, files: Mapping[str, Path], descriptor: Descriptor, out: Path) -> None:
    """Write the network of ``files["checkpoint"]`` into ``out``.

    Raises :class:`UnusableFile` where the file is no network of that kind, or gives vectors of another dimension than
    the row says.
    """
    try:
        model = NETWORKS[kind](files["checkpoint"])
        export_face(model.eval(), descriptor, out / FACE)
    except ValueError as error:
        raise UnusableFile("checkpoint", f"{files['checkpoint'].name} is unusable: {error}") from None


def export_face(model: nn.Module, descriptor: Descriptor, path: Path) -> None:
    """Write a network as ONNX: ``faces`` float32 [N,3,side,side] to ``vectors`` float32 [N,dim], any N <= 4096.

    Raises ValueError where it gives something else.
    """
    side = descriptor.side
    example = torch.linspace(-1, 1, 2 * 3 * side * side).reshape(2, 3, side, side)
    with torch.no_grad():
        given = list(model(example).shape)
        if given != [2, descriptor.dim]:
            raise ValueError(f"it gives {given} for two faces, the manifest says dim {descriptor.dim}")
    program = trace(model, {INPUT: example}, [OUTPUT], opset=OPSET)
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(path, external_data=False)


def load_inception_resnet(checkpoint: Path) -> InceptionResnetV1:
    """The network of a checkpoint as facenet-pytorch publishes it, without the classifier it was trained with.

    Depths and dimension are read off the tensors. Raises ValueError where the file is no such checkpoint.
    """
    state = {key: value for key, value in _torch_file(checkpoint).items() if not key.startswith("logits.")}
    depths = _count(state, "repeat_1."), _count(state, "repeat_2."), _count(state, "repeat_3.")
    if "last_linear.weight" not in state:
        raise ValueError("it has no last_linear.weight, which an Inception-ResNet-v1 has")
    return _filled(lambda: InceptionResnetV1(len(state["last_linear.weight"]), depths), state)


def load_resnet50(checkpoint: Path) -> ResNet50Faces:
    """The network of a safetensors file with torchvision's keys, without the classifier it was trained with.

    Width and depths are read off the tensors. Raises ValueError where the file is no such network.
    """
    try:
        state = {key: value for key, value in load_file(checkpoint).items() if not key.startswith("fc.")}
    except (MemoryError, OSError):
        raise
    except Exception as error:  # safetensors' own error is none of Python's
        raise ValueError(f"it cannot be read as safetensors: {shorten(str(error), 200)}") from None
    first, second, third, last = (_count(state, f"layer{stage}.") for stage in (1, 2, 3, 4))
    if "conv1.weight" not in state:
        raise ValueError("it has no conv1.weight, which a ResNet-50 has")
    return _filled(lambda: ResNet50Faces(len(state["conv1.weight"]), (first, second, third, last)), state)


def _torch_file(checkpoint: Path) -> State:
    try:
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # torch has no class for "this is no checkpoint"; which one comes depends on the bytes
        raise ValueError(f"it cannot be read as tensors: {shorten(str(error), 200)}") from None
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ValueError("it is no table of tensors")
    return loaded


def _count(state: State, start: str) -> int:
    """How many blocks a stage has."""
    return len({key[len(start) :].partition(".")[0] for key in state if key.startswith(start)})


def _filled(build: Callable[[], Network], state: State) -> Network:
    """The network with the tensors of ``state``, float32. Nothing is allocated before every shape is known to fit."""
    with torch.device("meta"):
        model = build()
    # Ports of Caffe's networks have no such counters, and only training reads them.
    counters = {key: torch.tensor(0) for key in model.state_dict() if key.endswith(".num_batches_tracked")}
    try:
        model.load_state_dict(counters | state, strict=True, assign=True)
    except RuntimeError as error:
        raise ValueError(shorten(str(error), 400)) from None
    return model.float()


NETWORKS: dict[str, Callable[[Path], nn.Module]] = {
    "inception_resnet": load_inception_resnet,
    "resnet50_faces": load_resnet50,
}
"""How a checkpoint is read, by the row's ``convert``."""
