"""Media types told by content: headers written by hand from the formats' specifications, and every real file."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from serve_app.errors import Problem
from serve_app.media.sniff import kind_of, sniff


def box(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), name) + payload


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
        (b"GIF89a\x01\0\x01\0", "image/gif"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "image/bmp"),
        (b"MM\0*\0\0\0\x08", "image/tiff"),
        (b"P5\n# a comment\n3 4\n255\n", "image/x-portable-anymap"),
        (box(b"ftyp", b"avif\0\0\0\0avifmif1"), "image/avif"),
        (box(b"ftyp", b"mif1\0\0\0\0mif1avif"), "image/avif"),
        (box(b"ftyp", b"mif1\0\0\0\0mif1heic"), "image/heic"),
        (box(b"ftyp", b"heic\0\0\0\0mif1"), "image/heic"),
        (box(b"ftyp", b"isom\0\0\0\0mp42"), "video/mp4"),
        (box(b"ftyp", b"qt  \0\0\0\0"), "video/quicktime"),
        (box(b"ftyp", b"isom\0\0\0\0") + box(b"hdlr", bytes(8) + b"soun"), "audio/mp4"),
        (box(b"ftyp", b"isom\0\0\0\0") + box(b"hdlr", bytes(8) + b"soun") + box(b"hdlr", bytes(8) + b"vide"),
         "video/mp4"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", "video/webm"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska", "video/x-matroska"),
        (b"OggS" + bytes(24) + b"OpusHead", "audio/ogg"),
        (b"OggS" + bytes(24) + b"\x80theora", "video/ogg"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
        (b"fLaC\0\0\0\x22", "audio/flac"),
        (b"ID3\x04\0", "audio/mpeg"),
        (b"\xff\xfb\x90\x64", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"glTF\x02\0\0\0", "model/gltf-binary"),
        (b'{"asset": {"version": "2.0"}, "nodes": []}', "model/gltf+json"),
        (b"ply\nformat ascii 1.0\n", "model/ply"),
        (b"OFF\n8 6 0\n", "model/off"),
        (b"solid cube\n facet normal 0 0 1\n", "model/stl"),
        (bytes(80) + struct.pack("<I12fH", 1, *range(12), 0), "model/stl"),
        (b"# made by hand\no thing\nv 0 0 1.5e-3\nv 1 0 0\nf 1 2 3\n", "model/obj"),
        (b"# caf\xe9\nv 0 0 1\nv 1 0 0\n", "model/obj"),
        (b"# by hand\n\nOFF\n8 6 0\n", "model/off"),
        (b'{"accessors": [{"bufferView": 0}], "asset"', "model/gltf+json"),
        (b'{"buffers": [{"uri": "data:application/octet-stream;base64,AAAA', "model/gltf+json"),
        ("Καλημέρα κόσμε 😀".encode(), "text/plain"),
        (b"\xff\xfe" + "1\n".encode("utf-16-le"), "text/plain"),
        (b"1\r\n00:00:01,000 --> 00:00:02,000\r\nHello\r\n", "application/x-subrip"),
        (b"WEBVTT\n\n00:01.000 --> 00:02.000\n", "text/vtt"),
        (b'{"a": 1}', "application/json"),
        (b'<?xml version="1.0"?><a/>', "application/xml"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "image/svg+xml"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"", None),
        (bytes(range(256)), None),
        (b"plain words\0and a null byte", None),
        (b"\xc3\x28 is not UTF-8", None),
    ],
)  # fmt: skip
def test_content_names_the_type(data: bytes, media_type: str | None) -> None:
    assert sniff(data) == media_type


@pytest.mark.parametrize(
    "sentence",
    ["BMW builds cars", "P5 is a synth", "ID 3", "OFFICE", "solid gold", "v is a letter", "A <b> tag", "GIF"],
)
def test_sentences_that_begin_like_a_signature_are_text(sentence: str) -> None:
    assert sniff(sentence.encode()) == "text/plain"


def test_a_window_that_ends_inside_a_character_is_still_text() -> None:
    assert sniff(("é" * 40_000).encode()[1:] and b"a" + ("é" * 40_000).encode()) == "text/plain"


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [("image/png", "image"), ("video/mp4", "video"), ("audio/ogg", "audio"), ("model/stl", "shape3d"),
     ("application/zip", "shape3d"), ("text/vtt", "text"), ("application/json", "text")],
)  # fmt: skip
def test_every_stored_type_has_a_kind(media_type: str, kind: str) -> None:
    assert kind_of(media_type) == kind


@pytest.mark.parametrize("media_type", ["application/pdf", "application/gzip"])
def test_other_types_are_refused(media_type: str) -> None:
    with pytest.raises(Problem) as caught:
        kind_of(media_type)
    assert caught.value.code == "unsupported_media"


def test_every_real_file_is_of_its_folders_kind(shared: Path) -> None:
    kinds = {"images": "image", "faces": "image", "video": "video", "audio": "audio", "text": "text"}
    wrong = []
    for folder, kind in kinds.items():
        for path in sorted((shared / "media" / folder).rglob("*.*")):
            data = path.read_bytes()
            found = sniff(data[:65536])
            if data and "LICENSE" not in path.name and (found is None or kind_of(found) != kind):
                wrong.append((path.name, found))
    for path in sorted((shared / "media" / "3d").rglob("*")):
        if path.suffix.lower() in {".glb", ".gltf", ".obj", ".off", ".ply", ".stl"}:
            found = sniff(path.read_bytes()[:65536])
            if found is None or kind_of(found) != "shape3d":
                wrong.append((path.name, found))
    assert wrong == []


@pytest.mark.parametrize(
    "data",
    [b"#\n" + b"\n" * 60_000 + b"x", b"#\n" + b" \t" * 30_000, b'{"asset":{"' * 6000, b"<a" * 30_000, b"{" * 65_000],
)
def test_no_text_takes_long_to_tell(data: bytes) -> None:
    start = time.process_time()
    sniff(data)
    assert time.process_time() - start < 0.5  # those that made a pattern backtrack took seconds, or for ever
