"""The most memory that a service takes while something is done, its decoders and readers included."""

from __future__ import annotations

import os
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.processes import role
from tests.cluster.conftest import Service

EVERY_S = 0.3
DECODER, READER = "decoder", "reader"
_MODULES = {b"watch_process": DECODER, b"mesh_process": READER}


class Peaks:
    """Bytes at the highest moment: ``total`` of all processes (sum of PSS), ``roles`` each for itself (sum of RSS)."""

    def __init__(self) -> None:
        self.total = 0.0
        self.roles: dict[str, float] = defaultdict(float)

    def look(self, running: Service) -> None:
        ours = running.processes()
        commands = {pid: role(command) for pid, command in ours.items()} | children(ours)
        total, roles = 0.0, dict[str, float]()
        for pid, name in commands.items():
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:  # it has ended meanwhile
                continue
            total += _bytes(text, "Pss")
            roles[name] = roles.get(name, 0.0) + _bytes(text, "Rss")
        self.total = max(self.total, total)
        for name, size in roles.items():
            self.roles[name] = max(self.roles[name], size)


@contextmanager
def watched(running: Service) -> Iterator[Peaks]:
    """Looks every ``EVERY_S`` seconds while the block runs."""
    peaks, done = Peaks(), threading.Event()

    def look() -> None:
        while not done.wait(EVERY_S):
            peaks.look(running)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peaks
    finally:
        done.set()
        watcher.join()


def children(parents: dict[int, str]) -> dict[int, str]:
    """Processes that ``parents`` started and that do not carry their environment, decoders, readers and some of Ray's:
    pid to role."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) in parents or int(folder.name) == os.getpid():
            continue
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if parent in parents:
            named = (name for module, name in _MODULES.items() if module in command)
            found[int(folder.name)] = next(named, "other")
    return found


def _bytes(text: str, field: str) -> float:
    found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024.0 if found else 0.0
