"""Environments of their own for peers, built in a temporary folder and kept there for the next run."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.report import progress

BUILT_WITHIN_S = 600
READY_WITHIN_S = 300
UV = Path(sys.executable).with_name("uv")


class NotBuiltError(Exception):
    """An environment that could not be built, and why."""


def python_with(name: str, packages: Sequence[str]) -> Path:
    """The Python of an environment with exactly these packages and what they need."""
    place = Path(tempfile.gettempdir()) / "mediaverse-bench" / f"environment-{name}"
    done, python = place / "built", place / "bin" / "python"
    if done.exists() and done.read_text() == "\n".join(packages):
        return python
    shutil.rmtree(place, ignore_errors=True)
    started = time.monotonic()
    for command in (
        ["venv", "-q", "-p", "3.11", str(place)],
        ["pip", "install", "-q", "--no-config", "-p", str(python), *packages],
    ):
        try:
            built = subprocess.run([str(UV), *command], capture_output=True, text=True, timeout=BUILT_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise NotBuiltError(f"not installed within {BUILT_WITHIN_S} s") from None
        if built.returncode:
            raise NotBuiltError(built.stderr.strip()[-600:])
    done.write_text("\n".join(packages))
    progress(f"{name}: environment built in {time.monotonic() - started:.0f} s")
    return python


@contextmanager
def process(python: Path, *words: object, ready: str) -> Iterator[tuple[int, int]]:
    """A script that serves HTTP: the pid and the port, once the path ``ready`` is answered.

    Its words are given as they are, ``PORT`` for the port.
    """
    port = free_port()
    command = [str(python), *(str(port) if word == "PORT" else str(word) for word in words)]
    with tempfile.TemporaryFile() as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            if not _answers(running, f"http://127.0.0.1:{port}{ready}"):
                log.seek(0)
                raise RuntimeError(f"{words[0]} does not serve: {log.read()[-3000:].decode(errors='replace')}")
            yield running.pid, port
        finally:
            running.kill()
            running.wait()


def _answers(running: subprocess.Popen[bytes], url: str) -> bool:
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until and running.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
