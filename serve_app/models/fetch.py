"""One file over HTTP to its place: resumed, hashed while it streams, bounded, and visible only when it is right.

The bytes go to ``<name>.part``; ``<name>.part.json`` remembers which address and which version (ETag) they are of.
Killed at any moment, the next fetch goes on from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

import httpx

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Statuses that another try may mend."""


class PullError(RuntimeError):
    """Weights could not be brought to this machine; the message says which file, why, and what helps."""


class _TryAgain(Exception):
    """A passing fault; ``after`` is how long the server asks to wait, in seconds."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


@dataclass(frozen=True)
class Limits:
    """Bounds of one file: fruitless tries in a row, seconds in all and without a byte, bytes where none are known."""

    tries: int = 5
    backoff_s: float = 0.5
    wait_s: float = 30.0
    seconds: float = 4 * 3600.0
    bytes: int = 16 << 30
    redirects: int = 5


@dataclass(frozen=True)
class Wanted:
    """What is expected of an address; None where it is not known beforehand."""

    url: str
    sha256: str | None = None
    bytes: int | None = None


def fetch(
    wanted: Wanted, target: Path, on_bytes: Callable[[int, int | None], None], limits: Limits | None = None
) -> tuple[str, int]:
    """Bring ``wanted.url`` to ``target``; returns (sha256, bytes). ``on_bytes`` hears (bytes so far, bytes in all).

    Raises :class:`PullError` when the address refuses, the bytes are not the expected ones, or the limits are spent.
    """
    limits = limits or Limits()
    download = _Download(wanted, target, on_bytes, limits)
    deadline = time.monotonic() + limits.seconds
    fruitless = 0
    with httpx.Client(timeout=httpx.Timeout(limits.wait_s), follow_redirects=False) as client:
        while True:
            before = download.size()
            try:
                download.once(client, deadline)
                return download.finish()
            except (_TryAgain, httpx.TransportError) as fault:
                fruitless = 0 if download.size() > before else fruitless + 1
                pause = _pause(fault, fruitless, limits)
                if fruitless >= limits.tries or time.monotonic() + pause > deadline:
                    raise PullError(_gave_up(wanted.url, fault, download.size())) from None
                time.sleep(pause)


class _Download:
    """The part file of one address."""

    def __init__(
        self, wanted: Wanted, target: Path, on_bytes: Callable[[int, int | None], None], limits: Limits
    ) -> None:
        self.wanted, self.target, self.on_bytes, self.limits = wanted, target, on_bytes, limits
        self.part = target.with_name(target.name + ".part")
        self.note = target.with_name(target.name + ".part.json")
        self.sha, self.hashed = hashlib.sha256(), 0
        self.resumed = False
        if self._noted().get("url") != wanted.url:
            self.restart()

    def size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def restart(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.sha, self.hashed = hashlib.sha256(), 0

    def once(self, client: httpx.Client, deadline: float) -> None:
        """One request, from where the part file ends, to the end of the body."""
        if self.size() > (self.wanted.bytes or self.limits.bytes):
            self.restart()
        if self.size() == self.wanted.bytes:
            return
        with _get(client, self.wanted.url, self._headers(), self.limits.redirects) as response:
            total = self._begin(response)
            self._room(total)
            with self.part.open("ab") as out:
                # Chunks as they arrive: gathering them first would lose what came before a broken connection.
                for chunk in response.iter_raw():
                    self._hash(chunk, out.tell())
                    out.write(chunk)
                    self._bounded(out.tell(), total, deadline)
                    self.on_bytes(out.tell(), total)
                out.flush()
                os.fsync(out.fileno())
        if total is not None and self.size() < total:
            raise _TryAgain(f"the answer ended after {self.size()} of {total} bytes")

    def _hash(self, chunk: bytes, at: int) -> None:
        if at == self.hashed:
            self.sha.update(chunk)
            self.hashed += len(chunk)

    def _digest(self) -> str:
        """The hash of the whole part file; read again only where an earlier process wrote its beginning."""
        if self.hashed == self.size():
            return self.sha.hexdigest()
        with self.part.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def finish(self) -> tuple[str, int]:
        """Check the bytes and put the file in its place."""
        size, found = self.size(), self._digest()
        problem = None
        if self.wanted.bytes not in (None, size):
            problem = f"{size} bytes came, {self.wanted.bytes} were expected"
        elif self.wanted.sha256 not in (None, found):
            problem = f"its sha256 is {found}, expected {self.wanted.sha256}"
        if problem and self.resumed:
            # What lay there may be of another version or damaged: only a whole download can tell.
            self.restart()
            self.resumed = False
            raise _TryAgain(problem)
        if problem:
            self.restart()
            raise PullError(f"{self.wanted.url} is not the file that was expected: {problem}; nothing was kept")
        settle(self.part, self.target)
        self.note.unlink(missing_ok=True)
        return found, size

    def _noted(self) -> dict[str, Any]:
        try:
            noted = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) else {}

    def _headers(self) -> dict[str, str]:
        """A range where the part file may be continued: the version is known, or the hash will tell."""
        headers = {"accept-encoding": "identity", "user-agent": "mediaverse-serve"}
        size, version = self.size(), self._noted().get("version")
        if size and not version and self.wanted.sha256 is None:
            self.restart()
            size = 0
        if size:
            headers["range"] = f"bytes={size}-"
            if version:
                headers["if-range"] = str(version)
        return headers

    def _begin(self, response: httpx.Response) -> int | None:
        """Decide from status and headers where the body goes; returns the size of the whole file if it is known."""
        status, start = response.status_code, self.size()
        if status == 416 and start:
            self.restart()
            raise _TryAgain("the server has no bytes after those already here")
        if status in PASSING:
            raise _TryAgain(f"HTTP {status}", _retry_after(response))
        if status not in (200, 206):
            raise PullError(f"{self.wanted.url}: HTTP {status} {response.reason_phrase}".rstrip())
        length = response.headers.get("content-length", "")
        total = int(length) if length.isdigit() else None
        if status == 206:
            first, whole = _content_range(response)
            if first != start:
                self.restart()
                raise _TryAgain(f"bytes from {first} came, from {start} were asked")
            total = whole if whole is not None else (None if total is None else start + total)
            self.resumed = self.resumed or start > 0
        else:
            self.restart()
        self._remember(response)
        return self._agreed(total)

    def _agreed(self, total: int | None) -> int | None:
        expected = self.wanted.bytes
        if expected is not None and total not in (None, expected):
            self.restart()
            raise PullError(f"{self.wanted.url} has {total} bytes, {expected} were expected; nothing was kept")
        if expected is None and total is not None and total > self.limits.bytes:
            self.restart()
            raise PullError(f"{self.wanted.url} has {total} bytes, more than the {self.limits.bytes} that are allowed")
        return expected if expected is not None else total

    def _remember(self, response: httpx.Response) -> None:
        etag = response.headers.get("etag", "")
        # A weak ETag does not promise equal bytes, so a range must not be joined on it (RFC 9110, 13.1.5).
        version = etag if etag.startswith('"') else None
        self.note.write_text(json.dumps({"url": self.wanted.url, "version": version}), encoding="utf-8")

    def _room(self, total: int | None) -> None:
        missing = (total or 0) - self.size()
        if missing > shutil.disk_usage(self.part.parent).free:
            raise PullError(f"{self.target.name} needs {missing} more bytes than {self.part.parent} has free")

    def _bounded(self, size: int, total: int | None, deadline: float) -> None:
        cap = self.limits.bytes if total is None else total
        if size > cap:
            self.restart()
            raise PullError(f"{self.wanted.url} sends more than the {cap} bytes that were expected; nothing was kept")
        if time.monotonic() > deadline:
            raise PullError(_gave_up(self.wanted.url, TimeoutError("out of time"), size))


@contextlib.contextmanager
def _get(client: httpx.Client, url: str, headers: dict[str, str], redirects: int) -> Iterator[httpx.Response]:
    """A streamed answer after at most ``redirects`` hops, each of which must be as safe as the first address."""
    for _ in range(redirects + 1):
        with client.stream("GET", url, headers=headers) as response:
            if not response.is_redirect:
                yield response
                return
            target = urljoin(url, response.headers["location"])
        if not _safe(target, origin=url):
            raise PullError(f"{url} redirects to {target}: only https is followed")
        url = target
    raise PullError(f"{url}: more than {redirects} redirects")


def _safe(target: str, origin: str) -> bool:
    to, came = urlsplit(target), urlsplit(origin)
    return to.scheme == "https" or (to.scheme == came.scheme == "http" and to.hostname in LOOPBACK)


def _content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    """(first byte, size of the whole) of ``Content-Range: bytes 5-9/10``; None where it is not said."""
    unit, _, rest = response.headers.get("content-range", "").partition(" ")
    span, _, whole = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdigit():
        return None, None
    return int(first), int(whole) if whole.isdigit() else None


def _retry_after(response: httpx.Response) -> float | None:
    seconds = response.headers.get("retry-after", "")
    return float(seconds) if seconds.isdigit() else None


def _pause(fault: Exception, fruitless: int, limits: Limits) -> float:
    asked = getattr(fault, "after", None)
    return min(float(asked), 60.0) if asked is not None else min(limits.backoff_s * 2.0**fruitless, 30.0)


def _gave_up(url: str, fault: Exception, size: int) -> str:
    why = str(fault) or type(fault).__name__
    return f"{url}: {why}; {size} bytes are kept, the same command goes on from there"


def settle(part: Path, target: Path) -> None:
    """Rename ``part`` to ``target`` so that after a power cut there is the whole file or none."""
    with part.open("rb+") as stream:
        _sync(stream)
    part.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sync(stream: IO[bytes]) -> None:
    stream.flush()
    os.fsync(stream.fileno())
