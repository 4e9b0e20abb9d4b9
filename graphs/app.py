"""The whole application as one graph: what ``serve run serve_config.yaml`` builds.

Annotations are not postponed in this file: Serve reads the type of ``build_app``'s argument to check what it is given.
"""

from contextlib import closing
from dataclasses import dataclass, fields
from typing import Any

import ray
from ray import serve
from ray.serve import Application

from deployments.action_recognizer import ActionRecognizer
from deployments.captioner import Captioner
from deployments.clip_encoder import ClipEncoder
from deployments.concern_detector import ConcernDetector
from deployments.face_descriptor import FaceDescriptor
from deployments.face_detector import FaceDetector
from deployments.faiss_shard import FaissShard, ShardRecipe
from deployments.ingress import Ingress
from deployments.job_runner import JobRunner
from deployments.meme_detector import MemeDetector
from deployments.multi_view_renderer import MultiViewRenderer
from deployments.object_detector import ObjectDetector
from deployments.recommender import Recommender
from deployments.replica import ModelRecipe
from deployments.scene_splitter import SceneSplitter
from deployments.sentence_encoder import SentenceEncoder
from deployments.still_actions import StillActions
from deployments.text_reader import TextReader
from deployments.transcoder import Transcoder
from graphs import slicing
from graphs.adapt_work import AdaptWork
from graphs.adaptation import AdaptGraph, TranscodeCalls
from graphs.annotators import Annotators, Models
from graphs.assets import AssetGraph
from graphs.calls import TIMEOUT_S
from graphs.embedding import ENCODER, SENTENCES, Embedding, adopt
from graphs.health import HealthGraph
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
from serve_app.catalog import Catalog
from serve_app.config import AppArgs, Resources, Shape3dArgs, VideoArgs, load_resources
from serve_app.media.enclosure import Rings
from serve_app.media.mesh_process import MeshLimits
from serve_app.media.video import Limits
from serve_app.models.manifest import Model, load_manifest
from serve_app.retrieval.kinds import load_table
from serve_app.retrieval.thresholds import load_thresholds
from serve_app.wire.ports import Services

MODELS: dict[str, tuple[serve.Deployment, str]] = {
    ENCODER: (ClipEncoder, "clip_encoder"),
    SENTENCES: (SentenceEncoder, "sentence_encoder"),
    "object_detection": (ObjectDetector, "object_detector"),
    "face_detection": (FaceDetector, "face_detector"),
    "face_identity": (FaceDescriptor, "face_descriptor"),
    "meme_detection": (MemeDetector, "meme_detector"),
    "text_recognition": (TextReader, "text_reader"),
    "captioning": (Captioner, "captioner"),
    "action_recognition": (StillActions, "still_actions"),
    "video_action_recognition": (ActionRecognizer, "action_recognizer"),
    "disturbing_content": (ConcernDetector, "concern_detector"),
    "nsfw": (ConcernDetector.options(name="NsfwDetector"), "nsfw_detector"),
}
"""The deployment that serves a task's model, and its row of the resource table."""


def build_app(args: AppArgs) -> Application:
    """The ingress over the graphs of every kind of media, retrieval, recommendation, assets and jobs, as asked."""
    thresholds = load_thresholds(args.home_path)
    alive = slicing.alive()
    column = _sizes(args, alive)
    manifest = load_manifest()
    rows = args.rows(manifest)
    args.home_path.mkdir(parents=True, exist_ok=True)
    encoder = _model(args, column, rows, ENCODER)
    served = {task: _model(args, column, rows, task, encoder) for task in MODELS if task in rows and task != ENCODER}
    served = {ENCODER: encoder} | served
    shards = _shards(args, column, rows, args.shards)
    leaving = [_shards(args, column, rows, count, leaving=True) for count in sorted(alive - {args.shards})]
    recommender = _sized(Recommender, "recommender", column).bind(args.catalog_url)

    with closing(Catalog.open(args.catalog_url)) as catalog:
        configured = adopt(catalog.settings, rows)
    places = Places(args.catalog_url, args.files_url, rows["cross_modal_embedding"].key)
    embedding = Embedding(encoder, served.get(SENTENCES), configured, places)
    models = Models(rows, manifest)
    people = PeopleGraph(
        served["face_detection"], served.get("face_identity"), places, rows.get("face_identity")
    )  # fmt: skip
    annotators = Annotators(served, models, people, args.deadlines_s)
    image = ImageGraph(annotators)
    splitter = _sized(SceneSplitter, "scene_splitter", column).bind(
        VideoGraph(annotators, served.get("video_action_recognition"), places, _reading(args.video)),
        column.deployments["scene_splitter"].workers,
    )
    videos = VideoCalls(splitter, places)
    renderer = _sized(MultiViewRenderer, "multi_view_renderer", column).bind(
        ShapeGraph(annotators, places, _drawing(args.shape3d)), column.deployments["multi_view_renderer"].workers
    )
    shapes = ShapeCalls(renderer, places)
    transcoder = _sized(Transcoder, "transcoder", column).bind(
        AdaptGraph(places, EncodeLimits(_reading(args.video).limits)), column.deployments["transcoder"].workers
    )
    transcoding = TranscodeCalls(transcoder, places)
    retrieval = RetrievalGraph(embedding, shards, places, thresholds, args.search_deadline_s)
    runner = _sized(JobRunner, "job_runner", column).bind(
        _processing(
            embedding,
            shards,
            image,
            people,
            VideoWork(videos, places),
            ShapeWork(shapes, places),
            AdaptWork(transcoding, places),
        ),
        column.deployments["job_runner"].workers,
    )
    asked = served | {"scene_splitting": splitter, "multi_view_rendering": renderer, "transcoding": transcoder}
    asked |= {f"search_{i}": shard for i, shard in enumerate(shards)}
    services = Services(
        image=image,
        video=videos,
        shape3d=shapes,
        assets=AssetGraph(places, videos, shapes, transcoding, load_ladder(), runner),
        jobs=JobGraph(places),
        retrieval=retrieval,
        recommendation=RecommendationGraph(retrieval, recommender),
        people=people,
        transcoding=transcoding,
        index=IndexGraph(embedding, shards, runner),
        health=HealthGraph(args.profile, models, asked, places),
        max_upload_bytes=args.max_upload_mb * 1024 * 1024,
    )
    # A door that closes is given longer than a call may take, so that what is under way ends before it is killed.
    door = _sized(Ingress, "ingress", column).options(graceful_shutdown_timeout_s=2 * TIMEOUT_S)
    return door.bind(services, shards, leaving)


def _processing(
    embedding: Embedding, shards: list[Any], image: ImageGraph, people: PeopleGraph, videos: VideoWork,
    shapes: ShapeWork, adapting: AdaptWork,
) -> ProcessingGraph:  # fmt: skip
    """The jobs of every kind."""
    quick = QuickWork(image, embedding, people)
    reindexing = Reindexing(embedding, shards, videos, shapes)
    return ProcessingGraph(quick, videos, shapes, adapting, reindexing, people, Upkeep(embedding, shards))


@dataclass(frozen=True)
class Sizes:
    """A column of the resource table, and what no replica takes once those shards are there that are to come."""

    deployments: dict[str, Resources]
    free_cpus: float
    free_gpus: float


def _sizes(args: AppArgs, alive: set[int]) -> Sizes:
    table, running = load_resources(), ray.is_initialized()
    gpus = ray.cluster_resources().get("GPU", 0) if running else 0
    rows = (table.gpu if args.resources == "gpu" or (args.resources == "auto" and gpus) else table.cpu).deployments
    free, shard = ray.available_resources() if running else {}, rows["faiss_shard"]
    # Those of another slicing give their share back as they become the leaving ones.
    coming = (0 if args.shards in alive else args.shards) - sum(alive - {args.shards})
    taken = coming * shard.min_replicas
    return Sizes(rows, free.get("CPU", 0) - taken * shard.num_cpus, free.get("GPU", 0) - taken * shard.num_gpus)


def _model(
    args: AppArgs, column: Sizes, rows: dict[str, Model], task: str, encoder: Application | None = None
) -> Application:
    """The deployment of a task's model; one that tells by words gets the encoder that reads them."""
    deployment, name = MODELS[task]
    recipe = ModelRecipe(rows[task].name, str(args.home_path), column.deployments[name].threads)
    sized = _sized(deployment, name, column)
    return sized.bind(recipe, encoder) if rows[task].prompts else sized.bind(recipe)


def _reading(video: VideoArgs) -> Reading:
    limits = Limits(
        max_duration_s=video.max_duration_s, max_pixels=round(video.max_megapixels * 1e6), max_frames=video.max_frames,
        max_decode_s=video.max_decode_s, max_memory_mb=video.max_memory_mb,
    )  # fmt: skip
    return Reading(video.scene_detector, video.max_scene_s, limits)


def _drawing(shape3d: Shape3dArgs) -> Drawing:
    given = shape3d.model_dump()
    rings, limits = (
        {field.name: given[field.name] for field in fields(kind) if field.name in given} for kind in (Rings, MeshLimits)
    )
    sizes = {name: given[name] for name in ("size", "thumbnail_size", "turntable_size", "turntable_frames")}
    return Drawing(MeshLimits(**limits), Rings(**rings), **sizes)


def _shards(
    args: AppArgs, column: Sizes, rows: dict[str, Any], count: int, *, leaving: bool = False
) -> list[Application]:
    """``count`` shards that hold everything; those that are leaving ask for no share, and end when nobody asks them."""
    sized = _sized(FaissShard, "faiss_shard", column)
    if leaving:
        row = column.deployments["faiss_shard"]
        scaling = {
            "min_replicas": 0,
            "max_replicas": row.max_replicas,
            "target_ongoing_requests": row.target_ongoing_requests,
            "downscale_to_zero_delay_s": slicing.LEAVES_AFTER_S,
        }
        sized = sized.options(
            ray_actor_options={"num_cpus": 0}, autoscaling_config=scaling, max_surge_percent=100
        )  # fmt: skip
    named = [sized.options(name=f"{FaissShard.name}{slicing.suffix(i, count)}") for i in range(count)]
    return [each.bind(_shard(args, rows, i, count)) for i, each in enumerate(named)]


def _shard(args: AppArgs, rows: dict[str, Any], number: int, count: int) -> ShardRecipe:
    encoder = rows["cross_modal_embedding"]
    kinds = load_table().kinds(args.index)
    return ShardRecipe(args.catalog_url, encoder.key, encoder.clip.dim, number, count, kinds, str(args.home_path))


def _sized(deployment: serve.Deployment, name: str, column: Sizes) -> serve.Deployment:
    """``deployment`` with its row of the resource table."""
    row = column.deployments[name]
    sizes = {"max_batch_size": row.max_batch_size, "max_queue": row.max_queue} if row.max_batch_size else None
    return deployment.options(
        ray_actor_options={"num_cpus": row.num_cpus, "num_gpus": row.num_gpus},
        autoscaling_config={
            "min_replicas": row.min_replicas,
            "max_replicas": row.max_replicas,
            "target_ongoing_requests": row.target_ongoing_requests,
        },
        # Where there is no room for a replica beside the one that it replaces, Serve would wait for it for ever.
        max_surge_percent=100 if row.num_cpus <= column.free_cpus and row.num_gpus <= column.free_gpus else 0,
        max_ongoing_requests=row.max_ongoing_requests,
        max_queued_requests=row.max_queue,
        user_config=sizes,
        health_check_period_s=2,
        health_check_timeout_s=10,
    )
