"""Folders for work in progress, which outlive nobody: what a killed process leaves is removed by the next one."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "mediaverse-work-"
_LOCK = ".lock"


@contextmanager
def workplace() -> Iterator[Path]:
    """A new folder in the one for temporary files, removed at the end."""
    place = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(place / f"{_LOCK}.new", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        # The kernel lets go of it when this process ends, however it does. Who sweeps sees it when it is held.
        fcntl.flock(lock, fcntl.LOCK_EX)
        (place / f"{_LOCK}.new").rename(place / _LOCK)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)


def sweep() -> int:
    """Remove the folders of processes that are no more; how many there were."""
    swept = 0
    for place in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another's, or just gone
            lock = os.open(place / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place)
                swept += 1
            finally:
                os.close(lock)
    return swept
