"""``mediaverse serve``: Ray with token authentication, ``serve run``, and a word when everything is warm."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import httpx
import yaml
from rich.console import Console
from rich.markup import escape

from serve_app.catalog import Catalog, Files
from serve_app.config import AppArgs, ServeConfig, check_config
from serve_app.errors import Problem

READY_WITHIN_S = 600.0
STOP_WITHIN_S = 60.0

# What a standalone service on one machine wants of Ray, unless the operator says otherwise.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A cluster of its own: joining whichever runs here would put the data into that one's home.
    "RAY_ADDRESS": "local",
}


def serve(config: Path, console: Console) -> int:
    """Check ``config``, run it until interrupted; gives the exit status of ``serve run``.

    Raises ``Problem`` when the file has faults, its port is taken or Ray's command is not installed.
    """
    if faults := check_config(config):
        raise Problem("bad_request", "\n".join(faults))
    parsed = ServeConfig.model_validate(yaml.safe_load(config.read_text(encoding="utf-8")))
    options = parsed.http_options
    _require_free(options.host, options.port)
    _require_places(parsed.applications[0].args)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Set even where a shell's ``&`` has them ignored, so that this process and its child can be stopped.
        signal.signal(number, _interrupt)
    environment = {**ENVIRONMENT, **os.environ}
    _make_token(environment)
    started = time.monotonic()
    process = subprocess.Popen([_command("serve"), "run", str(config)], env=environment, start_new_session=True)  # noqa: S603  (no shell, our own command)
    try:
        _announce(process, f"http://{options.host}:{options.port}", started, console)
        return process.wait()
    except KeyboardInterrupt:
        console.print("stopping")
        return 0
    finally:
        _stop(process)


def _require_places(args: AppArgs) -> None:
    """Open the catalog and write to the files' place once, so that what is wrong is said here and not by replicas."""
    try:
        args.home_path.mkdir(parents=True, exist_ok=True)
        files = Files(args.files_url)
        files.delete([files.put(b"")])
    except OSError as error:
        raise Problem("unavailable", f"{args.home_path} cannot be used: {error.strerror or error}") from error
    Catalog.open(args.catalog_url).close()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _command(name: str) -> str:
    """Ray's command beside this Python, so that a service never mixes two environments."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise Problem("unavailable", f"the command {name} is not installed", "make run installs everything")
    return found


def _require_free(host: str, port: int) -> None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        remedy = "stop what runs there, or change http_options in the configuration"
        raise Problem("conflict", f"cannot listen on {host}:{port}: {error.strerror}", remedy) from error


def _make_token(environment: dict[str, str]) -> None:
    """Ray's token file, made once; every process of this user that sets RAY_AUTH_MODE=token then fits."""
    if environment["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN" not in environment:
        command = [_command("ray"), "get-auth-token", "--generate"]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True, timeout=60)  # noqa: S603  (likewise)


def _announce(process: subprocess.Popen[bytes], url: str, started: float, console: Console) -> None:
    """Say where to go once every model is warm; what is missing is named with its remedy."""
    with httpx.Client(timeout=5) as client:
        while process.poll() is None and time.monotonic() - started < READY_WITHIN_S:
            try:
                answer = client.get(f"{url}/health/ready")
                body = answer.json()
            except (httpx.HTTPError, ValueError):
                time.sleep(0.25)
                continue
            if answer.status_code == 200:
                _welcome(url, body, time.monotonic() - started, console)
                return
            # What is not there will not come by waiting; what is starting will.
            states = {task["state"] for task in body["tasks"] if task.get("model") or task["state"] == "starting"}
            if "starting" not in states and "unavailable" in states:
                _explain(body, console)
                return
            time.sleep(0.25)


def _welcome(url: str, body: dict[str, object], seconds: float, console: Console) -> None:
    console.print(
        f"\n[bold green]ready[/] after {seconds:.0f} s with the {body['profile']} models\n\n"
        f"  try it      {url}/docs\n"
        f"  what runs   {url}/health/ready\n"
        "  dashboard   the address that Ray has printed above (token: .venv/bin/ray get-auth-token)\n\n"
        "In another terminal:\n"
        "  .venv/bin/mediaverse annotate PICTURE\n"
        "  .venv/bin/mediaverse index FOLDER --owner you\n"
        '  .venv/bin/mediaverse search "a page of text"\n\n'
        "Ctrl-C stops it; what was stored stays.\n"
    )


def _explain(body: dict[str, object], console: Console) -> None:
    console.print("\n[bold yellow]running, but not everything is available[/]")
    tasks = body["tasks"]
    assert isinstance(tasks, list)
    for task in tasks:
        if task["state"] != "ready" and task.get("model"):
            console.print(f"  {task['task']} ({task['model']}): {escape(str(task.get('remedy')))}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt ``serve run`` as Ctrl-C does, which takes Serve and Ray down; kill the group if it hangs."""
    if process.poll() is not None:
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it is stopping already
    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(STOP_WITHIN_S)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
