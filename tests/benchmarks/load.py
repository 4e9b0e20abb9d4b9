"""A closed-loop HTTP client that is not the bottleneck: prebuilt requests over sockets that stay open where
the service lets them, one epoll loop."""

from __future__ import annotations

import json
import re
import resource
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_LAST = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Rate:
    """Answers a second and latencies after the warm-up; ``answered`` counts the warm-up too."""

    per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    answered: int
    client_cores: float
    """CPU seconds that the client itself took, a second."""


@dataclass
class _Connection:
    port: int
    sent_at: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ends(self) -> bool:
        """Whether the answer says that it was the connection's last."""
        return _LAST.search(self.received, 0, self.received.find(b"\r\n\r\n") + 2) is not None

    def reopen(self) -> None:
        self.socket.close()
        self.open()

    def send(self, request: bytes) -> None:
        self.received.clear()
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def read(self) -> bool:
        """Take what has come; True once the answer is whole. Anything but a 200 ends the measurement."""
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            raise RuntimeError("the service closed a connection")
        self.received += chunk
        head = self.received.find(b"\r\n\r\n")
        if head < 0:
            return False
        if self.received[9:12] != b"200":
            raise RuntimeError(f"not a 200: {bytes(self.received[:2000])!r}")
        length = _LENGTH.search(self.received, 0, head + 2)
        if length is None:
            return self.received.endswith(b"0\r\n\r\n")
        return len(self.received) >= head + 4 + int(length[1])


def closed_loop(port: int, requests: Sequence[bytes], connections: int, seconds: float, warm_s: float = 2.0) -> Rate:
    """Keep ``connections`` requests under way for ``seconds`` after ``warm_s``. Meant for a process of its own."""
    selector = selectors.DefaultSelector()
    begun, cpu = time.perf_counter(), _cpu_seconds()
    answered, next_request = 0, 0
    latencies: list[float] = []
    for _ in range(connections):
        connection = _Connection(port)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(requests[next_request % len(requests)])
        next_request += 1
    # One answer at least, however slow.
    while (now := time.perf_counter()) < begun + warm_s + seconds or not latencies:
        for key, _ in selector.select(timeout=1.0):
            connection = key.data
            if not connection.read():
                continue
            answered += 1
            done = time.perf_counter()
            if done >= begun + warm_s:
                latencies.append(done - connection.sent_at)
            if connection.ends():
                selector.unregister(connection.socket)
                connection.reopen()
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(requests[next_request % len(requests)])
            next_request += 1
    cores = (_cpu_seconds() - cpu) / (now - begun)
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    p50, p95, p99 = np.percentile(np.asarray(latencies) * 1000, [50, 95, 99]).tolist()
    return Rate(len(latencies) / (now - begun - warm_s), p50, p95, p99, answered, cores)


def answers(port: int, requests: Sequence[bytes]) -> list[bytes]:
    """The bodies of the answers to ``requests``, one after the other."""
    connection = _Connection(port)
    bodies = []
    for request in requests:
        connection.send(request)
        while not connection.read():
            pass
        bodies.append(_body(bytes(connection.received)))
        if connection.ends():
            connection.reopen()
    connection.socket.close()
    return bodies


def _body(answer: bytes) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    if _LENGTH.search(head + b"\r\n"):
        return body
    whole = b""
    while size := int(body.partition(b"\r\n")[0], 16):
        start = body.index(b"\r\n") + 2
        whole, body = whole + body[start : start + size], body[start + size + 2 :]
    return whole


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def post(path: str, content_type: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def post_json(path: str, body: object) -> bytes:
    return post(path, "application/json", json.dumps(body).encode())


def post_file(path: str, data: bytes) -> bytes:
    line = b"--boundary-of-the-parts"
    part = b'Content-Disposition: form-data; name="file"; filename="picture.jpg"\r\nContent-Type: image/jpeg'
    body = line + b"\r\n" + part + b"\r\n\r\n" + data + b"\r\n" + line + b"--\r\n"
    return post(path, f"multipart/form-data; boundary={line[2:].decode()}", body)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
