"""Real catalog, files, shards and profile code behind handles that call them in this process."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deployments.batcher import settled
from graphs.adapt_work import AdaptWork
from graphs.adaptation import AdaptGraph, TranscodeCalls
from graphs.annotators import Annotators, Models
from graphs.assets import AssetGraph
from graphs.embedding import ENCODER, SENTENCES, Embedding
from graphs.image import ImageGraph
from graphs.index import IndexGraph
from graphs.jobs import JobGraph
from graphs.people import PeopleGraph
from graphs.places import Places
from graphs.processing import ProcessingGraph
from graphs.quick import QuickWork
from graphs.recommendation import RecommendationGraph
from graphs.reindex import Reindexing
from graphs.retrieval import RetrievalGraph
from graphs.shape3d import Drawing, ShapeCalls, ShapeGraph
from graphs.shape_work import ShapeWork
from graphs.upkeep import Upkeep
from graphs.video import Reading, VideoCalls, VideoGraph
from graphs.video_work import VideoWork
from serve_app.adaptation.adapt import EncodeLimits
from serve_app.adaptation.ladder import load_ladder
from serve_app.annotation.descriptor import Described, KeptFace
from serve_app.annotation.labels import FoundFace, Label
from serve_app.catalog import NewContent, Served
from serve_app.media.enclosure import Rings
from serve_app.media.mesh_process import MeshLimits
from serve_app.media.video import Limits
from serve_app.models.manifest import load_manifest
from serve_app.recommendation.keeper import Keeper
from serve_app.recommendation.seeds import Asked
from serve_app.retrieval.hits import Hits, Query
from serve_app.retrieval.shard import Shard
from serve_app.retrieval.thresholds import Thresholds

DIM = 16
TEXT_DIM = 12
"""Of the sentence encoder: another than the first one's, as in truth."""
THRESHOLDS: Thresholds = {
    ("text", "image"): 0.24,
    ("image", "text"): 0.23,
    ("text", "text"): 0.6,
    ("text", "shape3d"): 0.24,
}
"""Those of D3.2, section 3.6; views of 3D assets take those of pictures."""
REVISION = load_manifest().models["clip-embedded"].key


class Method:
    """What a handle's method looks like: ``remote`` gives something to await."""

    def __init__(self, function: Any) -> None:
        self.remote = function


class Answer:
    """Something to await, or to leave: Serve's responses need not be awaited either."""

    def __init__(self, function: Callable[[], Awaitable[Any]]) -> None:
        self.function = function

    def __await__(self) -> Generator[Any, None, Any]:
        return self.function().__await__()


class Items:
    """What a streaming call gives; leaving it is not enough, it has to be cancelled."""

    def __init__(self, items: AsyncIterator[Any]) -> None:
        self.items: Any = items
        self.closing: asyncio.Future[None] | None = None

    def __aiter__(self) -> Items:
        return self

    async def __anext__(self) -> Any:
        return await anext(self.items)

    def cancel(self) -> None:
        self.closing = asyncio.ensure_future(self.items.aclose())


class Streams:
    """A handle's streaming side."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle

    def __getattr__(self, name: str) -> Method:
        def remote(*args: Any) -> Items:
            self.handle.calls.append((name, *args))
            if self.handle.fault is not None:
                raise self.handle.fault
            return Items(getattr(self.handle.target, name)(*args))

        return Method(remote)


class Handle:
    """Calls an object's asynchronous methods as a handle would; raises ``fault`` instead while there is one."""

    def options(self, *, stream: bool) -> Streams:
        assert stream
        return Streams(self)

    def __init__(self, target: Any) -> None:
        self.target = target
        self.fault: BaseException | None = None
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Method:
        async def answer(*args: Any) -> Any:
            if self.fault is not None:
                raise self.fault
            return await getattr(self.target, name)(*args)

        def remote(*args: Any) -> Answer:
            self.calls.append((name, *args))
            return Answer(lambda: answer(*args))

        return Method(remote)


class Texts:
    """Encodes some texts at once as one by one, each with its own fault."""

    async def encode_texts(self, texts: list[str], *more: Any) -> list[Any]:
        return await settled([self.encode_text(text, *more) for text in texts])

    async def encode_text(self, text: str, *more: Any) -> dict[str, Any]:
        raise NotImplementedError


class Encoder(Texts):
    """Vectors that a test chose for a text or a picture, else any, always the same for the same content."""

    def __init__(self) -> None:
        self.chosen: dict[str | bytes, NDArray[np.float32]] = {}
        self.limit = 1000

    async def encode_text(self, text: str, *more: Any) -> dict[str, Any]:
        return {"vector": self.vector(text), "truncated": len(text) > self.limit}

    async def encode_image(self, payload: bytes, model: str | None = None) -> NDArray[np.float32]:
        return self.vector(payload)

    def vector(self, content: str | bytes) -> NDArray[np.float32]:
        if content in self.chosen:
            return self.chosen[content]
        data = content.encode() if isinstance(content, str) else content
        seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "little")
        return unit(np.random.default_rng(seed).normal(size=DIM))


class Detector:
    """Sees always the same."""

    def __init__(self, *labels: Label) -> None:
        self.labels = list(labels)

    async def detect(self, payload: bytes) -> list[Label]:
        return self.labels

    async def find(self, payload: bytes) -> list[FoundFace]:
        return [FoundFace(label.box or (0, 0, 9, 9), label.confidence) for label in await self.detect(payload)]


class Judge:
    """Says the same of every picture, or of every vector."""

    def __init__(self, value: float) -> None:
        self.value = value

    async def score(self, payload: bytes) -> float:
        return self.value

    async def score_vector(self, vector: NDArray[np.float32]) -> float:
        return self.value

    async def explain(self, payload: bytes) -> tuple[float, bytes]:
        return self.value, png()


class Describer:
    """Every face looks as its number in the picture says, whatever the picture: 0 and 0 are one person."""

    async def describe(self, payload: bytes, faces: Sequence[FoundFace]) -> Described:
        vectors = np.eye(8, dtype=np.float32)[: len(faces)]
        return Described(vectors, [KeptFace(payload, face.box, face.landmarks) for face in faces])


class Reader:
    """Reads the same in every picture."""

    def __init__(self, *labels: Label) -> None:
        self.labels = list(labels)

    async def read(self, payload: bytes) -> list[Label]:
        return self.labels


class Recognizer:
    """Sees the same in every clip."""

    async def recognize(self, payload: Any) -> list[Label]:
        return [Label("pan left", 0.7)]


class Sentences(Texts):
    """Vectors that a test chose for a text, else any, of another dimension than the encoder's."""

    def __init__(self) -> None:
        self.chosen: dict[str, NDArray[np.float32]] = {}
        self.limit = 2000

    async def encode_text(self, text: str, *more: Any) -> dict[str, Any]:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[8:16], "little")
        some = np.random.default_rng(seed).normal(size=TEXT_DIM)
        return {"vector": self.chosen.get(text, unit(some, TEXT_DIM)), "truncated": len(text) > self.limit}


class Searcher:
    """A real shard of each revision that is asked for; one thread owns them, here the event loop's."""

    def __init__(self, log: Any, number: int, shards: int) -> None:
        self.log, self.number, self.count = log, number, shards
        self.shards: dict[str, Shard] = {}
        self.waits = 0
        """So many times ``prepare`` is not done yet."""

    async def search(self, queries: list[Query]) -> list[dict[str, Hits]]:
        return [self.open(query.revision, len(query.vector)).search([query])[0] for query in queries]

    async def prepare(self, revision: str, dim: int) -> bool:
        self.waits -= 1
        self.open(revision, dim).catch_up()
        return self.waits < 0

    async def release(self, revision: str) -> None:
        self.shards.pop(revision, None)

    async def status(self) -> dict[str, Any]:
        return {"revisions": sorted(self.shards)}

    def open(self, revision: str, dim: int) -> Shard:
        if revision not in self.shards:
            self.shards[revision] = Shard(self.log, revision, dim, shard=self.number, shards=self.count)
        return self.shards[revision]


class Recommender:
    """The real profiles, read and kept as the deployment does; what is old is renewed when a test says so."""

    def __init__(self, catalog: Any) -> None:
        self.keeper = Keeper(catalog)
        self.stale: list[tuple[Any, ...]] = []

    async def plan(self, asked: Asked) -> Any:
        planned, stale = await asyncio.to_thread(self.keeper.plan, asked)
        self.stale += [(asked.user, kind, asked.revision) for kind in stale]
        return planned

    async def starter(self, revision: str, k: int) -> Any:
        return (await asyncio.to_thread(self.keeper.starter, revision, k))[0]

    def renew(self) -> None:
        while self.stale:
            self.keeper.renew(*self.stale.pop())


class Runner:
    async def nudge(self) -> None:
        """Nobody works here but the test."""


class World:
    """All graphs over one catalog in ``folder``."""

    def __init__(
        self, folder: Path, shards: int = 1, revision: str = REVISION, thresholds: Thresholds = THRESHOLDS,
        dim: int = DIM,
    ) -> None:  # fmt: skip
        self.places = Places(f"sqlite:///{folder / 'catalog.db'}", f"file://{folder / 'files'}", revision)
        self.folder = folder
        self.encoder = Handle(Encoder())
        configured = Served(ENCODER, revision.partition("@")[0], revision, dim)
        self.catalog.settings.adopt(**vars(configured))
        self.sentences = Handle(Sentences())
        self.configured = {ENCODER: configured}
        self.embedding = Embedding(self.encoder, self.sentences, self.configured, self.places)
        self.objects = Handle(Detector(Label("dog", 0.9, (1, 2, 3, 4)), Label("dog", 0.6), Label("cat", 0.4)))
        self.faces = Handle(Detector(Label("unknown", 0.8, (0, 0, 9, 9))))
        self.shards = [Handle(Searcher(self.catalog.vectors, i, shards)) for i in range(shards)]
        self.memes = Handle(Judge(0.9))
        self.texts = Handle(Reader(Label("ONE DOES NOT", 0.9, (0, 0, 8, 2)), Label("SIMPLY", 0.8, (0, 3, 8, 5))))
        manifest = load_manifest()
        self.models = Models(manifest.profile("embedded"), manifest)
        self.identity = Handle(Describer())
        self.people = PeopleGraph(self.faces, self.identity, self.places, self.models.rows["face_identity"])
        self.annotators = Annotators(
            {
                "cross_modal_embedding": self.encoder,
                "object_detection": self.objects,
                "face_detection": self.faces,
                "face_identity": self.identity,
                "meme_detection": self.memes,
                "text_recognition": self.texts,
            },
            self.models,
            self.people,
        )
        self.image = ImageGraph(self.annotators)
        self.retrieval = RetrievalGraph(
            self.embedding, self.shards, self.places, {revision: thresholds}
        )  # fmt: skip
        self.actions = Handle(Recognizer())
        reading = Reading("correlation", 10.0, Limits())
        self.splitter = Handle(VideoGraph(self.annotators, self.actions, self.places, reading))
        self.videos = VideoCalls(self.splitter, self.places)
        self.recommendation = RecommendationGraph(self.retrieval, Handle(Recommender(self.catalog)))
        self.runner = Handle(Runner())
        drawing = Drawing(MeshLimits(), Rings(), size=64, thumbnail_size=64, turntable_size=64, turntable_frames=4)
        self.renderer = Handle(ShapeGraph(self.annotators, self.places, drawing))
        self.shapes = ShapeCalls(self.renderer, self.places)
        self.transcoder = Handle(AdaptGraph(self.places, EncodeLimits()))
        self.transcoding = TranscodeCalls(self.transcoder, self.places)
        self.assets = AssetGraph(
            self.places, self.videos, self.shapes, self.transcoding, load_ladder(), self.runner
        )  # fmt: skip
        adapting = AdaptWork(self.transcoding, self.places)
        watching, drawing_work = VideoWork(self.videos, self.places), ShapeWork(self.shapes, self.places)
        self.reindexing = Reindexing(self.embedding, self.shards, watching, drawing_work)
        self.upkeep = Upkeep(self.embedding, self.shards)
        quick = QuickWork(self.image, self.embedding, self.people)
        self.processing = ProcessingGraph(
            quick, watching, drawing_work, adapting, self.reindexing, self.people, self.upkeep
        )  # fmt: skip
        self.index = IndexGraph(self.embedding, self.shards, self.runner)
        self.jobs = JobGraph(self.places)

    @property
    def catalog(self) -> Any:
        return self.places.catalog

    def files(self) -> list[Path]:
        """Every file that is stored now."""
        return sorted(path for path in (self.folder / "files").rglob("*") if path.is_file())

    def choose(self, content: str | bytes, vector: Any) -> None:
        self.encoder.target.chosen[content] = unit(vector)

    def post(self, owner: str, name: str, vector: Any, modality: Any = "text") -> None:
        """A content with this very vector, straight into the catalog."""
        digest = hashlib.sha256(f"{owner} {name}".encode()).hexdigest()
        new = NewContent(f"{owner}/{name}", owner, modality, "text/plain", digest, 3, f"aa/{digest}/original")
        self.catalog.contents.add(new, unit(vector), self.places.revision)

    def serve_sentences(self) -> str:
        """Texts are found by the sentence encoder from now on; the key of its vectors."""
        configured = Served(SENTENCES, "sentences", "sentences@1", TEXT_DIM)
        self.catalog.settings.adopt(**vars(configured))
        self.configured[SENTENCES] = configured
        return configured.revision

    def close(self) -> None:
        self.catalog.close()


def unit(vector: Any, dim: int = DIM) -> NDArray[np.float32]:
    """``vector``, filled with zeros to the dimension of the tests, at length one."""
    row = np.zeros(dim, np.float32)
    row[: len(vector)] = vector
    return row / np.linalg.norm(row)


def png(*colour: int, size: tuple[int, int] = (8, 6)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour or (200, 10, 10)).save(stream, "PNG")
    return stream.getvalue()
