"""Work in fresh processes, and real services whose processes are counted by role."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

from tests.cluster.conftest import Service

MODES = ("python", "haproxy")
NAMES = {"python": "Python proxy", "haproxy": "HAProxy"}

Params = ParamSpec("Params")
Out = TypeVar("Out")


def alone(function: Callable[Params, Out], *args: Params.args, **kwargs: Params.kwargs) -> Out:
    """``function`` in a fresh process, which shares neither memory nor threads with this one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


@contextmanager
def service(mode: str = "python", args: dict[str, object] | None = None, *, start: bool = True) -> Iterator[Service]:
    """A real service with its own Ray, port and home, behind Ray's Python proxy or behind HAProxy."""
    place = Path(tempfile.mkdtemp(prefix="mv"))  # Ray's socket paths must stay short
    made = Service(place, args)
    if mode == "haproxy":
        made.environment |= _haproxy(place)
    try:
        if start:
            made.start()
        yield made
    finally:
        made.kill_everything()
        shutil.rmtree(place, ignore_errors=True)


def cpu_seconds(running: Service) -> dict[str, float]:
    """CPU seconds so far of each role's processes."""
    return _by_role(running, _cpu_of)


def memory_bytes(running: Service) -> dict[str, float]:
    """Proportional set size of each role's processes, so that shared pages count once."""
    return _by_role(running, pss_of)


def role(command: str) -> str:
    """What a process is for, by its command line."""
    if found := re.match(r"ray::ServeReplica:mediaverse:([A-Za-z]+)", command):
        return found[1]
    if re.match(r"ray::(ProxyActor|HAProxyManager)", command) or "/haproxy" in command.split(" ")[0]:
        return "proxy"
    return "Ray, Serve's controller and commands"


def _by_role(running: Service, of: Callable[[int], float]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for pid, command in running.processes().items():
        try:
            sums[role(command)] += of(pid)
        except OSError:
            continue
    return dict(sums)


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_of(pid: int) -> float:
    """Proportional set size of a process, in bytes."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) * 1024.0 if found else 0.0


def _haproxy(place: Path) -> dict[str, str]:
    """HAProxy mode with files and ports of its own; by default all services of a machine share them."""
    folder = place / "h"
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "0",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(_free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(_free_port()),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
