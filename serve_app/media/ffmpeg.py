"""FFmpeg as a process: which binary, what it can do, and a run of it that is watched, bounded and can be cancelled."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path

from serve_app.errors import Problem
from serve_app.media import confinement
from serve_app.media.confinement import ChildLimits

STALL_S = 60.0
"""Without any progress for so long, a run has hung."""
TERM_S = 5.0
"""What a run has to end by itself before it is killed."""
STDERR_TAIL = 8192
"""Bytes of its standard error that are kept."""
_QUERY_S = 30.0
_SIGNALLED = 255
"""FFmpeg's status where a signal asked it to end: nobody's but the kernel's SIGXCPU, when we did not ask."""


@cache
def binary() -> str:
    """The path of FFmpeg: what ``MEDIAVERSE_FFMPEG`` names, or the one that ``imageio-ffmpeg`` carries."""
    named = os.environ.get("MEDIAVERSE_FFMPEG")
    if named:
        return named
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


@cache
def version() -> str:
    """Such as ``ffmpeg n9.0.2``."""
    said = subprocess.run([binary(), "-version"], capture_output=True, text=True, timeout=_QUERY_S, check=True).stdout  # noqa: S603
    return " ".join(said.split()[:3:2])


@cache
def encoders() -> frozenset[str]:
    """The names of the encoders in the binary; whether a card does what one asks for, only a try tells."""
    command = [binary(), "-hide_banner", "-v", "error", "-encoders"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=_QUERY_S, check=True).stdout  # noqa: S603
    return frozenset(re.findall(r"^ [VAS][F.][S.][X.][B.][D.] (\S+)", said, re.MULTILINE))


async def run(
    command: Sequence[str],
    limits: ChildLimits,
    on_progress: Callable[[float], None] | None = None,
    stall_s: float = STALL_S,
) -> None:
    """Run FFmpeg to its end; ``on_progress`` is told the seconds of output so far, by FFmpeg's own clock.

    ``command`` begins with the binary and asks for ``-progress pipe:1``. When the task is cancelled, or nothing moves
    for ``stall_s`` seconds, the process group is asked to end, and killed if it does not.

    Raises ``Problem``: ``undecodable_media`` where FFmpeg failed or hung on the file, ``unavailable`` where the disk
    is full.
    """
    process = await _start(command, limits)
    errors = asyncio.ensure_future(_tail(process.stderr))
    try:
        await _watch(process, on_progress or (lambda _: None), stall_s)
        code = await asyncio.wait_for(process.wait(), stall_s)
    except TimeoutError:
        await _end(process)
        raise Problem("undecodable_media", f"the encoding was given up: no progress for {stall_s:g} s") from None
    except BaseException:
        await asyncio.shield(asyncio.ensure_future(_end(process)))
        raise
    finally:
        said = await _last(errors)
    if code:
        raise failure(code, said)


def failure(code: int, said: str) -> Problem:
    """What to tell of a run that ended with this status and these last words."""
    lines = [re.sub(r"^(\[[^\]]*\] )+", "", line).strip() for line in said.splitlines()]
    if any("No space left on device" in line or "File too large" in line for line in lines):
        return Problem(
            "unavailable", "the disk is full", "free some room, or raise the limits of the job, and try again"
        )
    if code < 0 and -code in {*signal.Signals}:
        return Problem("undecodable_media", f"the encoding was stopped by {signal.Signals(-code).name}")
    if code == _SIGNALLED:
        return Problem("undecodable_media", "the encoding was stopped: it took more processor time than it may")
    told = next((line for line in lines if line), f"status {code}")
    return Problem("undecodable_media", f"the encoding failed: {told[:200]}")


async def _start(command: Sequence[str], limits: ChildLimits) -> asyncio.subprocess.Process:
    rules = json.dumps({"parent": os.getpid(), **asdict(limits)})
    confined = [sys.executable, "-I", str(Path(confinement.__file__)), rules, *command]
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return await asyncio.create_subprocess_exec(
        *confined, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=kept, cwd="/",
        start_new_session=True,
    )  # fmt: skip


async def _watch(process: asyncio.subprocess.Process, tell: Callable[[float], None], stall_s: float) -> None:
    """Reads FFmpeg's reports to their end. TimeoutError where none for ``stall_s`` seconds tells of anything new."""
    assert process.stdout is not None
    seen: dict[str, str] = {}
    deadline = asyncio.get_running_loop().time() + stall_s
    while True:
        async with asyncio.timeout_at(deadline):
            line = await process.stdout.readline()
        if not line:
            return
        name, _, value = line.decode(errors="replace").strip().partition("=")
        # Pictures without sound count in frames first: no time is out before the encoder's delay is over.
        if name in ("out_time_us", "frame", "total_size") and seen.get(name) != value:
            if name == "out_time_us" and value.lstrip("-").isdigit():
                tell(max(0, int(value)) / 1_000_000)
            seen[name] = value
            deadline = asyncio.get_running_loop().time() + stall_s


async def _tail(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    kept = bytearray()
    while chunk := await stream.read(4096):
        kept += chunk
        del kept[:-STDERR_TAIL]
    return kept.decode(errors="replace")


async def _last(errors: asyncio.Future[str]) -> str:
    await asyncio.wait([errors], timeout=1)
    if errors.done():
        return errors.result()
    errors.cancel()
    return ""


async def _end(process: asyncio.subprocess.Process) -> None:
    """TERM, then KILL, to the whole process group; it is reaped."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, how)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), TERM_S)
