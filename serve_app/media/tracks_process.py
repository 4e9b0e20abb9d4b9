"""``tracks.read_tracks`` and ``key_frames.best_time`` in a child process, which holds one file and sends nothing but
what it found."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from typing import Any

from serve_app.errors import Problem
from serve_app.media.child import Child, Message, child_main, inheritable
from serve_app.media.confinement import ChildLimits
from serve_app.media.key_frames import best_time
from serve_app.media.tracks import AudioTrack, Source, SubtitleTrack, VideoTrack, read_tracks
from serve_app.media.video import Limits

IDLE_S = 60.0
"""For Python, PyAV, the headers and one frame on a busy machine."""

_MODULE = "serve_app.media.tracks_process"


async def probe(file: str | int, limits: Limits | None = None, idle_s: float = IDLE_S) -> Source:
    """The tracks of ``file``, a path or an open descriptor of a regular file.

    Raises ``Problem`` as ``read_tracks`` does, and as ``Child.receive``.
    """
    return (await _ask(file, False, limits or Limits(), idle_s))[0]


async def probe_best(file: str | int, limits: Limits | None = None, idle_s: float = IDLE_S) -> tuple[Source, float]:
    """The tracks of ``file``, and when its best key frame is shown; 0 where it has no pictures. Raises as ``probe``."""
    return await _ask(file, True, limits or Limits(), idle_s)


async def _ask(file: str | int, best: bool, limits: Limits, idle_s: float) -> tuple[Source, float]:
    with inheritable(file) as descriptor:
        rules = ChildLimits(limits.max_memory_mb, int(idle_s * (os.cpu_count() or 1)) + 1)
        async with await Child.start(_MODULE, (descriptor,), rules, idle_s) as child:
            await child.send({"file": descriptor, "best": best, "limits": asdict(limits)})
            message = await child.receive()
    if message is None:
        raise Problem("internal", "the process that reads videos ended without an answer")
    return _source(message.header["source"]), float(message.header["best_s"])


def _source(found: dict[str, Any]) -> Source:
    video = found["video"]
    return Source(
        **found
        | {
            "video": video and VideoTrack(**video | {"rate": Fraction(video["rate"])}),
            "audios": tuple(AudioTrack(**each) for each in found["audios"]),
            "subtitles": tuple(SubtitleTrack(**each) for each in found["subtitles"]),
            "notes": tuple(found["notes"]),
        }
    )


def _handle(request: Message, send: Callable[..., None]) -> None:
    """In the child: answers one request."""
    # The descriptor by its path, so that FFmpeg opens it anew: a file that was unlinked still has one.
    path = f"/proc/self/fd/{request.header['file']}"
    source = read_tracks(path, Limits(**request.header["limits"]))
    best_s = best_time(path, source) if request.header["best"] and source.video is not None else 0.0
    found = asdict(source)
    if source.video is not None:
        found["video"]["rate"] = str(source.video.rate)
    send({"source": found, "best_s": best_s})


if __name__ == "__main__":
    sys.exit(child_main(_handle))
