"""Networks of torch as ONNX, all by one exporter; torch is imported when something is exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

LARGEST_BATCH = 4096


def trace(
    network: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str] | None = None,
    *,
    opset: int | None = None,
    shapes: Sequence[Any] | None = None,
) -> Any:
    """The program of a network in evaluation mode: its ``model`` to change, its ``model_proto``, its ``save``.

    ``inputs`` are examples by name, each a batch of two or more (one would be taken for a constant). The first axis of
    each is free up to LARGEST_BATCH, unless ``shapes`` says what is free; the exporter's own opset is taken where none
    is given.
    """
    import torch

    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    with torch.no_grad():
        program = torch.onnx.export(
            network,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs) if outputs else None,
            dynamic_shapes=tuple(shapes) if shapes is not None else tuple({0: batch} for _ in inputs),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError(f"torch.onnx gave no program for {', '.join(inputs)}")
    return program
