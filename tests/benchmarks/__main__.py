"""``python -m tests.benchmarks [NAME ...] [--quick]``."""

from __future__ import annotations

import argparse
import time

from tests.benchmarks import (
    actions,
    annotators,
    batcher,
    bulk,
    embedded,
    faces,
    faults,
    filters,
    nearest,
    peers,
    recommendation,
    renderers,
    report,
    scale,
    scenes,
    search,
    serving,
    shape3d,
    startup,
    video,
    visual_part,
)

BENCHES = {
    "serving": serving.run,
    "batcher": batcher.run,
    "bulk": bulk.run,
    "search": search.run,
    "nearest": nearest.run,
    "peers": peers.run,
    "faults": faults.run,
    "scale": scale.run,
    "recommendation": recommendation.run,
    "startup": startup.run,
    "models": embedded.run,
    "actions": actions.run,
    "video": video.run,
    "scenes": scenes.run,
    "shape3d": shape3d.run,
    "annotators": annotators.run,
    "faces": faces.run,
    "filters": filters.run,
    "visual-part": visual_part.run,
    "renderers": renderers.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; all when left out")
    parser.add_argument("--quick", action="store_true", help="small and short, to try the code; writes no document")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in BENCHES]:
        parser.error(f"no benchmark {', '.join(unknown)}")
    for name in options.names or BENCHES:
        started = time.monotonic()
        report.progress(f"{name}: starts")
        result = BENCHES[name](options.quick)
        report.publish(name, result, write=not options.quick)
        report.progress(f"{name}: done in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
