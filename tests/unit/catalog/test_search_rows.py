"""What a search asks of the catalog beside names: the vectors of assets, and contents that come with several."""

from __future__ import annotations

import numpy as np
import pytest
from catalog_samples import REVISION, log, picture, posted, sha, vector

from serve_app.catalog import Catalog, Key, Moment, parse_filter
from serve_app.errors import Problem

TEXTS = "sentences@1"


def test_a_content_comes_with_all_its_vectors_or_none(catalog: Catalog) -> None:
    added = catalog.contents.add(posted("a", modality="text"), vector(1), REVISION, {TEXTS: vector(2, 4)})
    assert added.seq == catalog.vectors.head() == 2
    for revision, row in ((REVISION, vector(1)), (TEXTS, vector(2, 4))):
        (change,) = log(catalog, revision)
        assert change.vector is not None
        np.testing.assert_array_equal(change.vector, row)
    with pytest.raises(Problem):
        catalog.contents.add(posted("a", "ben", modality="text"), vector(1), REVISION, {TEXTS: vector(2, 4)})
    with pytest.raises(ValueError, match="finite"):
        catalog.contents.add(posted("b", modality="text"), vector(1), REVISION, {TEXTS: np.full(4, np.nan)})
    assert catalog.vectors.head() == 2
    again = catalog.contents.add(posted("a", modality="text"), vector(1), REVISION, {TEXTS: vector(2, 4)})
    assert not again.created
    assert len(log(catalog, TEXTS)) == 1


def test_the_vectors_of_assets_by_modality_and_revision(catalog: Catalog) -> None:
    catalog.contents.add(posted("t", modality="text"), vector(1), REVISION, {TEXTS: vector(2, 4)})
    catalog.contents.add(posted("twin", modality="text"), vector(1), REVISION)
    catalog.contents.add(posted("p"), vector(3), REVISION)
    catalog.assets.add(picture("v", kind="video", data="film"))
    moments = catalog.contents.put_moments("v", [Moment(n, n + 1, 25 * n, 25 * n + 25) for n in range(3)])
    keys = [Key("anna", "video", each.sha256) for each in (moments[2], moments[0])]
    catalog.vectors.put_many([(key, vector(number)) for number, key in enumerate(keys)], REVISION)
    both = {"text": TEXTS, "image": REVISION, "video": REVISION, "shape3d": REVISION}
    found = catalog.vectors.of_assets({"t", "twin", "p", "v", "nobody"}, both)
    assert found.keys() == {("t", "text"), ("twin", "text"), ("p", "image"), ("v", "video")}
    assert found["t", "text"] == found["twin", "text"], "equal contents of an owner share theirs"
    parts = catalog.vectors.latest_parts(found["v", "video"])
    assert [parts[vid].part for vid in found["v", "video"]] == [0, 2], "the one in the middle has no vector"
    (other,) = catalog.vectors.of_assets(["t"], {"text": REVISION}).values()
    assert other != found["t", "text"]
    assert catalog.vectors.of_assets([], both) == {}
    catalog.assets.delete("p")
    assert ("p", "image") not in catalog.vectors.of_assets(["p"], both)
    assert sha("film") != keys[0].sha256


def test_what_says_every_word_by_kind(catalog: Catalog) -> None:
    for name, description in {"a": "A dog on the beach", "b": "a cat on a BEACH", "c": "dog", "d": "beach dog"}.items():
        catalog.assets.add(picture(name, data=name, description=description))
    catalog.assets.add(picture("v", "ben", kind="video", data="v", description="the beach, a dog"))
    limits = {"image": 10, "video": 10, "text": 10}

    def found(text: str, **options: object) -> dict[str, set[str]]:
        answer = catalog.words.saying_all(text, limits, **options)  # type: ignore[arg-type]
        return {kind: set(ids) for kind, ids in answer.items()}

    assert found("dog beach") == {"image": {"a", "d"}, "video": {"v"}, "text": set()}
    assert found("dog beach", without_owner="ben")["video"] == set()
    assert found("dog beach", filter=parse_filter("owner:ben")) == {"image": set(), "video": {"v"}, "text": set()}
    for nothing in ("beach dog nowhere", "' AND \" OR NOT", "", "...", "*"):
        assert not any(found(nothing).values())
    ids = [id for id, _ in catalog.words.search("dog beach", ("image",), 10) if id in ("a", "d")]
    assert catalog.words.saying_all("dog beach", {"image": 1}) == {"image": ids[:1]}
    assert catalog.words.saying_all("dog beach", {"image": 9}) == {"image": ids}
    assert catalog.words.saying_all("dog beach", {"image": 0, "video": 1}) == {"image": [], "video": ["v"]}
