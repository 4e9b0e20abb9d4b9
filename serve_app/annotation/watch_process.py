"""The pass of ``watch.py`` in a child process, which decodes one file and sends nothing but events."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import asdict, fields

from serve_app.annotation.watch import Clip, Clips, Done, Event, Opened, Plan, Progress, Scene, Second, Still
from serve_app.errors import Problem
from serve_app.media.child import Child, Message, child_main, inheritable
from serve_app.media.confinement import ChildLimits
from serve_app.media.video import Limits, VideoInfo

IDLE_S = 60.0
"""A decoder that says nothing for so long has hung; it tells of its progress several times a second."""

_MODULE = "serve_app.annotation.watch_process"
_BLOBS = ("picture", "pixels")
_EVENTS: dict[str, Callable[..., Event]] = {
    kind.__name__: kind for kind in (Progress, Scene, Still, Second, Clip, Done)
}


async def watch(file: str | int, plan: Plan, idle_s: float = IDLE_S) -> AsyncGenerator[Event, None]:
    """The events of one pass over ``file``, a path or an open descriptor of a regular file, ending in ``Done``.

    The decoder stops while no event is asked for, and is killed when the iterator is closed or its task cancelled.
    Raises ``Problem`` as ``video.Video`` and ``watch_frames`` do, and as ``Child.receive``.
    """
    with inheritable(file) as descriptor:
        async with await _start(descriptor, plan.limits, idle_s) as child:
            await child.send({"file": descriptor, "plan": asdict(plan)})
            while (message := await child.receive()) is not None:
                yield _event(message)


async def probe(file: str | int, limits: Limits, idle_s: float = IDLE_S) -> VideoInfo:
    """What the headers and the first frame tell of ``file``. Raises ``Problem`` as :func:`watch` does."""
    with inheritable(file) as descriptor:
        async with await _start(descriptor, limits, idle_s) as child:
            await child.send({"file": descriptor, "limits": asdict(limits)})
            message = await child.receive()
    if message is None:
        raise Problem("internal", "the process that reads videos ended without an answer")
    return VideoInfo(**message.header["info"])


async def _start(descriptor: int, limits: Limits, idle_s: float) -> Child:
    cpu_s = int(limits.max_decode_s * (os.cpu_count() or 1)) + 60
    return await Child.start(_MODULE, (descriptor,), ChildLimits(limits.max_memory_mb, cpu_s), idle_s)


def _event(message: Message) -> Event:
    header = message.header
    name = header.pop("event")
    if name == "Opened":
        return Opened(VideoInfo(**header["info"]))
    return _EVENTS[name](**{**header, **message.blobs})


def _handle(request: Message, send: Callable[..., None]) -> None:
    """In the child: answers one request."""
    from serve_app.annotation.watch import watch_frames
    from serve_app.media.video import Video

    header = request.header
    # The descriptor by its path, so that FFmpeg opens it anew: a file that was unlinked still has one.
    path = f"/proc/self/fd/{header['file']}"
    if "plan" not in header:
        send({"info": asdict(Video(path, Limits(**header["limits"])).info)})
        return
    plan = _plan(header["plan"])
    for event in watch_frames(Video(path, plan.limits), plan):
        if isinstance(event, Opened):
            send({"event": "Opened", "info": asdict(event.info)})
            continue
        values = {field.name: getattr(event, field.name) for field in fields(event)}
        blobs = {name: values.pop(name) for name in _BLOBS if name in values}
        send({"event": type(event).__name__, **values}, **blobs)


def _plan(values: dict[str, object]) -> Plan:
    limits, clips = values.pop("limits"), values.pop("clips")
    return Plan(**values, limits=Limits(**limits), clips=Clips(**clips) if clips else None)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(child_main(_handle))
