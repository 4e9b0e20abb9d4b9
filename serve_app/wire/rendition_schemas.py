"""The shapes of what is made of assets."""

from __future__ import annotations

from pydantic import Field

from serve_app.wire.schemas import Shape


class Rendition(Shape):
    """A file made of an asset's own, such as a thumbnail."""

    name: str = Field(examples=["thumbnail.png"])
    media_type: str = Field(examples=["image/png"])
    bytes: int
    width: int | None = Field(None, description="pixels")
    height: int | None = None
    url: str = Field(description="where it is fetched", examples=["/v1/assets/7/files/thumbnail.png"])


class Renditions(Shape):
    """The files made of an asset, by name; none where nothing was made of it yet."""

    id: str
    items: list[Rendition] = Field(default_factory=list)


class WantedRenditions(Shape):
    """Which streams are to be made of an asset."""

    preset: str = Field(max_length=40, description="a preset of configs/ladder.yaml", examples=["web"])
