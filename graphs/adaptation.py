"""A stored video becomes a ladder of streams: encoded where the transcoder runs, stored from there, file by file."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from graphs.calls import call, stream
from graphs.places import Places
from graphs.recipe import Recipe
from graphs.uploads import near, passing
from serve_app.adaptation import direct, pictures
from serve_app.adaptation.adapt import Adapted, EncodeLimits, adapt
from serve_app.adaptation.direct import DirectLimits, Made
from serve_app.adaptation.ladder import Ladder, load_ladder
from serve_app.catalog import Job, LeaseLostError, NewRendition
from serve_app.catalog.rows import Kind
from serve_app.errors import Problem
from serve_app.media import ffmpeg
from serve_app.media.tracks import Source
from serve_app.media.tracks_process import probe
from serve_app.media.workplace import sweep, workplace
from serve_app.wire import ports

TICK_S = 0.5
"""Between two reports of how far an encoding is."""
SILENT_S = 120.0
"""A transcoder that reports nothing for so long is given up."""
DIGITS = 12
"""Of its digest that stand in the name of a stream, so that its content never changes."""
DIRECT_S = 90.0
"""What is made at once may take so long, with the wait for its turn."""
KEPT_BYTES = 64 * 1024 * 1024
"""Of what was made at once."""
ENCODED = 0.95
"""How far an adaptation is when all is encoded, and is to be stored."""


@dataclass(frozen=True)
class AdaptRequest:
    """A stored file to adapt, the preset, and the job that does it: the transcoder cannot see its caller die, but that
    a job is held."""

    file: str
    kind: Kind
    preset: str
    job: Job


@dataclass(frozen=True)
class DirectRequest:
    """A stored file, its hash, and what is to be made of it at once, in which format; ``side`` in pixels."""

    what: ports.Direct
    file: str
    sha256: str
    format: str
    side: int

    @property
    def key(self) -> tuple[str, str, str, int]:
        """The same for what would come out the same."""
        return self.sha256, self.what, self.format, self.side


@dataclass(frozen=True)
class Share:
    """How far the adaptation is, 0..1."""

    progress: float


@dataclass(frozen=True)
class AdaptGraph(Recipe):
    """Adapts stored files; it runs where FFmpeg runs."""

    places: Places
    limits: EncodeLimits

    def prepare(self) -> None:
        """Ask the binary what it can do, so that ready means it runs, and clear away what the last one left."""
        sweep()
        if not {encoder.encoder for encoder in self.ladder.encoders.values()} & ffmpeg.encoders():
            raise Problem("unavailable", f"{ffmpeg.binary()} has none of the ladder's encoders")

    @cached_property
    def ladder(self) -> Ladder:
        return load_ladder()

    @property
    def engine(self) -> str:
        """What encodes."""
        return ffmpeg.version()

    async def adapt(self, request: AdaptRequest) -> AsyncIterator[Share | NewRendition]:
        """How far it is while it lasts, then each file once it is stored. Raises ``Problem``."""
        if request.kind == "image":
            yield await asyncio.to_thread(self._picture, request)
            yield Share(1.0)
            return
        with workplace() as place:
            to = place / request.preset
            async with near(self.places.files, request.file) as descriptor:
                file = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
                async with aclosing(self._encoded(request, file, to)) as steps:
                    async for step in steps:
                        if isinstance(step, Share):
                            yield Share(ENCODED * step.progress)
                        else:
                            made = step
            sizes = {each.file.path.name: (each.out.width, each.out.height) for each in made.outputs.videos}
            for number, (name, media_type) in enumerate(made.files.items(), start=1):
                width, height = sizes.get(name, (None, None))
                stored = await asyncio.to_thread(self._stored, to / name)
                yield NewRendition(f"{request.preset}/{name}", media_type, *stored, width, height)
                yield Share(ENCODED + (1 - ENCODED) * number / len(made.files))

    async def probe(self, file: str) -> Source:
        """The tracks of a stored video or sound. Raises ``Problem``."""
        async with near(self.places.files, file) as descriptor:
            return await probe(descriptor, self.limits.source)

    async def direct(self, request: DirectRequest) -> Made:
        """What is made at once; what was made last is kept. Raises ``Problem``."""
        kept = self._kept
        if (made := kept.pop(request.key, None)) is None:
            async with near(self.places.files, request.file) as descriptor:
                made = await _made(request, Path(f"/proc/{os.getpid()}/fd/{descriptor}"), self.direct_limits)
        kept[request.key] = made
        while len(kept) > 1 and sum(len(each.data) for each in kept.values()) > KEPT_BYTES:
            del kept[next(iter(kept))]
        return made

    @cached_property
    def _kept(self) -> dict[tuple[str, str, str, int], Made]:
        """By content and parameters, the last used one last."""
        return {}

    @property
    def direct_limits(self) -> DirectLimits:
        return DirectLimits(self.limits.source)

    async def _encoded(self, request: AdaptRequest, file: Path, to: Path) -> AsyncIterator[Share | Adapted]:
        share = [0.0]
        encoding = asyncio.ensure_future(
            adapt(file, to, request.preset, self.ladder, lambda done: share.__setitem__(0, done), self.limits, DIGITS)
        )
        try:
            while not encoding.done():
                yield Share(share[0])
                await asyncio.wait([encoding], timeout=TICK_S)
                if not await asyncio.to_thread(self.places.catalog.jobs.held, request.job):
                    raise LeaseLostError(f"job {request.job.id} is no longer held by {request.job.worker}")
            yield encoding.result()
        finally:
            encoding.cancel()
            await asyncio.gather(encoding, return_exceptions=True)

    def _picture(self, request: AdaptRequest) -> NewRendition:
        preset = self.ladder.picture(request.preset)
        mark = self.ladder.watermark if preset.watermark else None
        made = pictures.render(self.places.files.read(request.file), preset.side, mark, preset.format)
        file = self.places.files.put(made.data, "")
        digest = hashlib.sha256(made.data).hexdigest()
        name = f"{request.preset}.{preset.format}"
        return NewRendition(name, made.media_type, len(made.data), digest, file, made.width, made.height)

    def _stored(self, path: Path) -> tuple[int, str, str]:
        """Bytes, digest and place of a file, stored."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            return path.stat().st_size, digest, self.places.files.put(file, "")


async def _made(request: DirectRequest, file: Path, limits: DirectLimits) -> Made:
    if request.what == "thumbnail":
        return await direct.thumbnail(file, request.side, cast(direct.Still, request.format), limits)
    if request.what == "summary":
        return await direct.summary(file, request.side, cast(direct.Moving, request.format), limits)
    return await direct.sound(file, cast(direct.Sound, request.format), limits)


@dataclass(frozen=True)
class TranscodeCalls:
    """The graph of adaptation as the doors and the jobs reach it: through the transcoder, where it runs."""

    transcoder: Any
    places: Places

    async def probe(self, file: str) -> Source:
        """The tracks of a stored video or sound. Raises ``Problem``."""
        source: Source = await call(self.transcoder.probe, file, timeout_s=DIRECT_S)
        return source

    async def direct(self, upload: ports.Upload, what: ports.Direct, format: str, side: int) -> tuple[bytes, str]:
        """What is made at once of a file that is not kept, and its media type. Raises ``Problem``."""
        if upload.size == 0:
            raise Problem("undecodable_media", "the file is empty")
        async with passing(self.places.files, upload) as (file, sha256):
            request = DirectRequest(what, file, sha256, format, side)
            made: Made = await call(self.transcoder.direct, request, timeout_s=DIRECT_S)
        return made.data, made.media_type

    async def adapt(self, request: AdaptRequest) -> AsyncIterator[Share | NewRendition]:
        """How far it is, and the files as they are stored. Raises ``Problem``."""
        progress = 0.0
        async with aclosing(stream(self.transcoder, "adapt", request, timeout_s=SILENT_S)) as items:
            async for item in items:
                if item is None:  # it is another file's turn
                    continue
                if isinstance(item, Share):
                    progress = item.progress
                yield item
        if progress < 1:
            raise Problem("overloaded", "the transcoder went away; try again")
