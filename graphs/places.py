"""Where the catalog and the files are; travels to every replica."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from graphs.recipe import Recipe
from serve_app.catalog import Catalog, Files


@dataclass(frozen=True)
class Places(Recipe):
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
