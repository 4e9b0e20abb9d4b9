"""Scene boundaries: how well they are found on labelled clips, and what finding them costs beyond decoding."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import av
from threadpoolctl import threadpool_limits

from serve_app.annotation.scenes import DETECTORS
from serve_app.evaluation.scenes import Boundary, Score, score, split
from serve_app.media.video import Video
from tests.benchmarks.report import Result, progress, table
from tests.benchmarks.scene_clips import DISTURBANCES, JOINS, Clip, generate, photographs
from tests.conftest import shared_place

TOLERANCE = 1
PEERS = ("ContentDetector", "AdaptiveDetector")
BACKENDS = ("opencv", "pyav")
NO_PEER = "PySceneDetect is not installed: its rows are left out (`pip install scenedetect opencv-python-headless`)."
REAL: dict[str, tuple[Boundary, ...]] = {
    "nasa_multistream.mp4": ((126, 140), (202, 202)),
    "psd_testvideo_scenes.mp4": (
        (30, 30), (180, 180), (207, 245), (320, 361), (391, 425), (540, 565), (665, 695),
    ),
}  # fmt: skip
"""Of the shared clips: hard cuts by their manifest, fades and dissolves by eye, with what the detectors said in view.
The others are one scene each. Our thresholds were set on these clips too, so they compare detectors on seen data."""
TIMED = "psd_testvideo_scenes.mp4"

Found = dict[str, list[int]]
Tally = dict[str, dict[str, Score]]
"""By group of clips, by detector."""


def run(quick: bool) -> Result:
    shared = shared_place() if (shared_place() / "media").is_dir() else None
    with tempfile.TemporaryDirectory() as folder:
        clips = generate(Path(folder), photographs(shared, half=1), seed=1, repeats=1)
        progress(f"scenes: {len(clips)} clips of {sum(clip.frames for clip in clips):,} frames")
        every = _tally(_generated(clips[::9] if quick else clips))
    texts = [f"Found within {TOLERANCE} frame, on {len(clips)} generated clips:", _scores(every)]
    if shared:
        real = _tally(_real(shared))
        every |= {f"shared media: {name}": scores for name, scores in real.items()}
        texts += [
            "On the shared clips, of which most are one scene, and on which our thresholds were set:",
            _scores(real),
        ]
        with threadpool_limits(1):  # as in the process that decodes: BLAS threads spin on cores that decoding needs
            times = _times(shared / "media" / "video" / TIMED, 1 if quick else 7)
        texts.append(_costs(times))
    else:
        times = {}
    if not _peers():
        texts.append(NO_PEER)
    raw = {group: {name: vars(one) for name, one in scores.items()} for group, scores in every.items()}
    return Result("\n\n".join(texts), {"scores": raw, "seconds": times})


def _generated(clips: Sequence[Clip]) -> Iterator[tuple[Path, tuple[Boundary, ...], tuple[str, ...]]]:
    for clip in clips:
        yield clip.path, clip.boundaries, ("all", clip.join, clip.disturbance)


def _real(shared: Path) -> Iterator[tuple[Path, tuple[Boundary, ...], tuple[str, ...]]]:
    for path in sorted((shared / "media" / "video").iterdir()):
        if path.suffix != ".txt":
            yield path, REAL.get(path.name, ()), ("all", *((path.name,) if path.name in REAL else ()))


def _tally(labelled: Iterator[tuple[Path, tuple[Boundary, ...], tuple[str, ...]]]) -> Tally:
    tally: Tally = defaultdict(lambda: defaultdict(Score))
    for number, (path, boundaries, groups) in enumerate(labelled):
        for name, starts in (_ours(path) | _theirs(path)).items():
            for group in groups:
                tally[group][name] += score(starts, boundaries, TOLERANCE)
        if number % 10 == 0:
            progress(f"scenes: {path.name}")
    return tally


def _ours(path: Path) -> Found:
    with closing(Video(str(path))) as video:
        return split(video, {name: make() for name, make in DETECTORS.items()}).boundaries


def _peers() -> bool:
    return importlib.util.find_spec("scenedetect") is not None and importlib.util.find_spec("cv2") is not None


def _theirs(path: Path, peers: Sequence[str] = PEERS, backend: str = "opencv") -> Found:
    if not _peers():
        return {}
    import scenedetect

    found = {}
    for name in peers:
        scenes = scenedetect.detect(str(path), getattr(scenedetect, name)(), backend=backend)
        found[f"PySceneDetect {name}"] = [start.frame_num for start, _ in scenes[1:]]
    return found


def _scores(tally: Tally) -> str:
    groups = [group for group in ("all", *JOINS, "none", *DISTURBANCES, *REAL) if group in tally]
    names = list(tally["all"])
    heads = ["F1 (precision / recall)", *names]
    return table(heads, [[_group(group), *(_cell(tally[group][name]) for name in names)] for group in groups])


def _group(group: str) -> str:
    return {"none": "one scene (false boundaries)"}.get(group, group)


def _cell(one: Score) -> str:
    if not one.labelled:
        return f"{one.found} false"
    return f"**{one.f1:.3f}** ({one.precision:.2f} / {one.recall:.2f})"


def _times(path: Path, repeats: int) -> dict[str, dict[str, float]]:
    """The least seconds of ``repeats`` rounds that take turns, by the clock and of all threads' work."""
    ways: dict[str, Callable[[], object]] = {"bare decoding": lambda: _decode(path)}
    for name in DETECTORS:
        ways[f"ours, {name}"] = lambda name=name: _split(path, name)  # type: ignore[misc]
    if _peers():
        for peer in PEERS:
            for backend in BACKENDS:
                ways[f"PySceneDetect {peer}, {backend}"] = lambda p=peer, b=backend: _theirs(path, (p,), b)  # type: ignore[misc]
    least: dict[str, dict[str, float]] = {name: {"wall": float("inf"), "work": float("inf")} for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            wall, work = time.perf_counter(), time.process_time()
            way()
            spent = {"wall": time.perf_counter() - wall, "work": time.process_time() - work}
            least[name] = {key: min(value, least[name][key]) for key, value in spent.items()}
        progress(f"scenes: {least}")
    return least


def _decode(path: Path) -> int:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        return sum(1 for _ in container.decode(stream))


def _split(path: Path, name: str) -> Found:
    with closing(Video(str(path))) as video:
        return split(video, {name: DETECTORS[name]()}).boundaries


def _costs(times: Mapping[str, Mapping[str, float]]) -> str:
    bare = times["bare decoding"]
    rows = [
        [name, spent["wall"], spent["wall"] / bare["wall"], spent["work"], spent["work"] / bare["work"]]
        for name, spent in times.items()
    ]
    heads = ["720 frames of 1280 x 720, H.264", "seconds", "times bare", "CPU seconds", "times bare"]
    return table(heads, rows)
