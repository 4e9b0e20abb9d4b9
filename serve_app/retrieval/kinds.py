"""Which FAISS index serves how many vectors: ``configs/indexes.yaml``, or what the operator set."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from serve_app.models.manifest import UniqueKeys
from serve_app.retrieval.hits import MODALITIES

AUTO = "auto"
"""By the table."""

Factory = Annotated[str, Field(pattern=r"^[A-Za-z0-9_,()+.:\[\]-]{1,120}$")]
"""A FAISS index-factory string; whether FAISS makes it, ``check_factory`` tells."""
Size = Annotated[int, Field(ge=0)]
Modality = Literal["text", "image", "video", "shape3d"]
Setting = Annotated[
    Annotated[Factory, Tag("factory")] | Annotated[dict[Modality, Factory], Tag("modalities")],
    Discriminator(lambda given: "modalities" if isinstance(given, dict) else "factory"),
]
"""What an operator may say: ``auto``, a factory, or either for some modalities."""

Kinds = tuple[tuple[int, str], ...]


class IndexTable(BaseModel):
    """Size to factory, for all modalities and for some."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: dict[Size, Factory]
    modalities: dict[Modality, dict[Size, Factory]] = {}

    @model_validator(mode="after")
    def _begins_at_zero(self) -> Self:
        tables: dict[str, dict[int, str]] = {"default": self.default}
        tables |= {str(name): sizes for name, sizes in self.modalities.items()}
        for name, sizes in tables.items():
            if 0 not in sizes:
                raise ValueError(f"{name}: no kind for the first vectors, the size 0 is missing")
            if AUTO in sizes.values():
                raise ValueError(f"{name}: auto is no kind of index")
        return self

    def kinds(self, setting: Setting = AUTO) -> dict[str, Kinds]:
        """For each modality its factories by size, ascending."""
        return {name: self._of(name, setting) for name in MODALITIES}

    def _of(self, modality: str, setting: Setting) -> Kinds:
        if isinstance(setting, str):
            chosen = setting
        else:
            chosen = next((factory for name, factory in setting.items() if name == modality), AUTO)
        if chosen != AUTO:
            # Below what its training takes, an index stays exact by itself.
            return ((0, chosen),)
        sizes = next((sizes for name, sizes in self.modalities.items() if name == modality), self.default)
        return tuple(sorted(sizes.items()))


def load_table(path: Path | None = None) -> IndexTable:
    """The table (the shipped one by default).

    Raises ``ValidationError``, ``yaml.YAMLError`` or, for a key that stands twice, ``ManifestError``.
    """
    path = path or Path(str(importlib.resources.files("configs") / "indexes.yaml"))
    return IndexTable.model_validate(yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys))  # noqa: S506  (a SafeLoader)


def faults(kinds: Mapping[str, Kinds], dim: int) -> list[str]:
    """What FAISS says against the factories, each with its modality; empty when it makes them all."""
    # Here, not above: most that reads the configuration has no use for FAISS.
    from serve_app.retrieval.ann import check_factory

    found: dict[str, str] = {}
    for modality, sizes in kinds.items():
        for _, factory in sizes:
            try:
                check_factory(factory, dim)
            except ValueError as error:
                found.setdefault(str(error), modality)
    return [f"{modality}: {error}" for error, modality in found.items()]
