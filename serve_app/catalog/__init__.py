"""The catalog: assets, annotations as tags, vectors and jobs in SQL, files through fsspec. It is the truth.

``Catalog.open("sqlite:////var/lib/mediaverse/catalog.db")`` or ``Catalog.open("postgresql+psycopg://...")``. Calls
block; asynchronous callers use a thread. What a call has answered survives the death of every process.
"""

from __future__ import annotations

from serve_app.catalog.additions import Addition
from serve_app.catalog.annotations import Annotations, Answer
from serve_app.catalog.assets import Assets
from serve_app.catalog.checks import validate_id
from serve_app.catalog.contents import Contents
from serve_app.catalog.doctor import Doctor
from serve_app.catalog.engine import Clock, Database, utc_now
from serve_app.catalog.faces import Faces
from serve_app.catalog.files import Files
from serve_app.catalog.filters import Filter, parse_filter
from serve_app.catalog.job_rows import Ended, LeaseLostError
from serve_app.catalog.jobs import Jobs
from serve_app.catalog.migrate import migrate
from serve_app.catalog.people import People
from serve_app.catalog.renditions import Renditions
from serve_app.catalog.rows import (
    KINDS,
    STAGES,
    Appearance,
    Asset,
    ChangePage,
    Content,
    ContentAdded,
    FaceHit,
    FoundPart,
    Job,
    KeptCrop,
    Known,
    Moment,
    NewAsset,
    NewContent,
    NewFace,
    NewRendition,
    Page,
    Person,
    PersonFace,
    PersonRow,
    Renamed,
    Rendition,
    SeenFace,
    Served,
    Stage,
    State,
    Tag,
    TaskModels,
)
from serve_app.catalog.settings import Settings
from serve_app.catalog.tastes import Interests, Profiles, Starters
from serve_app.catalog.vector_rows import Key
from serve_app.catalog.vectors import Vectors
from serve_app.catalog.words import Words

__all__ = [
    "KINDS",
    "STAGES",
    "Addition",
    "Answer",
    "Appearance",
    "Asset",
    "Catalog",
    "ChangePage",
    "Content",
    "ContentAdded",
    "Ended",
    "FaceHit",
    "Files",
    "Filter",
    "FoundPart",
    "Job",
    "KeptCrop",
    "Key",
    "Known",
    "LeaseLostError",
    "Moment",
    "NewAsset",
    "NewContent",
    "NewFace",
    "NewRendition",
    "Page",
    "Person",
    "PersonFace",
    "PersonRow",
    "Renamed",
    "Rendition",
    "SeenFace",
    "Served",
    "Settings",
    "Stage",
    "State",
    "Tag",
    "TaskModels",
    "parse_filter",
    "validate_id",
]


class Catalog:
    """One open database. Threads may share it, processes each open their own."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self.assets = Assets(database, clock)
        self.contents = Contents(database, clock)
        self.vectors = Vectors(database)
        self.annotations = Annotations(database)
        self.people = People(database, clock)
        self.faces = Faces(database)
        self.renditions = Renditions(database, clock)
        self.settings = Settings(database)
        self.words = Words(database)
        self.interests = Interests(database)
        self.starters = Starters(database)
        self.profiles = Profiles(database)
        self.jobs = Jobs(database, clock)
        self.doctor = Doctor(database, clock)

    @classmethod
    def open(cls, url: str, clock: Clock = utc_now) -> Catalog:
        """Open the catalog at a SQLAlchemy URL and bring its schema up to date; any number may open it at once.

        ``clock`` tells the time in UTC, for leases and creation times. Raises ValueError for a URL that is neither
        SQLite nor Postgres and Problem("unavailable") for a database that does not answer or is too new.
        """
        database = Database(url)
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        return cls(database, clock)

    def close(self) -> None:
        self._database.close()
