"""``mediaverse index``: store a folder, skip what is there, wait until it is searchable."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from serve_app.client import Client, refusal
from serve_app.errors import Problem
from serve_app.media import sniff

_AT_ONCE = 4
_SMALL = 1024 * 1024
"""Bytes of a file up to which it travels with others in one request."""
_LOAD, _LOAD_BYTES = 200, 4 * 1024 * 1024
"""Files, and their bytes, of one request."""
_WAIT_S = 600.0
_PAUSES_S = (0.1, 1.0)
"""Between two looks at an asset: at first, and at most."""

Named = tuple[str, Path]
"""The id that a file is to have, and where it is."""


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
        named = [(f"{owner}/{file.relative_to(directory).as_posix()}", file) for file in files]
        add = partial(_add_some, client, owner=owner, known=known, replace=replace)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for job in as_completed([pool.submit(add, load) for load in _loads(named)]):
                for id, outcome in job.result():
                    _note(report, id, outcome)
                    progress.advance(adding)
        if wait:
            _wait(client, report, progress)
    return report


def _files(directory: Path) -> Iterator[Path]:
    for path in directory.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)
        if path.is_file() and not path.is_symlink() and not hidden:
            yield path


def _loads(named: Sequence[Named]) -> Iterator[list[Named]]:
    """Files that are sent together: small ones many at once, others alone."""
    load, size = list[Named](), 0
    for each in named:
        try:
            found = each[1].stat().st_size
        except OSError:
            found = _SMALL + 1  # whoever opens it says why it cannot be read
        if found > _SMALL:
            yield [each]
            continue
        if len(load) == _LOAD or size + found > _LOAD_BYTES:
            yield load
            load, size = [], 0
        load.append(each)
        size += found
    if load:
        yield load


def _add_some(
    client: Client, load: Sequence[Named], *, owner: str, known: Mapping[str, str], replace: bool
) -> list[tuple[str, str | Problem]]:
    """What became of each file."""
    outcomes: dict[str, str | Problem] = {}
    items: dict[str, dict[str, Any]] = {}
    for id, file in load:
        try:
            done = _unless_known(client, file, id, known.get(id), replace)
            id.encode()  # JSON could carry half a character, which is no name
            if done is None and (data := _small(file)) is not None:
                items[id] = {"id": id, "owner": owner, "data": base64.b64encode(data).decode()}
                continue
            outcomes[id] = done or _add(client, file, owner, id)
        except UnicodeEncodeError:
            outcomes[id] = Problem("bad_request", "the name holds half a character")
        except OSError as error:
            outcomes[id] = Problem("bad_request", f"cannot read: {error.strerror}")
        except Problem as problem:
            outcomes[id] = problem
    files = dict(load)
    for id, told in zip(items, _sent(client, list(items.values())), strict=True):
        busy = isinstance(told, Problem) and told.code in ("overloaded", "deadline")
        outcomes[id] = _add(client, files[id], owner, id) if busy else told
    return [(id, outcomes[id]) for id, _ in load]


def _unless_known(client: Client, file: Path, id: str, known: str | None, replace: bool) -> str | None:
    """``skipped`` for what is there already; what was there under this id has made room otherwise."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if known == digest:
        return "skipped"
    if known is not None:
        if not replace:
            raise Problem("conflict", "the file has changed since it was indexed", "index again with --replace")
        client.delete(id)
    return None


def _small(file: Path) -> bytes | None:
    """The content of a small text or picture; None for what is better sent alone."""
    if file.stat().st_size > _SMALL:
        return None
    data = file.read_bytes()
    try:
        media_type = sniff.sniff(data)
        return data if media_type is None or sniff.kind_of(media_type) in ("text", "image") else None
    except Problem:
        return data  # the service says what is wrong with it


def _add(client: Client, file: Path, owner: str, id: str) -> str | Problem:
    try:
        client.add(file, owner, id)
        return "added"
    except Problem as problem:
        return problem


def _sent(client: Client, items: Sequence[dict[str, Any]]) -> list[str | Problem]:
    if not items:
        return []
    try:
        return ["added" if "asset" in each else refusal(each["problem"]) for each in client.add_many(items)]
    except Problem as problem:
        return [problem] * len(items)


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
