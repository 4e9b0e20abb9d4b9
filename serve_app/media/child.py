"""Work on files nobody trusts, in a process of its own: what it needs goes in, messages come out, and it can be killed.

A decoder of the C world may crash, hang or eat the memory of its process. So it runs in a child with bounded memory and
processor time, without the parent's environment and files, that dies with its parent. A message is a JSON header and
named blobs (bytes, or numpy arrays as their raw bytes); nothing is unpickled. Parent and child talk over a socket pair
that is the child's standard input and output: a parent that reads slowly stops a child that sends.

Parent::

    async with await Child.start("serve_app.somewhere", fds=(fd,)) as child:
        await child.send({"file": fd})
        while (message := await child.receive()) is not None:
            ...

Child (``python -m serve_app.somewhere``)::

    if __name__ == "__main__":
        sys.exit(child_main(handle))  # handle(request, send); a Problem that it raises is raised by ``receive``
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from serve_app.errors import Problem
from serve_app.media.confinement import ChildLimits, confine, die_with

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Blob = bytes | NDArray[np.generic]

IDLE_S = 60.0
"""How long a message may take to come while it is waited for."""
MAX_HEADER = 1 << 20
"""Bytes of a JSON header."""
MAX_BLOB = 1 << 30
"""Bytes of one blob."""
STDERR_TAIL = 4096
"""Bytes of the child's standard error that are kept for the log."""

_LENGTH = struct.Struct(">I")
_INHERITED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")


@dataclass(frozen=True)
class Message:
    header: dict[str, Any]
    blobs: dict[str, Blob]


class Child:
    """The parent's end. Not for two tasks at once. Leaving the context kills the child's process group and reaps it."""

    def __init__(
        self, module: str, process: subprocess.Popen[bytes], idle_s: float,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], errors: tuple[asyncio.StreamReader, Any],
    ) -> None:  # fmt: skip
        self.pid = process.pid
        self._module = module
        self._process = process
        self._idle_s = idle_s
        self._reader, self._writer = streams
        self._error_writer = errors[1]
        self._stderr = bytearray()
        self._listener = asyncio.ensure_future(self._listen(errors[0]))

    @classmethod
    async def start(
        cls, module: str, fds: tuple[int, ...] = (), limits: ChildLimits | None = None, idle_s: float = IDLE_S
    ) -> Child:
        """Runs ``python -m module``, which calls :func:`child_main`. Of the open files it inherits ``fds`` alone.

        The thread that calls must live as long as the child: Linux kills the child when that thread ends.
        """
        rules = json.dumps({"parent": os.getpid(), **asdict(limits or ChildLimits())})
        process, talk, errors = _launch([sys.executable, "-P", "-m", module, rules], fds)
        try:
            streams = await asyncio.open_connection(sock=talk, limit=1 << 18)
            return cls(module, process, idle_s, streams, await asyncio.open_connection(sock=errors))
        except BaseException:
            process.kill()
            process.wait()
            talk.close()
            errors.close()
            raise

    async def __aenter__(self) -> Child:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self, header: Mapping[str, Any], **blobs: Blob) -> None:
        try:
            self._writer.writelines(_encoded(header, blobs))
            async with asyncio.timeout(self._idle_s):
                await self._writer.drain()
        except (TimeoutError, ConnectionError) as error:
            raise await self._failure(error) from error

    async def receive(self) -> Message | None:
        """The next message; None when the child has ended well.

        Raises the ``Problem`` that the child raised; ``undecodable_media`` when it crashed, reached a limit of the
        kernel's or sent nothing for ``idle_s`` seconds; ``internal`` when it ended by a fault of its own.
        """
        try:
            async with asyncio.timeout(self._idle_s):
                message = await self._read()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            raise await self._failure(error) from error
        if message is None:
            if await self._reap():
                raise await self._failure(None)
            return None
        if "problem" in message.header:
            raise Problem(*message.header["problem"])
        return message

    def kill(self) -> None:
        """Kills the child and whatever it started, at once."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    async def close(self) -> None:
        """Kills the child where it still runs, and reaps it."""
        self.kill()
        self._writer.close()
        try:
            await self._reap()
        finally:
            self._listener.cancel()
            self._error_writer.close()

    async def _read(self) -> Message | None:
        try:
            prefix = await self._reader.readexactly(_LENGTH.size)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return None
        header = json.loads(await self._reader.readexactly(_bounded(_LENGTH.unpack(prefix)[0], MAX_HEADER)))
        blobs = {}
        for name, kind, shape, size in header.pop("blobs"):
            blobs[name] = _blob(await self._reader.readexactly(_bounded(size, MAX_BLOB)), kind, shape)
        return Message(header, blobs)

    async def _listen(self, errors: asyncio.StreamReader) -> None:
        while chunk := await errors.read(STDERR_TAIL):
            self._stderr += chunk
            del self._stderr[:-STDERR_TAIL]

    async def _reap(self) -> int:
        """Waits until the child has ended; a thread does, so that it is reaped even when this task is cancelled."""
        if self._process.returncode is None:
            await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(self._process.wait)))
        return self._process.returncode

    async def _failure(self, error: Exception | None) -> Problem:
        """What to tell of a child that ended, or is ended here, before its work was done."""
        if isinstance(error, TimeoutError):
            self.kill()
            await self._reap()
            text = f"the file was given up: no progress in reading it for {self._idle_s:g} s"
            return Problem("undecodable_media", text)
        try:
            async with asyncio.timeout(self._idle_s):
                code = await self._reap()
        except TimeoutError:
            self.kill()
            code = await self._reap()
        await asyncio.wait([self._listener], timeout=1)
        tail = self._stderr.decode(errors="replace").strip()
        if code < 0:
            name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
            return Problem("undecodable_media", f"the process that read the file was stopped by {name}")
        _log_failure(self._module, code, tail)
        return Problem(
            "internal", f"the process that read the file failed: {tail.splitlines()[-1][:200] if tail else code}"
        )


@contextmanager
def inheritable(file: str | int) -> Iterator[int]:
    """A descriptor of ``file`` that a child can inherit; a caller's own stays the caller's, and open."""
    if isinstance(file, int):
        yield file
        return
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _launch(command: list[str], fds: tuple[int, ...]) -> tuple[subprocess.Popen[bytes], socket.socket, socket.socket]:
    """The process, our end of its standard input and output, and our end of its standard error."""
    ours, theirs = socket.socketpair()
    our_errors, their_errors = socket.socketpair()
    with theirs, their_errors:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module, no shell
                command, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=their_errors.fileno(), pass_fds=fds,
                env=_environment(), cwd="/", start_new_session=True,
            )  # fmt: skip
        except BaseException:
            ours.close()
            our_errors.close()
            raise
    return process, ours, our_errors


def child_main(handle: Callable[[Message, Callable[..., None]], None]) -> int:
    """The child's whole life: takes on its limits, reads one request and lets ``handle(request, send)`` answer it.

    ``send(header, **blobs)`` blocks while the parent does not read. Returns the exit status. A ``Problem`` and a lack
    of memory are told to the parent; any other exception is the child's own fault and ends it with status 1.
    """
    rules = json.loads(sys.argv[1])
    die_with(rules.pop("parent"))
    limits = ChildLimits(**rules)
    confine(limits)
    channel = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    def send(header: Mapping[str, Any], **blobs: Blob) -> None:
        for part in _encoded(header, blobs):
            channel.sendall(part)

    with channel, channel.makefile("rb") as incoming:
        try:
            handle(_read_blocking(incoming), send)
        except Problem as problem:
            send({"problem": [problem.code, problem.detail, problem.remedy]})
        except BrokenPipeError:
            return 1
        except Exception as error:
            if not _lacks_memory(error):
                traceback.print_exc()
                return 1
            text = f"the file needs more than the {limits.memory_mb} MB of memory that reading it may take"
            send({"problem": ["undecodable_media", text, None]})
    return 0


def _lacks_memory(error: Exception) -> bool:
    """A library may be what no longer fits, too: the loader has no error of its own for that (glibc, dl-load.c)."""
    unmapped = isinstance(error, ImportError) and "failed to map segment" in str(error)
    return unmapped or isinstance(error, MemoryError)


def _encoded(header: Mapping[str, Any], blobs: Mapping[str, Blob]) -> list[bytes | memoryview]:
    table, parts = [], []
    for name, blob in blobs.items():
        kind, shape = (None, None) if isinstance(blob, bytes) else (blob.dtype.str, blob.shape)
        part = blob if isinstance(blob, bytes) else memoryview(blob.tobytes())
        table.append((name, kind, shape, len(part)))
        parts.append(part)
    text = json.dumps({**header, "blobs": table}, separators=(",", ":")).encode()
    _bounded(len(text), MAX_HEADER)
    return [_LENGTH.pack(len(text)) + text, *parts]


def _read_blocking(incoming: BinaryIO) -> Message:
    header = json.loads(incoming.read(_bounded(_LENGTH.unpack(incoming.read(_LENGTH.size))[0], MAX_HEADER)))
    blobs = {
        name: _blob(incoming.read(_bounded(size, MAX_BLOB)), kind, shape)
        for name, kind, shape, size in header.pop("blobs")
    }
    return Message(header, blobs)


def _blob(data: bytes, kind: str | None, shape: list[int] | None) -> Blob:
    if kind is None:
        return data
    import numpy as np

    return np.frombuffer(data, np.dtype(kind)).reshape(shape or ())


def _bounded(size: int, limit: int) -> int:
    if not 0 <= size <= limit:
        raise ConnectionError(f"{size} bytes are more than the {limit} of a message's part")
    return size


def _environment() -> dict[str, str]:
    """Nothing of the parent's secrets; one thread of BLAS and few arenas, as each takes address space."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    place = str(Path(__file__).resolve().parents[2])
    return {**kept, "PYTHONPATH": place, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


def _log_failure(module: str, code: int, tail: str) -> None:
    import logging

    logging.getLogger(__name__).error("%s ended with status %d: %s", module, code, tail)
