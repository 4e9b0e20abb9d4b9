"""A real Postgres for the tests that want one, from the server that is installed; skipped with a reason without."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest


def _find(program: str) -> str:
    places = [os.environ["PATH"], *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]
    found = shutil.which(program, path=os.pathsep.join(places))
    if found is None:
        pytest.skip(f"no Postgres here: {program} is neither in PATH nor in /usr/lib/postgresql/*/bin")
    return found


def _unprivileged() -> dict[str, Any]:
    """Postgres refuses to run as root; then another user that exists runs it."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    pytest.skip("Postgres does not run as root and there is no other user to run it")


@dataclass
class Server:
    folder: Path

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://mediaverse@/{database}?host={self.folder}"

    def run(self, database: str, *statements: str) -> None:
        target = f"host={self.folder} user=mediaverse dbname={database}"
        with psycopg.connect(target, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(200):
            assert process.poll() is None, (self.folder / "log").read_text()
            try:
                return self.run("postgres", "SELECT 1")
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise AssertionError("Postgres does not answer")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    initdb, program, as_user = _find("initdb"), _find("postgres"), _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="mvpg", dir="/tmp"))  # a socket's path has to be short
    if as_user:
        os.chown(folder, as_user["user"], as_user["group"])
    options: dict[str, Any] = {**as_user, "cwd": folder, "env": {"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}}
    data = folder / "data"
    setup = [initdb, "-D", str(data), "-U", "mediaverse", "-A", "trust", "-E", "UTF8", "--no-sync"]
    process: subprocess.Popen[bytes] | None = None
    try:
        subprocess.run(setup, check=True, capture_output=True, **options)
        with (folder / "log").open("wb") as log:
            # Here clients die and the server lives, so it need not wait for its disk.
            command = [program, "-D", str(data), "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
            process = subprocess.Popen(command, stdout=log, stderr=log, **options)
        server = Server(folder)
        server.wait(process)
        yield server
    finally:
        if process is not None:
            process.send_signal(signal.SIGQUIT)  # at once, whatever is still connected
            process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)
