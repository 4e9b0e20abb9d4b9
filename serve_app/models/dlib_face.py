"""dlib's face network in ONNX, written node by node: neither dlib nor torch is needed, and it takes a second.

Source: Davis King, ``dlib_face_recognition_resnet_model_v1`` (CC0), a residual network with 29 convolutions after He,
Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016; its layers are those of dlib's
``dnn_face_recognition_ex.cpp``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from serve_app.models.dlib_checkpoint import DIM, SIDE, Block, Convolution, DlibFace, read_dlib_face
from serve_app.models.manifest import Descriptor, UnusableFile
from serve_app.models.onnx_nodes import Nodes

INPUT, OUTPUT = "faces", "vectors"
"""Names in the ONNX file."""
FACE = "face_descriptor.onnx"
"""The file that :func:`convert_dlib_face` writes."""
OPSET, IR_VERSION = 18, 9


def convert_dlib_face(files: Mapping[str, Path], descriptor: Descriptor, out: Path) -> None:
    """Write the network of ``files["checkpoint"]`` into ``out``.

    Raises :class:`UnusableFile` where that is another network, or where the row describes another one.
    """
    try:
        face = read_dlib_face(files["checkpoint"])
        if (descriptor.side, descriptor.dim) != (SIDE, DIM):
            raise ValueError(f"it gives {DIM} numbers for {SIDE} pixels, the manifest says otherwise")
        if not np.allclose(face.mean, descriptor.mean, atol=1e-3):
            raise ValueError(f"it was trained on pixels less {face.mean}, the manifest says {descriptor.mean}")
        export_dlib_face(face, out / FACE)
    except ValueError as error:
        raise UnusableFile("checkpoint", str(error)) from None


def export_dlib_face(face: DlibFace, path: Path) -> None:
    """Write the network: ``faces`` float32 [N,3,150,150], RGB less its mean over 256, to ``vectors`` [N,128].

    The vectors are dlib's own, not normalised: their lengths lie around 1.4.
    """
    graph = _Graph()
    features = graph.convolve(INPUT, face.stem)
    features = graph.add("MaxPool", [graph.relu(features)], kernel_shape=[3, 3], strides=[2, 2])
    side = ((SIDE - 7) // 2 + 1 - 3) // 2 + 1
    for block in face.blocks:
        features, side = graph.block(features, block, side)
    pooled = graph.add("Flatten", [graph.add("GlobalAveragePool", [features])])
    graph.add("MatMul", [pooled, graph.constant(face.projection)], output=OUTPUT)
    graph.save(
        path,
        "dlib_face",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", DIM])],
        opset=OPSET,
        ir_version=IR_VERSION,
    )


class _Graph(Nodes):
    def relu(self, features: str) -> str:
        return self.add("Relu", [features])

    def convolve(self, features: str, convolution: Convolution) -> str:
        inputs = [features, self.constant(convolution.weight), self.constant(convolution.bias)]
        stride, padding = convolution.stride, convolution.padding
        return self.add("Conv", inputs, strides=[stride] * 2, pads=[padding] * 4)

    def block(self, features: str, block: Block, side: int) -> tuple[str, int]:
        """A residual block on ``features`` of that side; its output and the side of that.

        dlib adds tensors of different sizes as if the smaller had zeros at its lower right and in its last channels.
        """
        found = self.convolve(self.relu(self.convolve(features, block.first)), block.second)
        if not block.halved:
            return self.relu(self.add("Add", [found, features])), side
        out, channels = block.first.weight.shape[:2]
        small, halved = (side - 3) // 2 + 1, side // 2
        beside = self.add("AveragePool", [features], kernel_shape=[2, 2], strides=[2, 2])
        found = self.grow(found, 0, halved - small)
        beside = self.grow(beside, out - channels, 0)
        return self.relu(self.add("Add", [found, beside])), halved

    def grow(self, features: str, channels: int, side: int) -> str:
        """``features`` with so many channels, rows and columns of zeros behind them."""
        if not channels and not side:
            return features
        return self.add("Pad", [features, self.constant(np.array([0, 0, 0, 0, 0, channels, side, side], np.int64))])
