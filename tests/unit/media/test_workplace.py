"""Folders for work in progress."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from serve_app.media.workplace import sweep, workplace

HOLD = """import sys; from serve_app.media.workplace import workplace
with workplace() as p: print(p, flush=True); sys.stdin.read()"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_it_is_gone_at_the_end_and_after_a_fault(here: Path) -> None:
    with workplace() as place:
        (place / "file").write_text("x")
        assert sweep() == 0
        assert (place / "file").exists()
    with pytest.raises(RuntimeError), workplace():
        raise RuntimeError
    assert list(here.iterdir()) == []


def test_what_a_killed_process_leaves_is_swept_and_what_another_holds_is_not(here: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        places = [Path(process.stdout.readline().strip()) for process in processes if process.stdout]
        (places[0] / "large").write_text("x")
        processes[0].kill()
        processes[0].wait()
        assert sweep() == 1
        assert [place.exists() for place in places] == [False, True]
    finally:
        for process in processes:
            process.communicate()
    assert sweep() == 0
    assert list(here.iterdir()) == []
