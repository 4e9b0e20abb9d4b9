"""``mediaverse index``: store a folder, skip what is there, wait until it is searchable."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from serve_app.client import Client
from serve_app.errors import Problem

_AT_ONCE = 4
_WAIT_S = 600.0
_PAUSES_S = (0.1, 1.0)
"""Between two looks at an asset: at first, and at most."""


@dataclass
class Report:
    """What became of every file."""

    added: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def shape(self) -> dict[str, Any]:
        """For ``--json``."""
        failed = [{"id": name, "error": why} for name, why in self.failed]
        return {"added": self.added, "skipped": self.skipped, "failed": failed}

    def sentence(self) -> str:
        """For people."""
        return f"{len(self.added)} added, {len(self.skipped)} already there, {len(self.failed)} failed"


def index(client: Client, directory: Path, owner: str, *, replace: bool, wait: bool, console: Console) -> Report:
    """Add every file below ``directory`` as ``owner/relative/path``; hidden files are passed over.

    A file whose id is there with the same content is skipped. Raises ``Problem`` when the service is not there.
    """
    report = Report()
    known = {asset["id"]: asset["sha256"] for asset in client.assets(owner)}
    files = sorted(_files(directory))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        adding = progress.add_task("adding", total=len(files))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            names = {f"{owner}/{file.relative_to(directory).as_posix()}": file for file in files}
            jobs = {
                pool.submit(_add, client, file, owner, id, known.get(id), replace): id for id, file in names.items()
            }
            for job in as_completed(jobs):
                _note(report, jobs[job], job.result())
                progress.advance(adding)
        if wait:
            _wait(client, report, progress)
    return report


def _files(directory: Path) -> Iterator[Path]:
    for path in directory.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)
        if path.is_file() and not path.is_symlink() and not hidden:
            yield path


def _add(client: Client, file: Path, owner: str, id: str, known: str | None, replace: bool) -> str | Problem:
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if known == digest:
            return "skipped"
        if known is not None:
            if not replace:
                return Problem("conflict", "the file has changed since it was indexed", "index again with --replace")
            client.delete(id)
        client.add(file, owner, id)
        return "added"
    except Problem as problem:
        return problem
    except OSError as error:
        return Problem("bad_request", f"cannot read: {error.strerror}")


def _note(report: Report, id: str, outcome: str | Problem) -> None:
    if isinstance(outcome, Problem):
        report.failed.append((id, str(outcome)))
    else:
        (report.added if outcome == "added" else report.skipped).append(id)


def _moves(client: Client) -> list[Any]:
    """How far the jobs are that are being done."""
    return [(job["id"], job["attempts"], job["progress"], job.get("detail")) for job in client.jobs("running")]


def _wait(client: Client, report: Report, progress: Progress) -> None:
    """Until every added asset is ready or failed, for at most ten minutes in which no job of the service moves."""
    waiting = progress.add_task("annotating", total=len(report.added))
    pending, last, pause_s = list(report.added), time.monotonic(), _PAUSES_S[0]
    moves: list[Any] = []
    while pending and time.monotonic() - last < _WAIT_S:
        asset = client.asset(pending[0])
        if asset["state"] == "processing":
            # A video may take hours, or stand behind one that does; what counts is that the work goes on.
            if (now := _moves(client)) != moves:
                moves, last = now, time.monotonic()
            time.sleep(pause_s)
            pause_s = min(_PAUSES_S[1], pause_s * 1.5)
            continue
        id, last, pause_s = pending.pop(0), time.monotonic(), _PAUSES_S[0]
        if asset["state"] == "failed":
            errors = [stage["error"] for stage in asset["stages"].values() if stage.get("error")]
            report.added.remove(id)
            report.failed.append((id, "; ".join(errors)))
        progress.advance(waiting)
    report.failed += [(id, "still being processed; look again later") for id in pending]
