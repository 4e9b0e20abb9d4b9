"""Real people, found by the real detector and told apart by the real descriptor, over a real catalog."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphs.people import PeopleGraph
from graphs.places import Places
from serve_app.annotation.descriptor import Described, load_descriptor
from serve_app.annotation.faces import find_faces, load_faces
from serve_app.annotation.labels import FoundFace
from serve_app.catalog import NewAsset
from serve_app.errors import Problem
from serve_app.models.manifest import Manifest, Model, load_manifest
from serve_app.models.pull import convert_shipped
from serve_app.models.store import Store
from serve_app.wire.ports import Upload
from tests.graphs.world import Handle


class Finder:
    """What the face detector's replica does, in this process."""

    def __init__(self, model: Model, store: Store) -> None:
        self.detector = load_faces(model, store.locate(model), threads=1)

    async def find(self, payload: bytes) -> list[FoundFace]:
        prepared = self.detector.prepare(payload)
        (found,) = self.detector.run([prepared.tensor])
        assert not isinstance(found, Exception)
        return find_faces(self.detector, found, prepared.geometry)  # type: ignore[arg-type]


class Describer:
    """What the face descriptor's replica does."""

    def __init__(self, model: Model, store: Store) -> None:
        convert_shipped(store, model)
        self.descriptor = load_descriptor(model, store.locate(model), threads=1)

    async def describe(self, payload: bytes, faces: Sequence[FoundFace]) -> Described:
        prepared = self.descriptor.prepare(payload, faces)
        rows = self.descriptor.run([one.tensor for one in prepared])
        return Described(np.array([self.descriptor.finish(row) for row in rows]), [one.kept for one in prepared])


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest()


@pytest.fixture(scope="module")
def handles(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Handle, Handle]:
    store = Store(tmp_path_factory.mktemp("home"))
    return Handle(Finder(manifest.models["mtcnn"], store)), Handle(Describer(manifest.models["dlib-face"], store))


@pytest.fixture
def graph(handles: tuple[Handle, Handle], manifest: Manifest, tmp_path: Path) -> Iterator[PeopleGraph]:
    places = Places(f"sqlite:///{tmp_path}/catalog.db", f"file://{tmp_path}/files", "clip@1")
    yield PeopleGraph(*handles, places, manifest.models["dlib-face"])
    places.catalog.close()


def names(graph: PeopleGraph, data: bytes) -> list[str]:
    """Who is in a picture, from left to right."""

    async def named() -> list[str]:
        found = sorted(await graph.faces.find.remote(data), key=lambda face: face.box)
        vectors = (await graph.descriptor.describe.remote(data, found)).vectors
        return [each.label for each in await graph.name_faces(found, vectors)]

    return asyncio.run(named())


async def keep(graph: PeopleGraph, id: str, data: bytes) -> None:
    new = NewAsset("anna", "image", "image/jpeg", "0" * 64, len(data), f"aa/{id}", id=id)
    asset, _ = graph.places.catalog.assets.add(new)
    found = await graph.faces.find.remote(data)
    vectors = (await graph.descriptor.describe.remote(data, found)).vectors
    await graph.keep(asset, found, vectors, ["unknown"] * len(found), [None] * len(found))


def test_two_statesmen(graph: PeopleGraph, shared: Path) -> None:
    faces = shared / "media" / "faces"
    obama, biden = faces / "barack_obama", faces / "joe_biden" / "biden.jpg"
    both, strangers = faces / "multi" / "two_people_obama_biden.jpg", faces / "unknown" / "coral_face.jpg"
    catalog = graph.places.catalog

    async def learn(name: str, *files: Path) -> Any:
        return await graph.add(name, [Upload.of(file.read_bytes(), file.name) for file in files])

    asyncio.run(keep(graph, "both", both.read_bytes()))
    asyncio.run(keep(graph, "strangers", strangers.read_bytes()))
    with pytest.raises(Problem, match=r"'two_people_obama_biden.jpg': 2 faces are found"):
        asyncio.run(learn("Barack Obama", obama / "obama.jpg", both))
    asyncio.run(learn("Barack Obama", obama / "obama.jpg", obama / "obama2.jpg"))
    asyncio.run(learn("Joe Biden", biden))

    assert names(graph, both.read_bytes()) == ["Barack Obama", "Joe Biden"]
    assert set(names(graph, strangers.read_bytes())) == {"unknown"}
    other = (obama / "obama_720p_letterboxed.jpg").read_bytes()
    assert names(graph, other) == ["Barack Obama"]

    assert asyncio.run(graph.follow()) == 2  # both assets were there before anybody was known
    assert {each.name for each in catalog.faces.of_asset("both")} == {"Barack Obama", "Joe Biden"}
    hits = asyncio.run(graph.search(other, "anna", 10)).items
    assert [(hit.asset_id, hit.same, hit.label) for hit in hits] == [
        ("both", True, "Barack Obama"), ("strangers", False, "unknown"),
    ]  # fmt: skip

    again = PeopleGraph(graph.faces, graph.descriptor, graph.places, _renamed(graph.model))
    assert asyncio.run(again.catch_up()) == 3  # from the kept crops alone
    assert names(again, both.read_bytes()) == ["Barack Obama", "Joe Biden"]


def _renamed(model: Model | None) -> Model:
    assert model is not None
    return model.model_copy(update={"revision": "another"})
