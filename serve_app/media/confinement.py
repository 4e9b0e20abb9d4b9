"""What the kernel allows a process that works on files nobody trusts.

As a program it confines itself and becomes another:
``python -I confinement.py '{"parent": PID, ...limits}' COMMAND...``, by its path, so that nothing else is imported.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from dataclasses import dataclass

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ChildLimits:
    """What the kernel allows a child."""

    memory_mb: int = 4096
    """Address space; threads' stacks and mapped libraries count."""
    cpu_s: int = 3600
    """Processor seconds of all threads together."""
    files: int = 64
    """Open file descriptors."""
    file_mb: int = 0
    """Size of each file that it writes."""


def die_with(parent: int) -> None:
    """Asks the kernel for a SIGKILL when the parent ends, and ends if it has ended before."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def confine(limits: ChildLimits) -> None:
    rules = (
        (resource.RLIMIT_AS, limits.memory_mb << 20), (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_NOFILE, limits.files), (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, limits.file_mb << 20),
    )  # fmt: skip
    for which, value in rules:
        hard = resource.getrlimit(which)[1]
        soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # A second later the kernel would send SIGKILL, which does not tell why.
        resource.setrlimit(which, (soft, soft + 1 if which == resource.RLIMIT_CPU else soft))


def _become(arguments: list[str]) -> None:
    rules = json.loads(arguments[0])
    die_with(rules.pop("parent"))
    confine(ChildLimits(**rules))
    os.execv(arguments[1], arguments[1:])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    _become(sys.argv[1:])
