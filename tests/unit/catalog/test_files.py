"""Files: complete or absent, one folder an upload, and no way out of the folder."""

from __future__ import annotations

import errno
import io
import os
import time
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve_app.catalog import Files
from serve_app.errors import Problem


@pytest.fixture(params=["local", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()
        return Files("memory://media")
    return Files(str(tmp_path / "media"))


def test_what_is_put_is_read_again(files: Files) -> None:
    first, second = files.put(b"picture", ".jpg"), files.put(io.BytesIO(b"film"), ".mp4")
    assert first != second
    assert first.endswith("/original.jpg")
    assert files.read(first) == b"picture"
    with files.open(second) as file:
        file.seek(1)
        assert file.read(2) == b"il"
    with fsspec.open(files.locate(first)) as file:
        assert file.read() == b"picture"


def test_deleted_files_are_gone_and_deleting_again_is_no_error(files: Files) -> None:
    path, kept = files.put(b"picture"), files.put(b"other")
    files.delete([path])
    files.delete([path, path])
    with pytest.raises(Problem, match="not_found"):
        files.read(path)
    assert files.read(kept) == b"other"


def test_forgotten_transient_files_are_swept(files: Files) -> None:
    kept = files.put(b"of an asset", ".mp4")
    paths = [files.put(io.BytesIO(b"of a request"), ".mp4", transient=True) for _ in range(3)]
    assert all(path.startswith("transient/") for path in paths)
    with files.open(paths[0]) as file:
        assert file.seekable()
        file.seek(-7, io.SEEK_END)
        assert file.read() == b"request"
    assert files.sweep_transient(60) == 0
    files.delete([paths[0]])
    assert files.read(paths[1]) == b"of a request"
    time.sleep(0.02)
    assert files.sweep_transient(0.01) == 2
    for path in paths:
        with pytest.raises(Problem, match="not_found"):
            files.open(path)
    assert files.sweep_transient(0) == 0
    assert files.read(kept) == b"of an asset"


def test_only_what_is_old_is_swept_halves_of_uploads_too(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    assert files.sweep_transient(0) == 0, "there is no such folder yet"
    old, new, half = (files.put(b"x", transient=True) for _ in range(3))
    killed = (tmp_path / half).rename((tmp_path / half).with_name(".part"))
    for path in (tmp_path / old, killed):
        os.utime(path, (time.time() - 3600, time.time() - 3600))
    assert files.sweep_transient(1800) == 2
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / new]
    files.delete([new])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_deletion_took_away_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Path.mkdir
    taken: list[Path] = []

    def mkdir(path: Path, *args: object, **options: object) -> None:
        if path.parent.parent == tmp_path and path.parent.exists() and not taken:
            path.parent.rmdir()  # as a deletion does that just emptied it
            taken.append(path)
        made(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    files = Files(str(tmp_path))
    assert files.read(files.put(b"x")) == b"x"
    assert len(taken) == 1


def test_a_large_stream_is_never_read_whole(files: Files) -> None:
    class Film(io.RawIOBase):
        """16 MiB of zeros, and how much was asked for at a time."""

        left = 16 * 2**20
        asked: ClassVar[list[int]] = []

        def read(self, size: int = -1) -> bytes:
            self.asked.append(size)
            given = min(size, self.left) if size >= 0 else self.left
            self.left -= given
            return bytes(given)

    path = files.put(Film(), ".mp4")
    assert max(Film.asked) <= 2**20
    assert min(Film.asked) > 0
    with files.open(path) as file:
        assert file.seek(0, io.SEEK_END) == 16 * 2**20


def test_an_empty_folder_is_left_after_all_is_deleted(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    files.delete([files.put(b"x", ".png") for _ in range(3)])
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise ConnectionError("the client went away")

    with pytest.raises(ConnectionError):
        Files(str(tmp_path)).put(Broken(), ".jpg")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_full_disk_is_said_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Problem, match="unavailable: the file cannot be stored: No space left"):
        Files(str(tmp_path)).put(b"data", ".jpg")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


WAYS_OUT = ("", ".", "..", "/", "/etc/passwd", "../secret", "a/../../secret", "a//b", "a/./b", "a\\..\\b", "~/x")
NO_PATHS = ("file:///etc/passwd", "a\x00b", ".part", "C:/x", "a/" * 5000, "x" * 300)


@pytest.mark.parametrize("path", WAYS_OUT + NO_PATHS)
def test_no_path_leads_out(files: Files, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("secret")
    for way in (files.read, files.open):
        with pytest.raises(Problem, match="not_found"):
            way(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["..", ".", "a", "secret", "", "%2e%2e", "~", "\u2024\u2024"]), max_size=6))
def test_no_mixture_of_parts_leads_out(tmp_path: Path, parts: list[str]) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(Problem, match="not_found"):
        Files(str(tmp_path / "media")).read("/".join(parts))


def test_links_do_not_lead_out_either(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    files = Files(str(tmp_path / "media"))
    (tmp_path / "media" / "file").symlink_to(tmp_path / "secret")
    (tmp_path / "media" / "folder").symlink_to(tmp_path)
    for path in ("file", "folder/secret"):
        for way in (files.read, files.locate, lambda path: files.delete([path])):
            with pytest.raises(Problem, match="not_found"):
                way(path)
    assert (tmp_path / "secret").read_text() == "secret"


@pytest.mark.parametrize("suffix", ["jpg", "/../x", ".a/b", ".", ".JPG", ".x" * 9, ".a\x00"])
def test_a_suffix_is_only_a_suffix(files: Files, suffix: str) -> None:
    with pytest.raises(ValueError, match="suffix"):
        files.put(b"x", suffix)
