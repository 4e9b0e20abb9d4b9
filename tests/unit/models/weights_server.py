"""A real HTTP server on loopback that can misbehave."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler
from pathlib import Path

BODY = bytes(index * 31 % 251 for index in range(300_000))
SHA = hashlib.sha256(BODY).hexdigest()


@dataclass
class Weights:
    """What the server has, how it behaves, and every request it saw (path, Range, If-Range)."""

    address: str = ""
    body: bytes = BODY
    etag: str | None = '"v1"'
    ranges: bool = True
    drop_after: int | None = None
    drops: int = 10**9
    status: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    redirect: str | None = None
    length: int | None = None
    announce: bool = True
    pause_s: float = 0.0
    seen: list[tuple[str, str | None, str | None]] = field(default_factory=list)


def _start(headers: Message, weights: Weights) -> tuple[int, int]:
    """(status, first byte) of an answer, with Range and If-Range as RFC 9110 has them."""
    asked = headers.get("Range")
    fresh = headers.get("If-Range") in (None, weights.etag)
    first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
    if not asked or not weights.ranges or not fresh:
        return 200, 0
    return (206, first) if first < len(weights.body) else (416, first)


class Handler(BaseHTTPRequestHandler):
    weights: Weights

    def do_GET(self) -> None:
        weights = self.weights
        weights.seen.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        if weights.redirect and self.path != "/moved.onnx":
            return self._head(302, {"Location": weights.redirect, "Content-Length": "0"})
        if weights.status:
            code, extra = weights.status.pop(0)
            return self._head(code, {"Content-Length": "0", **extra})
        code, first = _start(self.headers, weights)
        rest = weights.body[first:] if code != 416 else b""
        fields = {"Content-Length": str(len(rest) if weights.length is None else weights.length)}
        if not weights.announce:
            fields = {}
        if weights.etag:
            fields["ETag"] = weights.etag
        if code == 206:
            fields["Content-Range"] = f"bytes {first}-{len(weights.body) - 1}/{len(weights.body)}"
        self._head(code, fields)
        self._send(rest)

    def _head(self, code: int, fields: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, rest: bytes) -> None:
        weights, sent = self.weights, 0
        while sent < len(rest):
            if weights.drop_after is not None and weights.drops > 0 and sent >= weights.drop_after:
                weights.drops -= 1
                self.close_connection = True
                return
            try:
                self.wfile.write(rest[sent : sent + 10_000])
                self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                return
            sent += 10_000
            time.sleep(weights.pause_s)

    def log_message(self, *args: object) -> None:
        """Stay quiet."""


MakeManifest = Callable[..., Path]
