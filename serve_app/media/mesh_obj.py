"""Wavefront OBJ, parsed by trimesh, with the materials of its MTL files."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from serve_app.media.mesh_arguments import part_of
from serve_app.media.mesh_parts import Companions, Instance, MeshLimits, Model, broken, check_count
from serve_app.media.mesh_textures import Textures
from serve_app.media.meshes import Bytes, Material

MAX_MATERIALS = 10_000
_LINE = re.compile(r"^[ \t]*(newmtl|Kd|d|Tr|map_Kd|map_d)[ \t]+(.*?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_OPTION = re.compile(
    r"-(?:blend[uv]|cc|clamp|imfchan|texres|bm|boost|type|mm|[ost])(?:[ \t]+(?:on|off|[-+.\de]+))+[ \t]+"
)


@dataclass
class _Mtl:
    """What is drawn of one ``newmtl``."""

    kd: tuple[float, float, float] = (1.0, 1.0, 1.0)
    opacity: float = 1.0
    image: str | None = None
    holes: str | None = None
    """A picture of opacity: its alpha, or its brightness where it has none."""


def read_obj(data: bytes, files: Companions, limits: MeshLimits) -> Model:
    """Surfaces by material, or a cloud where there are points and no faces."""
    from trimesh.exchange.obj import load_obj

    data = _plain(data)
    check_count(data.count(b"\nf "), limits)
    textures = Textures(1, limits)
    mtls = _read_mtls(data, files, textures)
    count = sum((mtl.image is not None) + (mtl.holes is not None) for mtl in mtls.values())
    textures = Textures(count, limits, textures.notes)
    parsed = load_obj(io.StringIO(data.decode(errors="replace")), resolver=_names_alone(mtls))
    parts = list(parsed["geometry"].values()) if "geometry" in parsed else [parsed]
    if not parts:
        raise broken("obj", "has no vertices")
    instances = []
    for part in parts:
        name = getattr(getattr(part.get("visual"), "material", None), "name", None)
        material = _material(mtls[name], files, textures) if name in mtls else Material()
        instances.append(Instance(part_of(part, material)))
    return Model(tuple(instances), notes=tuple(textures.notes))


def _plain(data: bytes) -> bytes:
    """As trimesh expects it: lines that end in a line feed and do not begin with blanks, blanks that are spaces, no
    comments behind numbers, and corners by their number in the file. (It takes -1 for the file's last vertex, not for
    the last before the line.)"""
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\t", b" ")
    if b"\n " in data or data.startswith(b" "):
        data = re.sub(rb"^ +", b"", data, flags=re.MULTILINE)
    if data.count(b"#") > data.count(b"\n#") + data.startswith(b"#"):
        data = re.sub(rb"^((?:v|vt|vn|f) [^\n#]*)#[^\n]*", rb"\1", data, flags=re.MULTILINE)
    return _numbered(data) if re.search(rb"^f[^\n]*[ /]-\d", data, re.MULTILINE) else data


def _numbered(data: bytes) -> bytes:
    counts = {b"v": 0, b"vt": 0, b"vn": 0}

    def corner(word: bytes) -> bytes:
        parts = []
        for number, count in zip(word.split(b"/"), counts.values(), strict=False):
            if not number.startswith(b"-"):
                parts.append(number)
            elif (absolute := count + 1 + int(number)) > 0:
                parts.append(b"%d" % absolute)
            else:
                raise broken("obj", f"has a face with the corner {word[:20].decode()}, before the first vertex")
        return b"/".join(parts)

    lines = data.split(b"\n")
    for at, line in enumerate(lines):
        key, _, rest = line.partition(b" ")
        if key in counts:
            counts[key] += 1
        elif key == b"f":
            lines[at] = b"f " + b" ".join(corner(word) for word in rest.split())
    return b"\n".join(lines)


def _names_alone(mtls: dict[str, _Mtl]) -> defaultdict[str, bytes]:
    """What trimesh finds for every name: an MTL that has nothing but names, as the rest is read here."""
    text = "".join(f"newmtl {name}\n" for name in mtls).encode()
    return defaultdict(lambda: text)


def _read_mtls(data: bytes, files: Companions, textures: Textures) -> dict[str, _Mtl]:
    """The materials of all libraries that the file names; a line may name several, or one with spaces."""
    mtls: dict[str, _Mtl] = {}
    for line in dict.fromkeys(re.findall(rb"^[ \t]*mtllib[ \t]+(\S.*?)[ \t\r]*$", data, re.MULTILINE)):
        whole = line.decode(errors="replace")
        found = files(whole)
        named = [(name, files(name)) for name in whole.split()] if found is None else [(whole, found)]
        for name, text in named:
            if text is None:
                textures.note(f"material file {name[-100:]} is missing: drawn without")
            else:
                _parse_mtl(text.decode(errors="replace").replace("\r", "\n"), mtls)
    return mtls


def _parse_mtl(text: str, mtls: dict[str, _Mtl]) -> None:
    current = _Mtl()
    for match in _LINE.finditer(text):
        key, value = match[1].lower(), match[2]
        if key == "newmtl":
            if len(mtls) >= MAX_MATERIALS:
                raise broken("obj", f"has more than {MAX_MATERIALS:,} materials")
            current = mtls[" ".join(value.split())] = _Mtl()
        elif key == "kd":
            numbers = _numbers(value)
            if len(numbers) in (1, 3):
                red, green, blue = numbers * 3 if len(numbers) == 1 else numbers
                current.kd = red, green, blue
        elif key in ("d", "tr"):
            numbers = _numbers(value.replace("-halo", ""))
            if numbers:
                current.opacity = numbers[0] if key == "d" else 1 - numbers[0]
        elif key == "map_kd":
            current.image = _OPTION.sub("", value)
        elif key == "map_d":
            current.holes = _OPTION.sub("", value)


def _numbers(text: str) -> list[float]:
    """Those that ``text`` begins with, within 0 to 1."""
    found: list[float] = []
    for word in text.split():
        try:
            value = float(word)
        except ValueError:
            break
        found.append(min(max(value, 0.0), 1.0) if value == value else 1.0)
    return found


def _material(mtl: _Mtl, files: Companions, textures: Textures) -> Material:
    def picture(name: str | None) -> Bytes | None:
        return textures.decode(name, lambda: files(name)) if name else None

    texture = picture(mtl.image)
    if mtl.holes != mtl.image and (holes := picture(mtl.holes)) is not None:
        texture = _cut(texture, holes)
    # Some exporters write "Tr 1" for opaque; a material that shows nothing at all is nobody's wish.
    opacity = mtl.opacity or 1.0
    see_through = opacity < 1 or (texture is not None and _has_holes(texture))
    # A diffuse colour of black under a texture is a common fault of exporters; viewers show the texture.
    kd = (1.0, 1.0, 1.0) if texture is not None and not any(mtl.kd) else mtl.kd
    return Material((*kd, opacity), texture, "blend" if see_through else "opaque")


def _cut(texture: Bytes | None, holes: Bytes) -> Bytes:
    """``texture``, or white, with the opacity that ``holes`` shows."""
    opacity = holes[:, :, 3] if _has_holes(holes) else holes[:, :, :3].mean(axis=2).astype(np.uint8)
    out = np.full_like(holes, 255) if texture is None else texture.copy()
    rows, columns = (np.arange(out.shape[axis]) * holes.shape[axis] // out.shape[axis] for axis in (0, 1))
    out[:, :, 3] = opacity[rows][:, columns]
    return out


def _has_holes(texture: Bytes) -> bool:
    """Whether a texture's alpha says something: not all one value."""
    alpha = texture[:, :, 3]
    return bool(alpha.min() < 255 and np.ptp(alpha) > 0)
