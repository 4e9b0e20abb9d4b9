"""Zip archives: what is found in them, and what is refused before it harms."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from serve_app.errors import Problem
from serve_app.media.archives import Archive, ArchiveLimits
from tests.meshes import Files, zipped

Store = Callable[[bytes], str]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    def write(data: bytes) -> str:
        path = tmp_path / "upload.zip"
        path.write_bytes(data)
        return str(path)

    return write


def refused(path: str, code: str, words: str, limits: ArchiveLimits | None = None) -> None:
    def read_all() -> None:
        with Archive(path, limits) as archive:
            for name in archive.names:
                archive.read(name)

    with pytest.raises(Problem, match=words) as caught:
        read_all()
    assert caught.value.code == code


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_are_read_whole_or_in_part(store: Store, method: int) -> None:
    files: Files = {"a/b.txt": b"x" * 5000 + b"end", "c": b"", "./d.txt": b"d"}
    with Archive(store(zipped(files, method))) as archive:
        assert archive.names == ["a/b.txt", "c", "d.txt"]
        assert archive.read("a/b.txt") == files["a/b.txt"]
        assert archive.read("a/b.txt", 7) == b"xxxxxxx"
        assert archive.read("c") == b""


def test_folders_and_what_systems_add_are_no_files(store: Store) -> None:
    files: Files = {"a/": b"", "__MACOSX/a/._m.obj": b"x", "a/.DS_Store": b"x", "a/m.obj": b"v"}
    with Archive(store(zipped(files))) as archive:
        assert archive.names == ["a/m.obj"]


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("wood.png", "model/wood.png"),
        ("./wood.png", "model/wood.png"),
        ("WOOD.PNG", "model/wood.png"),
        ("../textures/brick.png", "textures/brick.png"),
        ("..\\textures\\Brick.png", "textures/brick.png"),
        ('"wood.png"', "model/wood.png"),
        ("maps/deep/wood.png", "model/wood.png"),
        ("C:\\Users\\me\\wood.png", "model/wood.png"),
        ("/home/me/wood.png", "model/wood.png"),
        ("../../wood.png", "model/wood.png"),
        ("http://example.org/wood.png", None),
        ("file:///wood.png", None),
        ("/etc/passwd", None),
        ("../../../../etc/passwd", None),
        ("", None),
        (".", None),
        ("..", None),
    ],
)
def test_references_are_found_inside_alone(store: Store, reference: str, found: str | None) -> None:
    files: Files = {"model/m.obj": b"", "model/wood.png": b"", "textures/brick.png": b""}
    with Archive(store(zipped(files))) as archive:
        assert archive.find(reference, "model") == found


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "C:/evil", "C:\\evil", "..\\evil", "a\\..\\..\\e"]
)
def test_entries_that_lead_out_are_refused(store: Store, name: str) -> None:
    refused(store(zipped({"good": b"x", name: b"x"})), "undecodable_media", "leads out")


def test_symbolic_links_are_refused(store: Store) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    refused(store(target.getvalue()), "undecodable_media", "symbolic link")


def test_bombs_are_stopped_while_they_inflate(store: Store) -> None:
    refused(store(zipped({"zeros": bytes(65 << 20)})), "too_large", "inflates more than")
    noise = bytes(range(256)) * 4096 * 3
    limits = ArchiveLimits(max_mb=2)
    refused(store(zipped({"noise": noise}, zipfile.ZIP_STORED)), "too_large", "more than 2 MB", limits)
    refused(
        store(zipped({"a": noise[: 3 << 19], "b": noise[: 3 << 19]}, zipfile.ZIP_STORED)), "too_large", "2 MB", limits
    )


def test_a_size_that_lies_is_found_out(store: Store) -> None:
    """A directory that declares ten bytes of an entry that inflates to a megabyte."""
    data = zipped({"lie": bytes(range(256)) * 4096})
    size = struct.pack("<I", 1 << 20)
    assert data.count(size) == 2
    refused(store(data.replace(size, struct.pack("<I", 10))), "undecodable_media", "broken")


def test_too_many_files_are_refused_by_the_size_of_the_directory(store: Store) -> None:
    limits = ArchiveLimits(max_files=5)
    many = {f"{number}": b"" for number in range(6)}
    refused(store(zipped(many)), "too_large", "more than the 5 files", limits)
    long = {f"{number}" * 4000: b"" for number in range(3)}
    refused(store(zipped(long)), "too_large", "more than the 5 files", limits)


def test_encrypted_and_unusual_entries_are_refused(store: Store) -> None:
    data = bytearray(zipped({"a": b"secret"}))
    central = data.index(b"PK\1\2")
    data[central + 8] |= 1
    refused(store(bytes(data)), "undecodable_media", "encrypted")
    refused(store(zipped({"a": b"x" * 100}, zipfile.ZIP_LZMA)), "undecodable_media", "unusual")


def test_what_is_cut_off_or_scrambled_is_refused(store: Store) -> None:
    data = zipped({"a": bytes(range(256)) * 40})
    refused(store(data[:-30]), "undecodable_media", "cut off")
    refused(store(data[:60] + b"\xff" * 20 + data[80:]), "undecodable_media", "broken")
    refused(store(b"PK\3\4"), "undecodable_media", "cut off")
