"""The shapes of recommendation: lists with the reason for each item, starter sets and interests."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from serve_app.wire.schemas import Shape

MAX_K = 10_000
MAX_STARTERS = 200
"""As many as are kept."""
MAX_INTERESTS = 100

Mode = Literal["report", "all-clusters"]


class Explanation(Shape):
    """Why an item is recommended: it is near to a post of the user, or to what the user picked."""

    seed: str = Field(description="the post, or the picked content, that it is most similar to", examples=["anna/dog"])
    role: Literal["medoid", "outlier", "post", "interest"] = Field(
        description="a medoid stands for a cluster of posts, an outlier for none; a post is a seed where nothing "
        "clusters; an interest was picked"
    )
    cluster: int | None = Field(None, description="the medoid's cluster, its place in clusters", examples=[0])
    share: float | None = Field(None, description="that cluster's part of the user's posts", examples=[0.4])
    similarity: float = Field(description="cosine of the item and its seed; also its score", examples=[0.81])


class Recommended(Shape):
    """Contents of other users, best first; the three lists go together."""

    contents: list[str] = Field(description="asset ids")
    scores: list[float]
    explanations: list[Explanation]


class FromPosts(Shape):
    """What posts of one type lead to, by type."""

    text: Recommended
    image: Recommended


class ClusterLine(Shape):
    """An interest that was found in the posts of a user."""

    size: int = Field(description="posts")
    share: float = Field(description="part of the posts that count, the latest 1,000")
    medoid: str = Field(description="the post that stands for it")


class Clusters(Shape):
    """The interests found in each type of post, the largest first."""

    text: list[ClusterLine]
    image: list[ClusterLine]


class Recommendations(Shape):
    """What a user may like, by type of seed and type of result."""

    text: FromPosts
    image: FromPosts
    mode: Mode
    clusters: Clusters
    cold_start: bool = Field(description="the user has no posts yet: what was picked is all there is to go by")
    partial: bool = Field(description="whether a part of the index did not answer in time")
    time: float = Field(description="seconds")


class Starter(Shape):
    """A content to pick from."""

    id: str
    kind: Literal["text", "image"] = Field(description="the type of content by which it was chosen")


class Starters(Shape):
    """Contents that differ from each other and stand for the catalog; each start of the list does."""

    items: list[Starter]
    time: float = Field(description="seconds")


class Interests(Shape):
    """Assets that a user picked."""

    ids: list[Annotated[str, Field(min_length=1, max_length=512)]] = Field(
        max_length=MAX_INTERESTS, examples=[["ben/dog", "cleo/car"]]
    )
