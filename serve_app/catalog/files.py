"""Files of assets, on a local disk or in any store that fsspec knows. One folder an upload; no client's name in it.

Transient files, those of a request and not of an asset, lie apart: nothing refers to them, and old ones are swept.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from serve_app.errors import Problem

_SUFFIX = re.compile(r"(\.[a-z0-9]{1,10})?")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_PATH = 400
_PIECE = 1024 * 1024
_TRANSIENT = "transient"
_TRIES = 20


class Files:
    """A folder of files at a path or an fsspec URL. Paths given out are relative to it and cannot leave it."""

    def __init__(self, url: str) -> None:
        self._fs, root = fsspec.core.url_to_fs(url)
        self.local = isinstance(self._fs, LocalFileSystem)
        if self.local:
            Path(root).mkdir(parents=True, exist_ok=True)
            root = os.path.realpath(root)
        self._root = root.rstrip("/")

    def put(self, data: bytes | BinaryIO, suffix: str = "", *, transient: bool = False) -> str:
        """Store ``data`` and give its path. On a local disk the file is complete and on disk before it has its name.

        A stream is read from where it stands, a mebibyte at a time. ``suffix`` is like ".jpg", chosen by the server
        from the content; ValueError for anything else. ``sweep_transient`` deletes what is ``transient`` and forgotten.
        Raises Problem("unavailable") when the store is full or read-only; nothing is left then.
        """
        if not _SUFFIX.fullmatch(suffix):
            raise ValueError(f"a suffix is like .jpg, not {suffix!r}")
        name = uuid.uuid4().hex
        path = f"{_TRANSIENT + '/' if transient else ''}{name[:2]}/{name}/original{suffix}"
        source = io.BytesIO(data) if isinstance(data, bytes) else data
        try:
            if self.local:
                _write_durably(Path(self._place(path)), source)
            else:
                with self._fs.open(self._place(path), "wb") as target:
                    shutil.copyfileobj(source, target, _PIECE)
        except OSError as error:
            if error.errno is None:
                raise  # the source's fault, not the store's
            raise Problem("unavailable", f"the file cannot be stored: {error.strerror or error}") from error
        return path

    def read(self, path: str) -> bytes:
        """The whole file, or Problem("not_found")."""
        with self.open(path) as file:
            return file.read()

    def open(self, path: str) -> BinaryIO:
        """The file opened for reading (seekable), or Problem("not_found")."""
        try:
            return cast(BinaryIO, self._fs.open(self._place(path), "rb"))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise Problem("not_found", "there is no such file") from error

    def stored(self) -> Iterator[str]:
        """The paths of all files that are complete, but for transient ones, ascending; a folder of them at a time.

        Raises Problem("unavailable") where they cannot be listed.
        """
        for top in self._tops():
            found = self._fs.find(f"{self._root}/{top}") if top.endswith("/") else [f"{self._root}/{top}"]
            for path in sorted(str(each).removeprefix(f"{self._root}/") for each in found):
                if not path.endswith("/.part"):
                    yield path

    def modified(self, path: str) -> datetime | None:
        """When a file was last written; None where there is no such file."""
        try:
            return _utc(self._fs.modified(f"{self._root}/{path}"))
        except FileNotFoundError:
            return None

    def _tops(self) -> list[str]:
        """What stands right below the root, folders with a slash, in the order of what is in them."""
        try:
            found = self._fs.ls(self._root, detail=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Problem("unavailable", f"the files cannot be listed: {error.strerror or error}") from error
        slash = {"directory": "/"}
        tops = [str(each["name"]).rstrip("/").rpartition("/")[2] + slash.get(each["type"], "") for each in found]
        return sorted(top for top in tops if top != f"{_TRANSIENT}/")

    def locate(self, path: str) -> str:
        """Where another process finds the file: a local path, or a URL that fsspec opens."""
        place = self._place(path)
        return place if self.local else str(self._fs.unstrip_protocol(place))

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files and the folders that this leaves empty; what is gone already is no error."""
        for path in paths:
            place = self._place(path)
            try:
                self._fs.rm_file(place)
            except FileNotFoundError:
                continue
            if self.local:
                _remove_empty(Path(place).parent, Path(self._root))

    def sweep_transient(self, older_than_s: float) -> int:
        """Delete the transient files that were last written more than ``older_than_s`` seconds ago; gives how many.

        Those of requests that were killed, halves of uploads among them. Any number of processes may sweep at once.
        """
        before = datetime.now(UTC) - timedelta(seconds=older_than_s)
        swept = 0
        for found in self._fs.find(f"{self._root}/{_TRANSIENT}"):
            try:
                if _utc(self._fs.modified(found)) >= before:
                    continue
                self._fs.rm_file(found)
            except FileNotFoundError:
                continue  # its user or another sweep was faster
            swept += 1
            if self.local:
                _remove_empty(Path(found).parent, Path(self._root))
        return swept

    def _place(self, path: str) -> str:
        """The absolute place of a path; Problem("not_found") for one that leads out of the folder."""
        parts = path.split("/")
        if len(path) > _MAX_PATH or not all(_PART.fullmatch(part) for part in parts):
            raise Problem("not_found", "there is no such file")
        place = f"{self._root}/{path}"
        if self.local and not os.path.realpath(place).startswith(f"{self._root}/"):  # a link that leads elsewhere
            raise Problem("not_found", "there is no such file")
        return place


def _write_durably(place: Path, source: BinaryIO) -> None:
    _make_folder(place.parent)
    temporary = place.with_name(".part")
    try:
        with temporary.open("xb") as target:
            shutil.copyfileobj(source, target, _PIECE)
            target.flush()
            os.fsync(target.fileno())
        temporary.replace(place)
    except BaseException:
        shutil.rmtree(place.parent, ignore_errors=True)
        raise
    for folder in place.parents[:3]:
        _sync_folder(folder)


def _make_folder(folder: Path) -> None:
    for _ in range(_TRIES - 1):
        # The folder above may be empty by a deletion, and removed just before this one is made in it.
        with suppress(FileNotFoundError):
            return folder.mkdir(parents=True)
    folder.mkdir(parents=True)


def _utc(time: datetime) -> datetime:
    """Stores tell times with their zone or, by fsspec's custom, in UTC without it."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
