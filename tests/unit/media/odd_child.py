"""A child process that does what its request says, mostly badly."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from serve_app.errors import Problem
from serve_app.media.child import Message, child_main


def handle(request: Message, send: Callable[..., None]) -> None:
    getattr(Deeds, request.header["do"])(request, send)


class Deeds:
    @staticmethod
    def echo(request: Message, send: Callable[..., None]) -> None:
        send(request.header, **request.blobs)

    @staticmethod
    def look(request: Message, send: Callable[..., None]) -> None:
        names = {int(name): _target(name) for name in os.listdir("/proc/self/fd")}
        with open("/proc/self/limits") as file:
            limits = file.read()
        print("a stray print")
        send({"fds": names, "environment": sorted(os.environ), "limits": limits, "group": os.getpgid(0)})

    @staticmethod
    def problem(request: Message, send: Callable[..., None]) -> None:
        raise Problem("too_large", "it is", "less")

    @staticmethod
    def segfault(request: Message, send: Callable[..., None]) -> None:
        ctypes.string_at(0)

    @staticmethod
    def memory(request: Message, send: Callable[..., None]) -> None:
        bytearray(8 << 30)

    @staticmethod
    def spin(request: Message, send: Callable[..., None]) -> None:
        for _ in itertools.count():
            pass

    @staticmethod
    def sleep(request: Message, send: Callable[..., None]) -> None:
        send({"asleep": True})
        time.sleep(600)

    @staticmethod
    def fault(request: Message, send: Callable[..., None]) -> None:
        sys.stderr.write("x" * 1_000_000)
        raise ValueError("a fault of its own")

    @staticmethod
    def half(request: Message, send: Callable[..., None]) -> None:
        os.write(1 if request.header.get("stdout") else _channel(), b"\0\0\1\0{")
        os._exit(0)

    @staticmethod
    def flood(request: Message, send: Callable[..., None]) -> None:
        for number in itertools.count():
            send({"number": number}, filling=bytes(100_000))

    @staticmethod
    def parent(request: Message, send: Callable[..., None]) -> None:
        grandchild = subprocess.Popen(["sleep", "600"])
        send({"grandchild": grandchild.pid})
        time.sleep(600)


def _target(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        return ""


def _channel() -> int:
    found: Any = [int(name) for name in os.listdir("/proc/self/fd") if _target(name).startswith("socket")]
    return int(max(found))


if __name__ == "__main__":
    sys.exit(child_main(handle))
