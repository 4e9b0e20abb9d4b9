"""The shapes of people: whom the service recognises, and by which pictures."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field

from serve_app.wire.schemas import Box, Shape


class PersonFace(Shape):
    """A kept face of a person."""

    id: int
    added_as: str = Field(description="the name it was added to; another than the person's after a merge")
    added_at: datetime


class PersonLine(Shape):
    """A person in a list."""

    name: str = Field(examples=["Barack Obama"])
    faces: int = Field(description="how many faces are kept", examples=[3])
    merged: list[str] = Field([], description="names that were merged into this one")
    created_at: datetime


class Person(Shape):
    """A person who is recognised."""

    name: str = Field(examples=["Barack Obama"])
    faces: list[PersonFace]
    merged: list[str] = Field([], description="names that were merged into this one")
    created_at: datetime


class PeoplePage(Shape):
    """A page of people, newest first; ``next_cursor`` is null on the last one."""

    items: list[PersonLine]
    next_cursor: str | None = None


class Rename(Shape):
    """Another name."""

    name: str


class Other(Shape):
    """The name of another person."""

    model_config = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True)

    other: str = Field(alias="from", examples=["B. Obama"])


class Split(Shape):
    """Faces that are somebody else's."""

    faces: list[int] = Field(min_length=1, max_length=1000, description="ids of faces")
    into: str = Field(description="whose they are; made where there is nobody of the name")


class FaceHit(Shape):
    """An asset, at the face that is nearest to the one that was sent."""

    asset_id: str
    distance: float = Field(description="Euclidean, between vectors of length 1")
    same: bool = Field(description="whether it is near enough to be the same person")
    label: str = Field(description="who it is, or unknown")
    box: Box
    timestamp_s: float | None = Field(None, description="of a video")


class FaceHits(Shape):
    """Assets with the nearest faces, nearest first."""

    items: list[FaceHit]
    time: float = Field(description="seconds")
