"""The tree of a glTF, its buffers and its arrays, every reference checked before it is followed.

By hand, because trimesh's reader takes normalised integers for plain ones, fills sparse arrays with zeros, knows no
skins and no second set of texture coordinates, and meets broken references with whatever exception comes up.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from serve_app.media.mesh_parts import broken

Tree = dict[str, Any]

MAX_COUNT = 1 << 26
"""Elements of one array; more would not fit the limits of any mesh."""
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_JSON, _BIN = 0x4E4F534A, 0x004E4942


def split_glb(data: bytes) -> tuple[bytes, bytes | None]:
    """The JSON and the binary chunk of a GLB (glTF 2.0, section 4.4)."""
    if len(data) < 20:
        raise broken("glb", f"ends after {len(data)} bytes, within its header")
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise broken("glb", f"is of version {version}; 2 is read here")
    if length > len(data):
        raise broken("glb", f"is cut off: {len(data):,} of {length:,} bytes")
    chunks: dict[int, bytes] = {}
    at = 12
    while at + 8 <= length:
        size, kind = struct.unpack_from("<II", data, at)
        if at + 8 + size > length:
            raise broken("glb", "has a chunk that is longer than the file")
        chunks.setdefault(kind, data[at + 8 : at + 8 + size])
        at += 8 + size
    if _JSON not in chunks:
        raise broken("glb", "has no JSON chunk")
    return chunks[_JSON], chunks.get(_BIN)


def parse_tree(text: bytes) -> Tree:
    """The JSON of a glTF 2."""
    try:
        tree = json.loads(text.rstrip(b"\0 "))
    except (ValueError, RecursionError) as error:
        raise broken("gltf", f"is not JSON: {str(error)[:100]}") from error
    asset = tree.get("asset") if isinstance(tree, dict) else None
    if not isinstance(tree, dict) or not isinstance(asset, dict):
        raise broken("gltf", "has no asset")
    if str(asset.get("version", "2.0")).partition(".")[0] != "2":
        raise broken("gltf", f"is of version {str(asset.get('version'))[:10]}; 2 is read here")
    return tree


class Buffers:
    """The parts of ``tree`` by kind and index, and the arrays that they describe.

    ``binary`` is the chunk of a GLB; ``find`` gives a file of the same upload, or None.
    """

    def __init__(self, tree: Tree, binary: bytes | None, find: Callable[[str], bytes | None]) -> None:
        self.tree = tree
        self._binary = binary
        self._find = find
        self._buffers: dict[int, bytes] = {}
        self._arrays: dict[int, NDArray[Any]] = {}

    def item(self, kind: str, index: object) -> Tree:
        """``tree[kind][index]``."""
        items = self.items(kind)
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(items):
            raise broken("gltf", f"names {kind}[{str(index)[:20]}], which does not exist")
        if not isinstance(items[index], dict):
            raise broken("gltf", f"has {kind}[{index}] that is no object")
        found: Tree = items[index]
        return found

    def items(self, kind: str) -> list[Any]:
        """``tree[kind]``, empty where there is none."""
        items = self.tree.get(kind, [])
        if not isinstance(items, list):
            raise broken("gltf", f"has {kind} that are no list")
        return items

    def file(self, uri: object) -> bytes | None:
        """What a URI holds or names; None where that is not in the upload."""
        if not isinstance(uri, str):
            raise broken("gltf", "has a URI that is no text")
        if not uri.startswith("data:"):
            return self._find(unquote(uri))
        head, _, payload = uri.partition(",")
        try:
            return base64.b64decode(payload) if head.endswith(";base64") else unquote(payload).encode("latin-1")
        except (binascii.Error, ValueError) as error:
            raise broken("gltf", "has a data: URI that cannot be decoded") from error

    def view(self, index: object) -> bytes:
        """The bytes of a buffer view."""
        view = self.item("bufferViews", index)
        extensions = view.get("extensions")
        if isinstance(extensions, dict) and any("meshopt" in name for name in extensions):
            raise broken("gltf", "is compressed by meshopt, which is not read here: save it without compression")
        buffer = self._buffer(view.get("buffer"))
        start, size = natural(view.get("byteOffset", 0)), natural(view.get("byteLength"))
        if start + size > len(buffer):
            raise broken("gltf", f"has bufferViews[{index}] beyond the {len(buffer):,} bytes of its buffer")
        return buffer[start : start + size]

    def array(self, index: object) -> NDArray[Any]:
        """An accessor's values [N, K]: float64 where they are fractions, int64 where they are whole."""
        accessor = self.item("accessors", index)
        assert isinstance(index, int)
        if index not in self._arrays:
            self._arrays[index] = self._read(accessor)
        return self._arrays[index]

    def _read(self, accessor: Tree) -> NDArray[Any]:
        component, width = accessor.get("componentType"), _WIDTHS.get(str(accessor.get("type")))
        if component not in _COMPONENTS or width is None:
            raise broken("gltf", f"has an array of type {str(accessor.get('type'))[:20]} and {str(component)[:20]}")
        count = natural(accessor.get("count"))
        if count > MAX_COUNT:
            raise broken("gltf", f"declares an array of {count:,} elements")
        dtype = np.dtype(_COMPONENTS[component])
        if "bufferView" in accessor:
            values = self._strided(accessor, dtype, count, width)
        else:
            values = np.zeros((count, width), dtype)
        if isinstance(sparse := accessor.get("sparse"), dict):
            values = self._with_sparse(values, sparse)
        if dtype.kind == "f":
            return values.astype(np.float64)
        if accessor.get("normalized") is True:
            return np.maximum(values / np.iinfo(dtype).max, -1.0)
        return values.astype(np.int64)

    def _strided(self, accessor: Tree, dtype: np.dtype[Any], count: int, width: int) -> NDArray[Any]:
        data, offset = self.view(accessor["bufferView"]), natural(accessor.get("byteOffset", 0))
        row = dtype.itemsize * width
        stride = natural(self.item("bufferViews", accessor["bufferView"]).get("byteStride", row)) or row
        if stride < row or (count and offset + (count - 1) * stride + row > len(data)):
            raise broken("gltf", f"has an array of {count:,} elements beyond its {len(data):,} bytes")
        if not count:
            return np.zeros((0, width), dtype)
        return np.ndarray((count, width), dtype, data, offset, (stride, dtype.itemsize))

    def _with_sparse(self, values: NDArray[Any], sparse: Tree) -> NDArray[Any]:
        """``values`` with some of them replaced (section 3.6.2.3)."""
        count = natural(sparse.get("count"))
        where, what = sparse.get("indices"), sparse.get("values")
        if not isinstance(where, dict) or not isinstance(what, dict) or where.get("componentType") not in _COMPONENTS:
            raise broken("gltf", "has a sparse array without indices or values")
        index = self._strided(where, np.dtype(_COMPONENTS[where["componentType"]]), count, 1)[:, 0].astype(np.int64)
        if count and not 0 <= index.min() <= index.max() < len(values):
            raise broken("gltf", "has a sparse array with indices out of range")
        out = values.copy()
        out[index] = self._strided(what, values.dtype, count, values.shape[1])
        return out

    def _buffer(self, index: object) -> bytes:
        item = self.item("buffers", index)
        assert isinstance(index, int)
        if index not in self._buffers:
            data = self._binary if "uri" not in item else self.file(item["uri"])
            if data is None and "uri" not in item:
                raise broken("gltf", f"has no data for buffers[{index}]")
            if data is None:
                raise broken("gltf", f"lacks its buffer {str(item['uri'])[:100]}: upload a zip that holds both")
            self._buffers[index] = data
        return self._buffers[index]


def natural(value: object) -> int:
    """A whole number from 0 up."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise broken("gltf", f"has {str(value)[:20]} where a count or an offset belongs")
    return value


def numbers(value: object, count: int, default: tuple[float, ...]) -> tuple[float, ...]:
    """``count`` finite numbers of the tree; ``default`` where there are none."""
    if value is None:
        return default
    if not isinstance(value, list) or len(value) != count:
        raise broken("gltf", f"has {str(value)[:40]} where {count} numbers belong")
    if not all(isinstance(one, int | float) and math.isfinite(one) for one in value):
        raise broken("gltf", f"has {str(value)[:40]} where {count} finite numbers belong")
    return tuple(float(one) for one in value)
