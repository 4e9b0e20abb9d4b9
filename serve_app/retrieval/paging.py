"""Cursors of a search: what was given already, so that the next page gives neither that again nor leaves anything out.

Places shift while writes go on, and so do scores where a model is replaced; what was given stays given. A cursor names
it by hashes, is bound to the search that gave it, and is small: eight bytes a result.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from serve_app.errors import Problem

LIMIT = 10_000
"""Results that a cursor names, of all modalities together; a search is not paged further."""
VERSION = b"\x01"
CHECK_BYTES = 8
NAME_BYTES = 8
"""Of a hash: that one of 10,000 is taken for another is less likely than 1 in 10^11."""
MAX_CHARACTERS = 110_000


@dataclass(frozen=True)
class Given:
    """The results of the pages so far: modality -> the hashes of their ids."""

    names: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def count(self, modality: str) -> int:
        return len(self.names.get(modality, ()))

    def has(self, modality: str, id: str) -> bool:
        names = self.names.get(modality, frozenset())
        return bool(names) and _name(id) in names

    def and_these(self, page: Mapping[str, Iterable[str]]) -> Self:
        """These and those of one page more."""
        names = dict(self.names)
        for modality, ids in page.items():
            names[modality] = names.get(modality, frozenset()) | {_name(id) for id in ids}
        return type(self)(names)

    def __len__(self) -> int:
        return sum(map(len, self.names.values()))


def fingerprint(*parts: Any) -> bytes:
    """What makes a search this one and no other; a cursor holds for it alone."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = repr(part).encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()


def encode_cursor(given: Given, search: bytes) -> str | None:
    """The cursor after ``given``; None where that is more than a cursor names."""
    if len(given) > LIMIT:
        return None
    pieces = []
    for modality, names in sorted(given.names.items()):
        packed = np.sort(np.fromiter(names, np.uint64, len(names))).astype(">u8").tobytes()
        pieces.append(bytes([len(modality)]) + modality.encode() + len(names).to_bytes(2, "big") + packed)
    body = VERSION + b"".join(pieces)
    # Hashes do not compress, so nothing is tried.
    return base64.urlsafe_b64encode(_check(body, search) + body).decode().rstrip("=")


def decode_cursor(cursor: str, search: bytes, modalities: Iterable[str]) -> Given:
    """What ``cursor`` says was given; ``bad_request`` for one that no page of this very search gave."""
    if len(cursor) > MAX_CHARACTERS:
        raise _foreign()
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _foreign() from error
    check, body = data[:CHECK_BYTES], data[CHECK_BYTES:]
    if check != _check(body, search) or body[:1] != VERSION:
        raise _foreign()
    given = Given(_names(body[1:]))
    if len(given) > LIMIT or not set(given.names) <= set(modalities):
        raise _foreign()
    return given


def _names(data: bytes) -> dict[str, frozenset[int]]:
    names: dict[str, frozenset[int]] = {}
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        count = int.from_bytes(data[end : end + 2], "big")
        packed = data[end + 2 : end + 2 + count * NAME_BYTES]
        if len(packed) < count * NAME_BYTES:
            raise _foreign()
        names[data[at + 1 : end].decode("ascii", "replace")] = frozenset(np.frombuffer(packed, ">u8").tolist())
        at = end + 2 + len(packed)
    return names


def _name(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=NAME_BYTES).digest(), "big")


def _check(body: bytes, search: bytes) -> bytes:
    return hashlib.blake2b(body, key=search, digest_size=CHECK_BYTES).digest()


def _foreign() -> Problem:
    return Problem("bad_request", "cursor is not one that a page of this search gave")
