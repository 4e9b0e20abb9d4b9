"""The lines of ``/v1/assets:batch``."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from serve_app.wire.schemas import Asset, ProblemDetail, Shape


class BatchItem(Shape):
    """One asset to store: a text, or a small file in base64."""

    owner: str = Field(min_length=1, examples=["anna"])
    text: str | None = Field(None, examples=["a page of text about segmentation"])
    data: str | None = Field(None, description="the file, in base64")
    id: str | None = Field(None, min_length=1, description="the client's own id; generated when left out")
    description: str | None = Field(None, description="words about it; found by text search too")
    media_type: str | None = Field(None, max_length=255, description="refused where the content is another")
    idempotency_key: str | None = Field(None, min_length=1, max_length=255)

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if (self.text is None) == (self.data is None):
            raise ValueError("give either text or data")
        return self


class BatchLine(Shape):
    """What became of a line: the asset (202, or 200 where it was there before) or the problem with its status."""

    line: int = Field(description="its number in the request, from 1", examples=[1])
    status: int = Field(examples=[202])
    asset: Asset | None = None
    problem: ProblemDetail | None = None
