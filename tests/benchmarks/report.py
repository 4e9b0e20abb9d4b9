"""Progress lines, tables, raw figures, and the document they are published in."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serve_app.models.sessions import gpus

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "benchmarks.md"

_started = time.monotonic()


@dataclass(frozen=True)
class Result:
    """What a benchmark found: markdown for the reader and the raw figures behind it."""

    text: str
    raw: Any
    document: Path = DOCUMENT


def progress(line: str) -> None:
    print(f"[{time.monotonic() - _started:6.1f} s] {line}", flush=True)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table; floats get three significant digits."""
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def machine() -> str:
    """Cores this process may use, their model, the memory and GPUs."""
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert memory is not None
    name = model[1].strip() if model else "unknown processor"
    accelerators = f"{gpus()} GPUs" if gpus() else "no GPU"
    return f"{len(os.sched_getaffinity(0))} cores ({name}), {int(memory[1]) / 2**20:.0f} GiB of memory, {accelerators}"


def publish(name: str, result: Result, *, write: bool) -> None:
    """Print the tables, keep the raw figures as JSON, and put the tables between the document's markers."""
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    source = f"`.venv/bin/python -m tests.benchmarks {name}` · {machine()} · {day}"
    print(f"\n{result.text}\n", flush=True)
    raw = Path(tempfile.gettempdir()) / "mediaverse-bench" / f"{name}{'' if write else '-quick'}.json"
    raw.parent.mkdir(exist_ok=True)
    raw.write_text(json.dumps({"machine": machine(), "date": day, "figures": result.raw}, indent=1))
    progress(f"{name}: raw figures in {raw}")
    if write:
        _replace(result.document, name, f"{result.text}\n\n{source}")


def _replace(document: Path, name: str, text: str) -> None:
    first, last = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    before, found, rest = document.read_text(encoding="utf-8").partition(first)
    _, ended, after = rest.partition(last)
    if not (found and ended):
        raise ValueError(f"{document} lacks {first} ... {last}")
    document.write_text(f"{before}{first}\n{text}\n{last}{after}", encoding="utf-8")


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
