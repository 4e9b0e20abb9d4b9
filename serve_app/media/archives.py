"""Zip archives of uploads: their files by path, inflated one at a time within bounds; nothing is written anywhere.

Entries that would leave the archive's own folder (absolute, a drive, ``..``, symbolic links) make the whole refused:
no honest packer writes them. References from file to file may use ``..`` as long as they stay inside.
"""

from __future__ import annotations

import posixpath
import re
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from types import TracebackType

from serve_app.errors import Problem

MAX_RATIO = 300
"""Inflated to deflated bytes of one entry. Meshes as text reach about 20, deflate's limit is 1032."""
RATIO_FREE = 64 << 20
"""Bytes that an entry may inflate to at any ratio: a plain picture of 4096 x 4096 pixels, uncompressed."""
_CHUNK = 1 << 20
_DIRECTORY_ENTRY = 1024
"""Bytes of the directory a file; names of common length take a tenth."""
_END = b"PK\5\6"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may take."""

    max_files: int = 1000
    max_mb: int = 1024
    """Inflated, of all files that are read."""


class Archive:
    """The files of a zip at ``path``. Raises ``Problem``: ``undecodable_media`` or ``too_large``."""

    def __init__(self, path: str, limits: ArchiveLimits | None = None) -> None:
        self._limits = limits or ArchiveLimits()
        _check_directory(path, self._limits)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
            raise Problem("undecodable_media", f"the archive is broken: {str(error)[:100]}") from error
        self._left = self._limits.max_mb << 20
        try:
            self._entries = _entries(self._zip.infolist())
        except Problem:
            self._zip.close()
            raise
        if len(self._entries) > self._limits.max_files:
            self._zip.close()
            raise _too_many(self._limits)
        self._folded = {name.casefold(): name for name in reversed(self._entries)}

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    @property
    def names(self) -> list[str]:
        """Paths of the files, with forward slashes, as they stand in the archive."""
        return list(self._entries)

    def read(self, name: str, most: int | None = None) -> bytes:
        """One of ``names``, or its first ``most`` bytes; what is inflated counts against the archive's limit."""
        entry = self._entries[name]
        if entry.flag_bits & 1:
            raise Problem("undecodable_media", f"{_shown(name)} in the archive is encrypted")
        if entry.compress_type not in _METHODS:
            raise Problem("undecodable_media", f"{_shown(name)} in the archive is compressed by an unusual method")
        parts: list[bytes] = []
        size = 0
        try:
            with self._zip.open(entry) as file:
                while part := file.read(_CHUNK if most is None else min(_CHUNK, most - size)):
                    size += len(part)
                    self._count(name, len(part), size, entry.compress_size)
                    parts.append(part)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError) as error:
            raise Problem("undecodable_media", f"{_shown(name)} in the archive is broken: {str(error)[:80]}") from error
        return b"".join(parts)

    def find(self, reference: str, folder: str) -> str | None:
        """The name of the file that one in ``folder`` means by ``reference``, or None where there is none inside.

        Case is let go where it must be. Of a path that leads out, which exporters write of the machine they ran on,
        the file's own name counts, looked for beside the file that names it.
        """
        reference = reference.strip().strip('"').replace("\\", "/")
        leads_out = _SCHEME.match(reference) or reference.startswith("/")
        name = posixpath.normpath(posixpath.join(folder, reference))
        if not leads_out and not name.startswith("../"):
            return self._named(name) or self._named(posixpath.join(folder, posixpath.basename(name)))
        return None if "://" in reference else self._named(posixpath.join(folder, posixpath.basename(name)))

    def size(self, name: str) -> int:
        """Bytes that the directory claims for a file."""
        return self._entries[name].file_size

    def _named(self, name: str) -> str | None:
        return name if name in self._entries else self._folded.get(name.casefold())

    def _count(self, name: str, grown: int, size: int, deflated: int) -> None:
        if size > RATIO_FREE and size > MAX_RATIO * max(deflated, 1):
            raise Problem("too_large", f"{_shown(name)} in the archive inflates more than {MAX_RATIO}-fold")
        self._left -= grown
        if self._left < 0:
            raise Problem("too_large", f"the archive inflates to more than {self._limits.max_mb} MB")


def _entries(infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The files by their path; folders and what macOS adds are left out."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename.replace("\\", "/")
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or _SCHEME.match(name) or "\0" in name:
            raise Problem("undecodable_media", f"the archive has an entry that leads out of it: {_shown(name)}")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise Problem("undecodable_media", f"the archive has a symbolic link: {_shown(name)}")
        if not name.endswith("/") and parts[0] != "__MACOSX" and not parts[-1].startswith("."):
            entries[posixpath.normpath(name)] = info
    return entries


def _check_directory(path: str, limits: ArchiveLimits) -> None:
    """Raises before a directory of a million entries is parsed, whatever number of entries it declares."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 65557))
        tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or at + 20 > len(tail):
        raise Problem("undecodable_media", "the archive is cut off: it has no directory")
    directory = int.from_bytes(tail[at + 12 : at + 16], "little")
    # All bits set means that the size stands elsewhere, as it does beyond 4 GB.
    if directory > limits.max_files * _DIRECTORY_ENTRY:
        raise _too_many(limits)


def _too_many(limits: ArchiveLimits) -> Problem:
    return Problem("too_large", f"the archive has more than the {limits.max_files:,} files that are read")


def _shown(name: str) -> str:
    return repr(name[:80])
