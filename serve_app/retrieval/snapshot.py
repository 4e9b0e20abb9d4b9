"""A shard's memory as files, so that a restart need not read the catalog from the beginning, nor train again.

A snapshot only speeds things up. It is used when all of it is as it was written and the catalog has the mark that was
left with it, so that it was not put back to a backup from before; anything else is noted and forgotten, and the shard
reads the catalog. Files have names of their own and never change;
a manifest, replaced in one step, says which of them belong together. Full blocks of vectors are written once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, Protocol, cast

import faiss
import numpy as np

from serve_app.retrieval.ann import Ann, Effort
from serve_app.retrieval.attributes import Attributes, Frozen
from serve_app.retrieval.exact import BLOCK
from serve_app.retrieval.hits import Floats
from serve_app.retrieval.index import VectorIndex
from serve_app.retrieval.shard import Shard

log = logging.getLogger("mediaverse")

FORMAT = 2
MANIFEST = "manifest.json"
OTHERS_LIVE_S = 7 * 24 * 3600
"""Snapshots that this shard does not write, of another slicing or revision, are removed when they are so old."""
_READ = 1 << 20
_COLUMNS = tuple(field.name for field in fields(Frozen))


class TornError(Exception):
    """A snapshot that is not what was written, or not of this shard."""


class Marks(Protocol):
    """The catalog, which knows its past again by marks."""

    def mark(self, name: str) -> None: ...
    def unmark(self, name: str) -> None: ...
    def is_marked(self, name: str) -> bool: ...


@dataclass(frozen=True)
class Picture:
    """One index at one moment, as arrays that nobody changes any more."""

    generation: int
    vids: Any
    seqs: Any
    alive: Any
    attributes: Frozen
    owners: list[str]
    words: list[tuple[str, str]]
    pieces: list[Floats]
    ann: Ann | None
    trained: int


class Snapshot:
    """The snapshot of one shard of one revision in ``home``, of the catalog that ``origin`` names."""

    def __init__(self, home: Path, shard: Shard, origin: str, marks: Marks) -> None:
        number, count = shard.place
        readable = re.sub(r"[^A-Za-z0-9._-]", "_", shard.revision)[:80]
        digest = hashlib.blake2b(shard.revision.encode(), digest_size=4).hexdigest()
        self.folder = home / "snapshots" / f"{readable}-{digest}-{number}of{count}"
        self._shard = shard
        self._marks = marks
        self._identity = {
            "format": FORMAT, "revision": shard.revision, "shard": number, "shards": count, "dim": shard.dim,
            "origin": hashlib.sha256(origin.encode()).hexdigest(),
        }  # fmt: skip
        self._kept: dict[str, dict[str, Any]] = {}
        """Full blocks on disk, by what they hold."""
        self.seq = 0
        """Of the last one written or read."""

    def read(self, head: int) -> bool:
        """Fill the empty shard from disk; whether there was anything of use. ``head`` is the catalog's."""
        try:
            manifest = self._manifest()
            if manifest["seq"] > head:
                raise TornError(f"the catalog ends at {head}, before the snapshot's {manifest['seq']}: it was restored")
            if not self._marks.is_marked(manifest["mark"]):
                # Its log may be longer by now and have other changes under the same numbers.
                raise TornError("the catalog lacks the mark that was left with the snapshot: it was restored")
            made = {name: self._load(index, manifest["indexes"][name]) for name, index in self._shard.indexes.items()}
        except FileNotFoundError:
            return False
        except Exception as error:
            # Whatever bytes can do: json, numpy and FAISS raise all kinds.
            log.warning("the snapshot in %s is not used: %s", self.folder.name, error)
            return False
        self._shard.indexes = made
        for name, said in manifest["indexes"].items():
            for number, piece in enumerate(said["pieces"]):
                if made[name].blocks.count >= (number + 1) * BLOCK:
                    self._kept[f"{name} {made[name].generation} {number}"] = piece
        self._shard.seq = self.seq = manifest["seq"]
        log.info("read %d vectors up to change %d from the snapshot", len(self._shard), self.seq)
        return True

    def freeze(self) -> tuple[int, dict[str, Picture]]:
        """The shard as it is now, by its owner; FAISS takes no rows until ``thaw``."""
        return self._shard.seq, {name: freeze(index) for name, index in self._shard.indexes.items()}

    def thaw(self) -> None:
        """Let FAISS take rows again."""
        for index in self._shard.indexes.values():
            index.held = False

    def write(self, seq: int, pictures: dict[str, Picture]) -> bool:
        """Put what was frozen on disk, in any thread; whether it was. Of two writers one gives way."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with _alone(self.folder) as alone:
            if not alone:
                return False
            before, mark = self._mark(), uuid.uuid4().hex
            indexes = {name: self._save(name, picture) for name, picture in pictures.items()}
            # A crash between any two of these steps costs a reading of the catalog at most.
            self._marks.mark(mark)
            body = self._identity | {"seq": seq, "mark": mark, "indexes": indexes}
            text = json.dumps(body)
            _replace(self.folder / MANIFEST, json.dumps({"crc": zlib.crc32(text.encode()), "body": text}))
            self._sweep(indexes)
            if before is not None:
                self._marks.unmark(before)
        self.seq = seq
        return True

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _mark(self) -> str | None:
        """The mark of the snapshot that is on disk, whichever replica wrote it; None where there is none of use."""
        try:
            return str(self._manifest()["mark"])
        except Exception:
            return None

    def _manifest(self) -> dict[str, Any]:
        outer = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
        if zlib.crc32(outer["body"].encode()) != outer["crc"]:
            raise TornError("its manifest is torn")
        manifest: dict[str, Any] = json.loads(outer["body"])
        if other := [name for name, value in self._identity.items() if manifest.get(name) != value]:
            raise TornError(f"it is of another {', '.join(other)}")
        return manifest

    def _save(self, name: str, picture: Picture) -> dict[str, Any]:
        columns = {column: self._array(getattr(picture.attributes, column)) for column in _COLUMNS}
        columns |= {column: self._array(getattr(picture, column)) for column in ("vids", "seqs", "alive")}
        said: dict[str, Any] = {"columns": columns, "trained": picture.trained, "ann": None}
        said["words"] = self._file(lambda file: file.write(json.dumps([picture.owners, picture.words]).encode()))
        said["pieces"] = [
            self._piece(name, picture.generation, number, piece) for number, piece in enumerate(picture.pieces)
        ]
        if picture.ann is not None:
            index, efforts = picture.ann.index, [asdict(effort) for effort in picture.ann.efforts]
            kept = self._file(
                lambda file: cast(Any, faiss).write_index(index, cast(Any, faiss).PyCallbackIOWriter(file.write))
            )
            said["ann"] = {"factory": picture.ann.factory, "efforts": efforts, "file": kept}
        return said

    def _piece(self, name: str, generation: int, number: int, piece: Floats) -> dict[str, Any]:
        if len(piece) < BLOCK:
            return self._array(piece)
        key = f"{name} {generation} {number}"
        if key not in self._kept or not (self.folder / self._kept[key]["name"]).exists():
            self._kept[key] = self._array(piece)
        return self._kept[key]

    def _array(self, values: Any) -> dict[str, Any]:
        return self._file(
            lambda file: np.lib.format.write_array(file, np.ascontiguousarray(values), allow_pickle=False)
        )

    def _file(self, write: Any) -> dict[str, Any]:
        """A new file by ``write``, on disk; its name, size and checksum."""
        name = uuid.uuid4().hex
        with open(self.folder / name, "wb") as file:
            counted = _Counted(file)
            write(counted)
            file.flush()
            os.fsync(file.fileno())
        return {"name": name, "size": counted.size, "crc": counted.crc}

    def _load(self, empty: VectorIndex, said: dict[str, Any]) -> VectorIndex:
        """An index like ``empty`` from disk, all checked."""
        made = VectorIndex(empty.dim, empty.kinds, empty.gpu)
        columns = {name: self._read_array(file) for name, file in said["columns"].items()}
        owners, words = json.loads(self._bytes(said["words"]))
        for piece in said["pieces"]:
            self._check(piece)
            made.blocks.append(np.load(self.folder / piece["name"], mmap_mode="r", allow_pickle=False))
        ann = None
        if said["ann"] is not None:
            kept = said["ann"]
            self._check(kept["file"])
            index = faiss.read_index(str(self.folder / kept["file"]["name"]))
            ann = Ann(kept["factory"], index, tuple(Effort(**effort) for effort in kept["efforts"]), empty.gpu)
        frozen = Frozen(**{name: columns[name] for name in _COLUMNS})
        attributes = Attributes.thaw(frozen, owners, [(name, value) for name, value in words])
        made.take(columns["vids"], columns["seqs"], columns["alive"], attributes, ann, said["trained"])
        return made

    def _read_array(self, said: dict[str, Any]) -> Any:
        self._check(said)
        return np.load(self.folder / said["name"], allow_pickle=False)

    def _bytes(self, said: dict[str, Any]) -> bytes:
        self._check(said)
        return (self.folder / str(said["name"])).read_bytes()

    def _check(self, said: dict[str, Any]) -> None:
        crc = size = 0
        with open(self.folder / Path(said["name"]).name, "rb") as file:
            while data := file.read(_READ):
                crc, size = zlib.crc32(data, crc), size + len(data)
        if (size, crc) != (said["size"], said["crc"]):
            raise TornError(f"{said['name']} is torn")

    def _sweep(self, indexes: dict[str, Any]) -> None:
        """Remove the files that no manifest names any more."""
        named = {MANIFEST, _LOCK, *_names(indexes)}
        for path in self.folder.iterdir():
            if path.name not in named:
                path.unlink(missing_ok=True)
        self._kept = {key: said for key, said in self._kept.items() if said["name"] in named}


def freeze(index: VectorIndex) -> Picture:
    """One index as it is now; it is held until somebody lets FAISS take rows again."""
    index.held = index.ann is not None
    pieces = [piece for _, piece in index.blocks.pieces()]
    attributes = index.attributes
    return Picture(
        index.generation, index.vids, index.seqs.copy(), index.alive.copy(), attributes.freeze(),
        list(attributes.owner_codes), list(attributes.words), pieces, index.ann, index.trained,
    )  # fmt: skip


def tidy(home: Path, own: set[Path]) -> None:
    """Remove snapshots that nobody has written for a week, of other slicings and revisions."""
    for folder in (home / "snapshots").glob("*-*of*"):
        with contextlib.suppress(OSError):
            manifest = folder / MANIFEST
            written = (manifest if manifest.exists() else folder).stat().st_mtime
            if folder not in own and time.time() - written > OTHERS_LIVE_S:
                shutil.rmtree(folder, ignore_errors=True)


_LOCK = "lock"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether this is the only writer; ends with the process that holds it."""
    with open(folder / _LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    with open(fresh, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def _names(said: Any) -> set[str]:
    if isinstance(said, dict):
        own = {said["name"]} if "crc" in said else set()
        return own.union(*map(_names, said.values()))
    return set().union(*map(_names, said)) if isinstance(said, list) else set()


class _Counted:
    """Writes on, and counts and sums what it writes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = self.crc = 0

    def write(self, data: Any) -> int:
        data = bytes(data) if not isinstance(data, bytes | memoryview) else data
        self.size, self.crc = self.size + len(data), zlib.crc32(data, self.crc)
        self._file.write(data)
        return len(data)
