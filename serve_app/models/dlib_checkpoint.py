"""dlib's face network as it is published: a ``.dat`` file, read as numbers and never run.

The format is that of dlib's ``serialize.h``, ``dnn/core.h`` and ``dnn/layers.h`` (Davis King, Boost Software License):
integers are a control byte (the sign in its highest bit, how many bytes follow in its lowest four) and the absolute
value, little endian; other floats than those of a tensor are two integers, mantissa and exponent of 2; a network is
the version numbers of all its layers from the output to the input, then what each layer holds from the input to the
output.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SIDE, DIM, STEM = 150, 128, 32
STAGES = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""Channels and blocks of each stage, input first, and whether its first block halves the picture."""
LARGEST = 64 << 20


@dataclass(frozen=True)
class Convolution:
    """A convolution with the affine layer behind it folded in: ``weight`` [out, in, h, w], ``bias`` [out]."""

    weight: Floats
    bias: Floats
    stride: int
    padding: int


@dataclass(frozen=True)
class Block:
    """A residual block; one that is ``halved`` has a 2x2 average of what it was given beside its convolutions."""

    first: Convolution
    second: Convolution
    halved: bool


@dataclass(frozen=True)
class DlibFace:
    """The network's numbers: pixels are RGB less ``mean``, over 256; ``projection`` [256, 128] has no bias."""

    mean: tuple[float, float, float]
    stem: Convolution
    blocks: tuple[Block, ...]
    projection: Floats


def read_dlib_face(checkpoint: Path) -> DlibFace:
    """The numbers of a ``dlib_face_recognition_resnet_model_v1.dat``.

    Raises ValueError where the file is anything else, OSError where it cannot be read.
    """
    if checkpoint.stat().st_size > LARGEST:
        raise ValueError(f"{checkpoint.name} is larger than {LARGEST} bytes")
    reader = _Reader(checkpoint.read_bytes())
    try:
        face = _network(reader)
        reader.end()
    except ValueError as error:
        raise ValueError(f"{checkpoint.name} is not dlib's face network: {error}, at byte {reader.at}") from None
    return face


def _network(reader: _Reader) -> DlibFace:
    reader.expect(1, "version of the loss")
    reader.name("loss_metric_2")
    reader.number()  # the margin and the distance that it was trained with
    reader.number()
    for version in _versions():
        reader.expect(version, "version of a layer")
    reader.name("input_rgb_image_sized")
    mean = reader.number(), reader.number(), reader.number()
    reader.expect(SIDE, "height of a picture")
    reader.expect(SIDE, "width of a picture")
    stem = _convolution(reader, 3, STEM, kernel=7, stride=2, first=True)
    _relu(reader)
    _pool(reader, "max_pool_2", 3, 2)
    blocks, channels = [], STEM
    for width, count, halves in STAGES:
        for number in range(count):
            blocks.append(_block(reader, channels, width, halves and number == 0))
            channels = width
    _pool(reader, "avg_pool_2", 0, 1)
    return DlibFace(mean, stem, tuple(blocks), _projection(reader, channels))


def _versions() -> Iterator[int]:
    """The version number of each layer, from the output on: 2 of a layer, 1 of a tag or a skip, 3 of the last."""
    yield from (2, 2)  # projection, average
    for _, count, halves in reversed(STAGES):
        for number in reversed(range(count)):
            beside = (2, 1, 1) if halves and number == 0 else ()  # average, skip to the tag, tag
            yield from (2, 2, *beside, 2, 2, 2, 2, 2, 1)
    yield from (2, 2, 2, 3)  # maximum, relu, affine, convolution


def _block(reader: _Reader, channels: int, width: int, halved: bool) -> Block:
    first = _convolution(reader, channels, width, stride=2 if halved else 1)
    _relu(reader)
    second = _convolution(reader, width, width)
    if halved:
        _pool(reader, "avg_pool_2", 2, 2)
    reader.name("add_prev_")
    reader.state()
    _relu(reader)
    return Block(first, second, halved)


def _convolution(
    reader: _Reader, channels: int, width: int, kernel: int = 3, stride: int = 1, first: bool = False
) -> Convolution:
    """A convolution and the affine layer behind it; only those that keep the picture's size pad it."""
    padding = kernel // 2 if stride == 1 else 0
    size = width * channels * kernel * kernel
    reader.name("con_4")
    parameters = reader.tensor((size + width, 1, 1, 1))
    for expected in (width, kernel, kernel, stride, stride, padding, padding):
        reader.expect(expected, "shape of a convolution")
    reader.alias((width, channels, kernel, kernel))
    reader.alias((1, width, 1, 1))
    reader.rates()
    reader.state(first=first)
    reader.name("affine_")
    gain, shift = reader.tensor((2 * width, 1, 1, 1)).reshape(2, width)
    reader.alias((1, width, 1, 1))
    reader.alias((1, width, 1, 1))
    reader.expect(0, "mode of an affine layer")
    reader.state()
    weight = parameters[:size].reshape(width, channels, kernel, kernel)
    return Convolution(weight * gain[:, None, None, None], parameters[size:] * gain + shift, stride, padding)


def _relu(reader: _Reader) -> None:
    reader.name("relu_")
    reader.state()


def _pool(reader: _Reader, name: str, window: int, stride: int) -> None:
    reader.name(name)
    for expected in (window, window, stride, stride, 0, 0):
        reader.expect(expected, "shape of a pool")
    reader.state()


def _projection(reader: _Reader, channels: int) -> Floats:
    reader.name("fc_2")
    reader.expect(DIM, "size of a vector")
    reader.expect(channels, "channels of the last stage")
    parameters = reader.tensor((channels, DIM, 1, 1))
    reader.alias((channels, DIM, 1, 1))
    reader.alias((0, 0, 0, 0))
    reader.expect(1, "absence of a bias")
    reader.rates()
    reader.state()
    return parameters.reshape(channels, DIM)


class _Reader:
    """The bytes of a file from front to back. Every method raises ValueError where they say something else."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise ValueError("it ends early")
        self.at += size
        return self.data[self.at - size : self.at]

    def end(self) -> None:
        if self.at < len(self.data):
            raise ValueError("more follows")

    def integer(self) -> int:
        control = self.take(1)[0]
        size = control & 0x0F
        if not 1 <= size <= 8 or control & 0x70:
            raise ValueError("no integer")
        value = int.from_bytes(self.take(size), "little")
        return -value if control & 0x80 else value

    def expect(self, value: int, what: str) -> None:
        if (found := self.integer()) != value:
            raise ValueError(f"{what} {found}, expected {value}")

    def number(self) -> float:
        mantissa, exponent = self.integer(), self.integer()
        if not -1100 <= exponent <= 900:
            raise ValueError("no finite number")
        return math.ldexp(mantissa, exponent)

    def name(self, expected: str) -> None:
        length = self.integer()
        found = self.take(length) if 0 <= length <= 100 else b""
        if found != expected.encode():
            raise ValueError(f"no {expected}")

    def tensor(self, shape: tuple[int, int, int, int]) -> Floats:
        self._shape(2, shape)
        values = np.frombuffer(self.take(4 * math.prod(shape)), "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError("a weight that is no finite number")
        return values

    def alias(self, shape: tuple[int, int, int, int]) -> None:
        """The shape of a part of a tensor."""
        self._shape(1, shape)

    def rates(self) -> None:
        """How fast weights and biases learnt."""
        for _ in range(4):
            self.number()

    def state(self, first: bool = False) -> None:
        """What the training of a layer left behind: three flags and tensors without content."""
        for _ in range(3):
            if self.take(1) not in (b"0", b"1"):
                raise ValueError("no flag")
        for _ in range(3):
            self.tensor((0, 0, 0, 0))
        if first:
            self.expect(1, "pictures for each picture")

    def _shape(self, version: int, shape: tuple[int, int, int, int]) -> None:
        self.expect(version, "version of a tensor")
        found = tuple(self.integer() for _ in shape)
        if found != shape:
            raise ValueError(f"a tensor {list(found)}, expected {list(shape)}")
