"""People learnt from pictures, named in others, renamed, merged and erased, over a real catalog."""

from __future__ import annotations

import asyncio
import io
import json
import pickle
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from graphs import people as module
from graphs.people import PeopleGraph
from serve_app.annotation.descriptor import Described, KeptFace
from serve_app.annotation.labels import FoundFace
from serve_app.catalog import NewAsset, Tag, parse_filter
from serve_app.errors import Problem
from serve_app.models.manifest import Descriptor, Model
from serve_app.wire.ports import Upload
from tests.graphs.world import Handle, World, png

LIMIT = 0.6
TASK = "face_recognition"

Floats = NDArray[np.float32]


def spec(**more: Any) -> Descriptor:
    values = {"side": 32, "colour": "rgb", "mean": (0, 0, 0), "std": (1, 1, 1), "align": "box", "margin": 0, "dim": 8}
    return Descriptor(**values | {"thresholds": {1: LIMIT}} | more)


def model(revision: str = "1") -> Model:
    """A row of the table; only its key and its section count here."""
    return Model.model_construct(name="faces", revision=revision, descriptor=spec())


class Detector:
    """Finds as many faces as a picture is wide, in pixels of which each is one."""

    async def find(self, payload: bytes) -> list[FoundFace]:
        width = int.from_bytes(payload[16:20], "big")  # of a PNG
        return [FoundFace((at * 10.0, 0.0, at * 10 + 9.0, 9.0 + at), 0.9 - at / 100) for at in range(width - 1)]


class Descriptions:
    """Vectors as a picture's colour says: red is the person, green how far off, in hundredths of a radian."""

    def __init__(self, turn: int = 0) -> None:
        self.turn = turn

    async def describe(self, payload: bytes, faces: Sequence[FoundFace]) -> Described:
        crops = [KeptFace(payload, face.box, face.landmarks) for face in faces]
        rows = [looks(*colour(payload), turn=self.turn + int(face.box[0] / 10)) for face in faces]
        return Described(np.stack(rows), crops)


def colour(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as opened:
        red, green, _ = opened.convert("RGB").getpixel((0, 0))  # type: ignore[misc]
    return red, green


def looks(person: int, off: int, turn: int = 0) -> Floats:
    """Person 1, 2, ... along their own axis, a little off towards the last one."""
    row = np.zeros(8, np.float32)
    row[(person + turn) % 7], row[7] = np.cos(off / 100), np.sin(off / 100)
    return row


def photo(person: int, off: int = 0, faces: int = 1) -> bytes:
    return png(person, off, 0, size=(faces + 1, 4))


class House:
    """A people graph over the world's catalog."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.catalog = world.catalog
        self.faces, self.descriptor = Handle(Detector()), Handle(Descriptions())
        self.graph = PeopleGraph(self.faces, self.descriptor, world.places, model())

    def learn(self, name: str, *pictures: bytes) -> Any:
        uploads = [Upload.of(data, f"{at}.png") for at, data in enumerate(pictures)]
        return asyncio.run(self.graph.add(name, uploads))

    def name(self, picture: bytes) -> list[str]:
        async def named() -> list[str]:
            found = await self.faces.target.find(picture)
            described = await self.descriptor.target.describe(picture, found)
            return [each.label for each in await self.graph.name_faces(found, described.vectors)]

        return asyncio.run(named())

    def show(self, id: str, picture: bytes, owner: str = "anna") -> None:
        """What a job does: the answer and its tags first, the faces then."""

        async def keep() -> None:
            found = await self.faces.target.find(picture)
            vectors = (await self.descriptor.target.describe(picture, found)).vectors
            named = await self.graph.name_faces(found, vectors)
            new = NewAsset(owner, "image", "image/png", f"{len(id):064}", 9, f"aa/{id}", id=id)
            asset, _ = self.catalog.assets.add(new)
            labels = [
                {"label": who.label, "confidence": who.confidence, "box": list(face.box)}
                for who, face in zip(named, found, strict=True)
            ]
            tags = [Tag("person", who.label, who.confidence) for who in named]
            self.catalog.annotations.put(id, TASK, {"status": "ok", "labels": labels}, tags)
            names = [who.label for who in named]
            await self.graph.keep(asset, found, vectors, names, [None] * len(found))

        asyncio.run(keep())

    def told(self, id: str) -> list[str]:
        return [label["label"] for label in self.catalog.annotations.of_asset(id)[TASK]["labels"]]

    def shown(self, filter: str) -> list[str]:
        return sorted(asset.id for asset in self.catalog.assets.page(filter=parse_filter(filter)).items)


@pytest.fixture
def house(world: World) -> House:
    return House(world)


def test_who_was_learnt_is_recognised_at_once_and_by_every_process(house: House) -> None:
    other = House(house.world)
    assert house.name(photo(1)) == other.name(photo(1)) == ["unknown"]
    person, created = house.learn("Anna", photo(1), photo(1, 5))
    assert (created, person.name, len(person.faces)) == (True, "Anna", 2)
    for each in (house, other):
        assert each.name(photo(1, 20)) == ["Anna"]
        assert each.name(photo(2)) == ["unknown"]
    assert house.learn("anna", photo(1, 9))[1] is False
    asyncio.run(house.graph.delete("Anna"))
    assert house.name(photo(1)) == other.name(photo(1)) == ["unknown"]


@pytest.mark.parametrize(("faces", "says"), [(0, "'1.png': no face is found"), (2, "'1.png': 2 faces are found")])
def test_a_picture_without_exactly_one_face_is_refused_by_its_name(house: House, faces: int, says: str) -> None:
    with pytest.raises(Problem, match=says) as raised:
        house.learn("Anna", photo(1), photo(1, 1, faces))
    assert raised.value.code == "unprocessable"
    assert asyncio.run(house.graph.page(limit=10, cursor=None)).items == []


def test_broken_pictures_and_names_are_refused(house: House) -> None:
    with pytest.raises(Problem, match=r"'0.png': ") as raised:
        house.learn("Anna", b"no picture")
    assert raised.value.status < 500
    with pytest.raises(Problem, match="bad_request"):
        house.learn("unknown", photo(1))
    assert house.descriptor.calls == []


def test_another_model_learns_the_gallery_from_the_kept_crops(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 3)
    for person in range(1, 6):
        house.learn(f"p{person}", photo(person), photo(person, 3))
    new = House(house.world)
    new.descriptor.target.turn = 2  # another space
    new.graph = PeopleGraph(new.faces, new.descriptor, new.world.places, model("2"))
    new.descriptor.fault = Problem("overloaded", "busy")
    assert new.name(photo(4)) == ["unknown"]  # not yet, and no error
    new.descriptor.fault = None
    assert asyncio.run(new.graph.catch_up(most=3)) == 3
    assert asyncio.run(new.graph.catch_up()) == 7
    assert new.name(photo(4)) == ["p4"]
    assert asyncio.run(new.graph.catch_up()) == 0
    assert house.name(photo(4)) == ["p4"]  # the old one still serves
    asked = len(new.descriptor.calls)
    later = PeopleGraph(new.faces, new.descriptor, new.world.places, model("2"))
    assert asyncio.run(later.catch_up()) == 0
    assert len(new.descriptor.calls) == asked


def test_a_kept_face_that_cannot_be_described_keeps_no_other_back(house: House) -> None:
    house.learn("Anna", photo(1))
    crop = house.catalog.people.without_vector("other", 1)[0]
    bad = module.NewFace(b"broken", "0" * 64, crop.box, (), 0.5, looks(2, 0))
    house.catalog.people.add("Bad", [bad], "faces@1")

    async def refuse(payload: bytes, faces: Any) -> Described:
        if payload == b"broken":
            raise Problem("undecodable_media", "no picture")
        return await Descriptions().describe(payload, faces)

    house.learn("Cleo", photo(3))
    house.descriptor.target.describe = refuse
    new = PeopleGraph(house.faces, house.descriptor, house.world.places, model("2"))
    assert asyncio.run(new.catch_up()) == 2
    assert {each.name for each in house.catalog.people.known("faces@2")} == {"Anna", "Cleo"}


def test_changes_reach_stored_answers_and_filters_and_can_be_taken_back(house: House) -> None:
    house.learn("Anna", photo(1))
    house.learn("A. Smith", photo(2))
    house.show("one", photo(1))
    house.show("two", photo(2))
    graph = house.graph
    asyncio.run(graph.rename("Anna", "Anna Smith"))
    assert (house.told("one"), house.shown('person:"anna smith"')) == (["Anna Smith"], ["one"])
    asyncio.run(graph.merge("Anna Smith", "A. Smith"))
    assert house.told("two") == ["Anna Smith"]
    assert house.name(photo(2)) == ["Anna Smith"]
    asyncio.run(graph.unmerge("Anna Smith", "A. Smith"))
    assert (house.told("two"), house.name(photo(2))) == (["A. Smith"], ["A. Smith"])
    asyncio.run(graph.delete("A. Smith"))
    assert house.told("two") == ["A. Smith"]
    asyncio.run(graph.delete("Anna Smith", erase=True))
    assert (house.told("one"), house.shown("person:unknown")) == (["unknown"], ["one"])


def test_who_is_learnt_while_an_asset_is_annotated_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    put = house.catalog.annotations.put

    def late(*args: Any) -> None:
        put(*args)
        house.catalog.people.add("Anna", [module.NewFace(b"j", "0" * 64, (0, 0, 1, 1), (), 1, looks(1, 0))], "faces@1")

    monkeypatch.setattr(house.catalog.annotations, "put", late)
    house.show("one", photo(1))
    assert house.told("one") == ["Anna"]


def test_assets_follow_the_gallery_whatever_was_learnt_after_them(house: House, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    for number in range(5):
        house.show(f"of 1, {number}", photo(1, number))
    house.show("of 2", photo(2))
    house.show("group", photo(0, 0, faces=3))  # persons 0, 1 and 2
    assert asyncio.run(house.graph.follow()) == 0
    house.learn("Anna", photo(1))
    assert house.shown("person:anna") == []
    assert asyncio.run(House(house.world).graph.follow()) == 7
    assert house.shown("person:anna") == ["group", *(f"of 1, {number}" for number in range(5))]
    assert house.told("group") == ["unknown", "Anna", "unknown"]
    labels = house.catalog.annotations.of_asset("of 1, 4")[TASK]["labels"]
    assert labels[0]["confidence"] == pytest.approx(1 - 0.5 * 2 * np.sin(0.02) / LIMIT, abs=1e-3)
    wrong = house.learn("Anna", photo(2))[0]
    asyncio.run(house.graph.split("Anna", [wrong.faces[1].id], "Ben"))
    asyncio.run(house.graph.follow())
    assert (house.told("group"), house.shown("person:ben")) == (["unknown", "Anna", "Ben"], ["group", "of 2"])
    asyncio.run(house.graph.delete("Anna", erase=True))
    asyncio.run(house.graph.follow())
    assert house.told("group") == ["unknown", "unknown", "Ben"]
    assert asyncio.run(house.graph.follow()) == 0


def test_a_face_finds_the_assets_of_one_owner(house: House) -> None:
    house.learn("Anna", photo(1))
    house.show("near", photo(1, 10))
    house.show("nearer", photo(1, 4))
    house.show("far", photo(3, 10))
    house.show("group", photo(0, 0, faces=2))  # the second face is turned to person 1
    house.show("other's", photo(1), owner="ben")
    hits = asyncio.run(house.graph.search(photo(1), "anna", 10)).items
    assert [(hit.asset_id, hit.same, hit.label) for hit in hits] == [
        ("group", True, "Anna"), ("nearer", True, "Anna"), ("near", True, "Anna"), ("far", False, "unknown"),
    ]  # fmt: skip
    assert hits[0].box == (10, 0, 19, 10)
    assert len(asyncio.run(house.graph.search(photo(1), "anna", 2)).items) == 2
    with pytest.raises(Problem, match="no face"):
        asyncio.run(house.graph.search(photo(1, 0, faces=0), "anna", 2))


def test_an_export_holds_all_that_is_kept(house: House) -> None:
    house.learn("Änna", photo(1), photo(1, 5))
    house.show("one", photo(1, 2))
    packed = zipfile.ZipFile(io.BytesIO(asyncio.run(house.graph.export("Änna"))))
    said = json.loads(packed.read("people.json"))
    assert (said["name"], [each["asset_id"] for each in said["appearances"]]) == ("Änna", ["one"])
    assert [packed.read(face["file"]) for face in said["faces"]] == [photo(1), photo(1, 5)]
    rows = np.load(io.BytesIO(packed.read(said["vectors"][0]["file"])), allow_pickle=False)
    np.testing.assert_array_equal(rows, [looks(1, 0), looks(1, 5)])
    assert said["vectors"][0]["faces"] == [face["id"] for face in said["faces"]]
    with pytest.raises(Problem, match="not_found"):
        asyncio.run(house.graph.export("Ben"))


def test_without_a_descriptor_people_can_still_be_forgotten(house: House) -> None:
    house.learn("Anna", photo(1))
    house.show("one", photo(1))
    house.graph = PeopleGraph(house.faces, None, house.world.places, None)
    with pytest.raises(Problem, match="unavailable"):
        house.learn("Ben", photo(2))
    with pytest.raises(Problem, match="unavailable"):
        asyncio.run(house.graph.search(photo(1), "anna", 1))
    asyncio.run(house.graph.delete("Anna", erase=True))
    assert house.told("one") == ["unknown"]


def test_it_travels_to_replicas_without_what_it_has_opened(house: House) -> None:
    house.learn("Anna", photo(1))
    house.name(photo(1))
    graph = PeopleGraph(None, None, house.world.places, model())
    copy = pickle.loads(pickle.dumps(graph))  # what Ray does with a recipe
    assert (copy.memory.gallery, copy.model.key) == (None, "faces@1")
