"""A real service: ``mediaverse serve`` in a process of its own, with its own Ray, home and port."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN_S = 180
MEDIAVERSE = Path(sys.executable).parent / "mediaverse"


class Service:
    """The service under test; it can be stopped, killed and started again on the same home."""

    def __init__(self, place: Path, args: dict[str, object] | None = None) -> None:
        self.place = place
        self.home = place / "home"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = place / "serve_config.yaml"
        self.configure(args or {})
        self.token = uuid.uuid4().hex
        self.environment = os.environ | {
            "MEDIAVERSE_HOME": str(self.home),
            "RAY_TMPDIR": str(place / "r"),
            "RAY_memory_monitor_refresh_ms": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, args: dict[str, object]) -> None:
        config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
        config["http_options"]["port"] = self.port
        config["applications"][0]["args"] |= args
        self.config.write_text(yaml.safe_dump(config))

    def deploy(self, args: dict[str, object], within_s: float = READY_WITHIN_S) -> None:
        """``serve deploy`` of the shipped file with other arguments, until Serve has replaced everything."""
        self.configure(args)
        (dashboard,) = re.findall(r"View the dashboard at \S*?([\d.]+:\d+)", (self.place / "log").read_text())[-1:]
        command = [str(MEDIAVERSE.with_name("serve")), "deploy", "-a", f"http://{dashboard}", str(self.config)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        until = time.monotonic() + within_s
        headers = {"Authorization": f"Bearer {self.token}"}
        while time.monotonic() < until:
            answer = httpx.get(f"http://{dashboard}/api/serve/applications/", headers=headers, timeout=30)
            (application,) = answer.raise_for_status().json()["applications"].values()
            if application["status"] == "RUNNING":
                return
            time.sleep(0.3)
        raise AssertionError(f"not deployed: {application}")

    def start(self) -> None:
        self.spawn()
        self.wait_ready()

    def spawn(self) -> None:
        with (self.place / "log").open("ab") as log:
            command = [str(MEDIAVERSE), "serve", str(self.config)]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=self.place)

    def wait_ready(self, within_s: float = READY_WITHIN_S) -> None:
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            try:
                if httpx.get(f"{self.url}/health/ready", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            if self.process is not None and self.process.poll() is not None:
                break
            time.sleep(0.3)
        raise AssertionError(f"not ready: {(self.place / 'log').read_text()[-4000:]}")

    def processes(self) -> dict[int, str]:
        """Every process of this service, Ray's included: pid to command line. They all carry its home."""
        mark = f"MEDIAVERSE_HOME={self.home}".encode()
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                try:
                    if mark in (folder / "environ").read_bytes().split(b"\0"):
                        found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:
                    continue
        return found

    def replicas(self, deployment: str = "") -> list[int]:
        name = f"ray::ServeReplica:mediaverse:{deployment}"
        return [pid for pid, command in self.processes().items() if command.startswith(name)]

    def decoders(self) -> list[int]:
        """The processes that read videos; they inherit no environment, but their parents have this service's."""
        ours, found = self.processes(), []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and b"watch_process" in (folder / "cmdline").read_bytes():
                    parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                    found += [int(folder.name)] if parent in ours else []
            except OSError:
                continue
        return found

    def kill_everything(self) -> None:
        """SIGKILL for every process, Ray's included, until none is left."""
        for _ in range(50):
            if not (left := self.processes()):
                break
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.1)
        if self.process is not None:
            self.process.wait(10)
        assert not self.processes()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
        self.kill_everything()


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    # Ray's socket paths must stay short.
    place = Path(tempfile.mkdtemp(prefix="mv"))
    running = Service(place, {"shards": 2})
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=120) as client:
        yield client
