"""Where the catalog and the files are; travels to every replica."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

from serve_app.catalog import Catalog, Files


@dataclass(frozen=True)
class Places:
    """Where the catalog and the files are, and the revision of the configured encoder's vectors."""

    catalog_url: str
    files_url: str
    revision: str

    @cached_property
    def catalog(self) -> Catalog:
        return Catalog.open(self.catalog_url)

    @cached_property
    def files(self) -> Files:
        return Files(self.files_url)

    def __getstate__(self) -> dict[str, str]:
        # It travels to replicas as a recipe: what one of them has opened stays there.
        return {field.name: getattr(self, field.name) for field in fields(self)}
