"""The annotators of pictures in a real service: each alone, and all of them on the same pictures."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import httpx

from graphs.annotators import ANNOTATORS
from tests.benchmarks import samples
from tests.benchmarks.processes import cpu_seconds, service
from tests.benchmarks.report import Result, progress, table
from tests.conftest import shared_place

CLIENTS = 8
ROUNDS = 3
ALL = "all together"


def run(quick: bool) -> Result:
    pictures = _pictures()[: 6 if quick else None]
    with service(args={"profile": "embedded"}) as running, httpx.Client(base_url=running.url, timeout=300) as client:
        first = _annotate(client, pictures[0], None)
        served = [name for name, each in ANNOTATORS.items() if first["results"][each.result]["status"] == "ok"]
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in (*served, ALL)}
        for _ in range(1 if quick else ROUNDS):
            for name in spent:
                asked = ",".join(served) if name == ALL else name
                before, started = sum(cpu_seconds(running).values()), time.perf_counter()
                with ThreadPoolExecutor(CLIENTS) as clients:
                    list(clients.map(lambda picture, asked=asked: _annotate(client, picture, asked), pictures))
                wall = time.perf_counter() - started
                spent[name].append((wall, sum(cpu_seconds(running).values()) - before))
                progress(f"annotators: {name}: {spent[name][-1]}")
    figures = {name: tuple(median(each[at] for each in rounds) for at in (0, 1)) for name, rounds in spent.items()}
    return Result(_text(figures, len(pictures)), {"seconds": figures, "pictures": len(pictures)})


def _pictures() -> list[bytes]:
    """Real photographs where there are any, else those that a package carries."""
    folder = shared_place() / "media" / "images"
    return [path.read_bytes() for path in sorted(folder.glob("coco_*.jpg"))] or samples.pictures()


def _annotate(client: httpx.Client, picture: bytes, annotators: str | None) -> dict[str, dict[str, dict[str, object]]]:
    answer = client.post(
        "/v1/annotate/image", files={"file": picture}, params={"annotators": annotators} if annotators else {}
    )
    answer.raise_for_status()
    return dict(answer.json())


def _text(figures: dict[str, tuple[float, ...]], pictures: int) -> str:
    alone = [figures[name] for name in figures if name != ALL]
    sums = tuple(sum(each[at] for each in alone) for at in (0, 1))
    rows: list[list[object]] = [[name, pictures / wall, wall, cpu] for name, (wall, cpu) in figures.items()]
    rows.append(["the sum of each alone", "", *sums])
    rows.append(["together / sum", "", *(figures[ALL][at] / sums[at] for at in (0, 1))])
    return table(["annotator", "images/s", "seconds", "CPU seconds"], rows)
