"""A 3D model is read in a process of its own and drawn from all around; all its views go to the annotators at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deployments.replica import ship
from graphs.annotators import Annotators, Picture
from graphs.calls import call, stream
from graphs.findings import Findings
from graphs.image import parse
from graphs.places import Places
from graphs.recipe import Recipe
from graphs.shape_answers import ANNOTATORS, info, results, views
from graphs.uploads import check_shape, near, passing
from serve_app.catalog import Job, LeaseLostError
from serve_app.errors import Problem
from serve_app.media import mesh_process, previews
from serve_app.media.enclosure import NamedCamera, Rings, dollhouse, views_of
from serve_app.media.mesh_process import LoadedMesh, MeshFacts, MeshLimits, Up
from serve_app.media.meshes import Mesh
from serve_app.media.rendering import Renderer, Style
from serve_app.wire import ports, schemas

REQUEST_S = 570.0
"""A request is answered within this, just below the proxy's own limit; jobs have no such bound."""
LONG = "post it as an asset: a job takes the time it needs"
KEPT, KEPT_BYTES = 4, 32 * 1024 * 1024
"""How many meshes are kept that were read last, and the largest that is."""
SILENT_S = 400.0
"""Without any progress for so long, a 3D model is given up; reading it may take as long as the limits say."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Drawing:
    """How 3D models are read and drawn: what a file may ask for, from where it is seen, how large and how often."""

    limits: MeshLimits
    rings: Rings
    size: int = 1024
    thumbnail_size: int = 512
    turntable_size: int = 320
    turntable_frames: int = 24


@dataclass(frozen=True)
class ShapeRequest:
    """A stored file to annotate, its hash, and what is asked of it; ``up`` where the client knows better than the
    format. ``job`` where one does it: a reader cannot see its caller die, but that a job is held."""

    file: str
    sha256: str
    annotators: tuple[str, ...]
    up: Up | None = None
    pictures: bool = False
    job: Job | None = None
    model: str | None = None
    """Another encoder than the configured one, for vectors."""


@dataclass(frozen=True)
class Step:
    """How far the annotation is."""

    stage: Literal["load", "render", "annotate"]
    progress: float


@dataclass(frozen=True)
class Preview:
    """A file that shows a 3D model; ``width`` and ``height`` in pixels."""

    name: str
    media_type: str
    data: bytes
    width: int
    height: int


PREVIEWS = ("thumbnail.png", "thumbnail.webp", "turntable.gif", "turntable.webp")
"""All that there are, by name."""


@dataclass(frozen=True)
class ShapeGraph(Recipe):
    """Annotation and previews of stored 3D models; it runs where the renderer runs, with the annotators' handles."""

    annotators: Annotators
    places: Places
    drawing: Drawing

    def prepare(self) -> None:
        """Open the renderer and draw a triangle, so that ready means warm."""
        triangle = Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
        self.renderer.render(triangle, [camera.camera for camera in views_of(triangle)[:1]], Style(size=32))

    @property
    def device(self) -> str:
        """Where the renderer draws; Embree knows no GPU, and the other is chosen for one."""
        return "cpu" if self.renderer.name == "embree" else "cuda"

    @cached_property
    def renderer(self) -> Renderer:
        """The best that is installed for the device; opened where it is used first."""
        from serve_app.media.renderers import choose

        return choose()

    async def check(self, file: str) -> MeshFacts:
        """The facts of a stored 3D model; raises ``Problem`` where it cannot be read."""
        return (await self._load(file)).facts

    async def annotate(self, request: ShapeRequest) -> AsyncIterator[Step | schemas.ShapeAnnotation]:
        """How far it is while it lasts, the annotation as the last item. Raises ``Problem``."""
        times = [time.perf_counter()]
        yield Step("load", 0.0)
        loaded = await self._load(request.file, request.up)
        times.append(time.perf_counter())
        await self._check(request)
        yield Step("render", 0.2)
        cameras, pictures = await asyncio.to_thread(self._draw, loaded.mesh)
        facts = loaded.facts
        del loaded  # a large mesh is not kept while the annotators look
        times.append(time.perf_counter())
        await self._check(request)
        yield Step("annotate", 0.5)
        findings = await self._see(request, pictures)
        times.append(time.perf_counter())
        yield schemas.ShapeAnnotation(
            asset=info(facts, request.sha256),
            results=results(findings, self.annotators),
            views=views(cameras, pictures if request.pictures else None),
            notes=list(facts.notes),
            stage=_times(*times),
            view_keys=[f"{each.camera} {self.drawing.size}" for each in cameras],
        )

    async def previews(self, file: str, names: Sequence[str] = PREVIEWS) -> AsyncIterator[Preview]:
        """The previews of a stored 3D model as they are made. Raises ``Problem``."""
        mesh = (await self._load(file)).mesh
        hollow = await asyncio.to_thread(dollhouse, mesh)
        drawn: dict[str, Pixels] = {}
        for name in names:
            what, _, kind = name.partition(".")
            if what not in drawn:
                drawn = {what: await asyncio.to_thread(self._shown, what, mesh, hollow)}
            data = await asyncio.to_thread(_encoded, drawn[what], kind)
            height, width = drawn[what].shape[-3:-1]
            yield Preview(name, f"image/{kind}", data, width, height)

    async def _load(self, file: str, up: Up | None = None) -> LoadedMesh:
        """Read a stored file; who stores one has it checked, annotated and shown soon after, so a few are kept."""
        if (kept := self._kept.get((file, up))) is not None:
            return kept
        async with near(self.places.files, file) as descriptor:
            loaded = await mesh_process.load(descriptor, self.drawing.limits, up)
        if _bytes(loaded.mesh) <= KEPT_BYTES:
            self._kept[file, up] = loaded
            while len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return loaded

    @cached_property
    def _kept(self) -> dict[tuple[str, Up | None], LoadedMesh]:
        """What was read last, by its place; a stored file never changes."""
        return {}

    async def _check(self, request: ShapeRequest) -> None:
        job = request.job
        if job and not await asyncio.to_thread(self.places.catalog.jobs.held, job):
            raise LeaseLostError(f"job {job.id} is no longer held by {job.worker}")

    async def _see(self, request: ShapeRequest, pictures: Sequence[bytes]) -> dict[str, Findings]:
        """Every view goes to every annotator, all at once: they batch what comes together."""
        names = request.annotators
        findings = {name: Findings() for name in names}
        given = list(enumerate(self.annotators.picture(ship(picture), model=request.model) for picture in pictures))

        async def look(name: str, number: int, picture: Picture) -> None:
            findings[name].seen[number] = await self.annotators.see(name, picture)

        await asyncio.gather(
            *(findings[name].ask(name, partial(look, name, *each)) for name in names for each in given)
        )
        return findings

    def _draw(self, mesh: Mesh) -> tuple[tuple[NamedCamera, ...], list[bytes]]:
        """The cameras and what they see, as PNG."""
        import cv2

        cameras = views_of(mesh, self.drawing.rings)
        views = self.renderer.render(mesh, [each.camera for each in cameras], Style(size=self.drawing.size))
        fast = [cv2.IMWRITE_PNG_COMPRESSION, 1]
        return cameras, [cv2.imencode(".png", view[:, :, ::-1], fast)[1].tobytes() for view in views.colour]

    def _shown(self, what: str, mesh: Mesh, hollow: bool) -> Pixels:
        """uint8 [H, W, 4] of a thumbnail, [N, H, W, 3] of a turntable; one sees into a ``hollow`` mesh."""
        drawing = self.drawing
        if what == "thumbnail":
            return previews.thumbnail(self.renderer, mesh, drawing.thumbnail_size, cull_back_faces=hollow)
        frames, size = drawing.turntable_frames, drawing.turntable_size
        return previews.turntable(self.renderer, mesh, frames, size, cull_back_faces=hollow)


@dataclass(frozen=True)
class ShapeCalls:
    """The graph of 3D models as the doors and the jobs reach it: through the renderer, where it runs."""

    renderer: Any
    places: Places

    def parse_annotators(self, names: str | None) -> tuple[str, ...]:
        """``objects,captions`` to a tuple; all when None; ``bad_request`` for a name that is not an annotator."""
        return parse(names, tuple(ANNOTATORS), "3D models")

    async def annotate(
        self, upload: ports.Upload, annotators: Sequence[str], up: Up | None = None, pictures: bool = False
    ) -> schemas.ShapeAnnotation:
        """The annotation of a 3D model that is not kept; ``deadline`` where it takes longer than a request may."""
        check_shape(upload)
        async with _in_time(), passing(self.places.files, upload) as (file, sha256):
            request = ShapeRequest(file, sha256, tuple(annotators), up, pictures)
            async with aclosing(self.stored(request)) as updates:
                async for update in updates:
                    if isinstance(update, schemas.ShapeAnnotation):
                        return update
        raise AssertionError("unreachable")

    async def stored(self, request: ShapeRequest) -> AsyncIterator[Step | schemas.ShapeAnnotation]:
        """How far it is, and the annotation as the last item, of a stored file. Raises ``Problem``."""
        last: Step | schemas.ShapeAnnotation | None = None
        async with aclosing(self._stream("annotate", request)) as updates:
            async for update in updates:
                yield (last := update)
        if not isinstance(last, schemas.ShapeAnnotation):
            raise _gone()

    async def check(self, file: str) -> MeshFacts:
        """The facts of a stored 3D model; raises ``Problem`` where it cannot be read."""
        facts: MeshFacts = await call(self.renderer.check, file, timeout_s=SILENT_S)
        return facts

    async def previews(self, file: str) -> AsyncIterator[Preview]:
        """All previews of a stored 3D model. Raises ``Problem``."""
        left = set(PREVIEWS)
        async with aclosing(self._stream("previews", file, PREVIEWS)) as made:
            async for preview in made:
                left.remove(preview.name)
                yield preview
        if left:
            raise _gone()

    async def thumbnail(self, upload: ports.Upload) -> bytes:
        """A picture (PNG) of a 3D model that is not kept; ``deadline`` where it takes longer than a request may."""
        check_shape(upload)
        async with (
            _in_time(),
            passing(self.places.files, upload) as (file, _),
            aclosing(self._stream("previews", file, PREVIEWS[:1])) as made,
        ):
            async for preview in made:
                return preview.data
        raise _gone()

    async def _stream(self, method: str, *args: Any) -> AsyncIterator[Any]:
        async with aclosing(stream(self.renderer, method, *args, timeout_s=SILENT_S)) as items:
            async for item in items:
                if item is not None:  # it is another model's turn
                    yield item


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(REQUEST_S):
            yield
    except TimeoutError:
        raise Problem("deadline", f"the 3D model was not done within {REQUEST_S:g} s", LONG) from None


def _gone() -> Problem:
    return Problem("overloaded", "the renderer went away; try again")


def _bytes(mesh: Mesh) -> int:
    """Of its arrays and textures."""
    arrays = (mesh.vertices, mesh.faces, mesh.normals, mesh.uvs, mesh.colours, mesh.face_materials)
    textures = (material.texture for material in mesh.materials)
    return sum(array.nbytes for array in (*arrays, *textures) if array is not None)


def _encoded(pixels: Pixels, kind: Any) -> bytes:
    return previews.moving(pixels, kind) if pixels.ndim == 4 else previews.still(pixels, kind)


def _times(begun: float, loaded: float, drawn: float, seen: float) -> schemas.ShapeTimes:
    return schemas.ShapeTimes(
        load_s=loaded - begun, render_s=drawn - loaded, annotate_s=seen - drawn, total_s=seen - begun
    )  # fmt: skip
