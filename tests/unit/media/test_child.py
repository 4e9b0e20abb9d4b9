"""Children that crash, hang, flood and outlive: what the parent gets to know, and that nothing is left."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve_app.errors import Problem
from serve_app.media.child import Child
from serve_app.media.confinement import ChildLimits

MODULE = "tests.unit.media.odd_child"


def is_gone(pid: int, patience_s: float = 5.0) -> bool:
    """Whether the process has ended (a zombie has), within ``patience_s``."""
    until = time.monotonic() + patience_s
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(0.01)


async def ask(do: str, limits: ChildLimits | None = None, idle_s: float = 20.0, **more: Any) -> Any:
    async with await Child.start(MODULE, (), limits, idle_s) as child:
        await child.send({"do": do, **more})
        message = await child.receive()
        assert message is not None
        assert await child.receive() is None
        return message


def test_headers_and_blobs_go_there_and_back() -> None:
    async def converse() -> None:
        arrays = {"a": np.arange(600_000, dtype=np.uint8).reshape(3, 100, 2000), "b": np.array(2.5, np.float32)}
        async with await Child.start(MODULE) as child:
            await child.send({"do": "echo", "time": 0.1 + 0.2, "none": None}, **arrays, plain=b"\0" * 70_000)
            message = await child.receive()
            assert message is not None
            assert message.header == {"do": "echo", "time": 0.1 + 0.2, "none": None}
            assert message.blobs["plain"] == b"\0" * 70_000
            for name, array in arrays.items():
                blob = message.blobs[name]
                assert isinstance(blob, np.ndarray)
                assert blob.dtype == array.dtype
                assert np.array_equal(blob, array)
            assert await child.receive() is None
        assert is_gone(child.pid, 0)

    asyncio.run(converse())


def test_a_child_has_its_file_its_limits_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "hush")
    (tmp_path / "given").write_text("given")
    (tmp_path / "other").write_text("other")

    async def converse() -> tuple[int, int, dict[str, Any]]:
        with open(tmp_path / "given") as given, open(tmp_path / "other") as other:
            os.set_inheritable(other.fileno(), True)
            async with await Child.start(MODULE, (given.fileno(),), ChildLimits(1000, 77, 33)) as child:
                await child.send({"do": "look"})
                message = await child.receive()
                assert message is not None
                return child.pid, given.fileno(), message.header

    pid, given, seen = asyncio.run(converse())
    targets = {int(name): target for name, target in seen["fds"].items()}
    assert targets.pop(given) == str(tmp_path / "given")
    assert all(target.startswith(("socket:", "/dev/null", "/proc/")) or not target for target in targets.values())
    assert "A_SECRET" not in seen["environment"]
    assert seen["group"] == pid
    for name, value in (("Max address space", 1000 << 20), ("Max cpu time", 77), ("Max open files", 33),
                        ("Max core file size", 0), ("Max file size", 0)):  # fmt: skip
        line = next(line for line in seen["limits"].splitlines() if line.startswith(name))
        assert str(value) in line.split(), line


@pytest.mark.parametrize(
    ("do", "limits", "code", "words"),
    [
        ("problem", None, "too_large", "it is"),
        ("segfault", None, "undecodable_media", "SIGSEGV"),
        ("memory", ChildLimits(1000), "undecodable_media", "1000 MB"),
        ("spin", ChildLimits(cpu_s=1), "undecodable_media", "SIGXCPU"),
        ("fault", None, "internal", "failed"),
        ("half", None, "internal", "failed"),
    ],
)
def test_what_ends_a_child_is_told(do: str, limits: ChildLimits | None, code: str, words: str) -> None:
    with pytest.raises(Problem, match=words) as caught:
        asyncio.run(ask(do, limits))
    assert caught.value.code == code
    assert caught.value.remedy == ("less" if do == "problem" else None)


def test_the_end_of_what_a_failing_child_wrote_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Problem):
        asyncio.run(ask("fault"))
    [record] = caplog.records
    assert "ValueError: a fault of its own" in record.getMessage()
    assert len(record.getMessage()) < 5000


def test_a_silent_child_is_given_up() -> None:
    async def wait() -> tuple[int, float]:
        async with await Child.start(MODULE, idle_s=20) as child:
            await child.send({"do": "sleep"})
            await child.receive()
            child._idle_s = 0.3
            began = time.monotonic()
            with pytest.raises(Problem, match="no progress") as caught:
                await child.receive()
            assert caught.value.code == "undecodable_media"
            return child.pid, time.monotonic() - began

    pid, waited = asyncio.run(wait())
    assert is_gone(pid, 0)
    assert 0.3 <= waited < 5


def test_closing_kills_the_whole_group_at_once() -> None:
    async def start() -> list[int]:
        async with await Child.start(MODULE) as child:
            await child.send({"do": "parent"})
            message = await child.receive()
            assert message is not None
            return [child.pid, message.header["grandchild"]]

    began = time.monotonic()
    pids = asyncio.run(start())
    assert all(is_gone(pid) for pid in pids)
    assert time.monotonic() - began < 20


def test_cancelling_kills_and_reaps() -> None:
    async def cancel() -> int:
        pids = []

        async def wait() -> None:
            async with await Child.start(MODULE) as child:
                pids.append(child.pid)
                await child.send({"do": "sleep"})
                while await child.receive():
                    pass

        task = asyncio.create_task(wait())
        while not pids:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pids[0]

    assert not Path(f"/proc/{asyncio.run(cancel())}").exists()


def test_a_child_waits_for_a_slow_parent() -> None:
    async def dawdle() -> list[int]:
        async with await Child.start(MODULE) as child:
            await child.send({"do": "flood"})
            numbers = []
            for _ in range(3):
                message = await child.receive()
                assert message is not None
                numbers.append(message.header["number"])
            before = cpu_s(child.pid)
            await asyncio.sleep(0.5)
            assert cpu_s(child.pid) - before < 0.1
            return numbers

    assert asyncio.run(dawdle()) == [0, 1, 2]


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_child_dies_with_its_parent() -> None:
    script = (
        "import asyncio, os, sys\n"
        "from serve_app.media.child import Child\n"
        "async def main():\n"
        f"    child = await Child.start({MODULE!r})\n"
        "    await child.send({'do': 'parent'})\n"
        "    await child.receive()\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert not is_gone(pid, 0.05)
        parent.kill()
    assert is_gone(pid)


def test_many_children_at_once() -> None:
    async def several() -> list[Any]:
        tasks: list[Coroutine[Any, Any, Any]] = [ask("echo", number=number) for number in range(6)]
        return await asyncio.gather(*tasks)

    assert [message.header["number"] for message in asyncio.run(several())] == list(range(6))


def test_without_the_module_the_failure_is_internal() -> None:
    async def start() -> None:
        async with await Child.start("tests.unit.media.no_such_child") as child:
            await child.send({})
            await child.receive()

    with pytest.raises(Problem) as caught:
        asyncio.run(start())
    assert caught.value.code == "internal"
