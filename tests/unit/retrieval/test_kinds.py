import pytest
from pydantic import ValidationError

from serve_app.retrieval.ann import check_factory
from serve_app.retrieval.hits import MODALITIES
from serve_app.retrieval.kinds import IndexTable, faults, load_table

TABLE = IndexTable(default={0: "Flat", 50: "IVF4,Flat", 10: "SQ8"}, modalities={"video": {0: "HNSW32"}})


def test_sizes_ascend_and_a_modality_may_have_its_own():
    kinds = TABLE.kinds()
    assert kinds["image"] == ((0, "Flat"), (10, "SQ8"), (50, "IVF4,Flat"))
    assert kinds["video"] == ((0, "HNSW32"),)
    assert set(kinds) == set(MODALITIES)


def test_an_operator_sets_one_kind_or_some():
    assert set(TABLE.kinds("PQ8").values()) == {((0, "PQ8"),)}
    some = TABLE.kinds({"image": "PQ8", "text": "auto"})
    assert some["image"] == ((0, "PQ8"),)
    assert some["text"] == TABLE.kinds()["text"]


@pytest.mark.parametrize("table", [{"default": {5: "Flat"}}, {"default": {0: "auto"}}, {"default": {0: "a b"}}, {}])
def test_a_table_without_sense_is_refused(table):
    with pytest.raises(ValidationError):
        IndexTable.model_validate(table)


def test_the_shipped_table_is_one_that_faiss_makes():
    assert faults(load_table().kinds(), 512) == []
    assert faults(load_table().kinds(), 384) == []


@pytest.mark.parametrize(
    "factory", ["Flat", "IVF4096,Flat", "IVF4096,SQ8", "HNSW32", "OPQ32_64,IVF1024,PQ32x8fs", "PQ64", "PQ64x4fs"]
)
def test_factories_that_faiss_makes(factory):
    if factory.endswith("x8fs"):
        with pytest.raises(ValueError, match="FAISS makes no index"):
            check_factory(factory, 512)
    else:
        check_factory(factory, 512)


@pytest.mark.parametrize("factory", ["", "flat", "IVF0", "PQ7", "IDMap,Flat", "NSG16", "IVF4,Flat,RFlat", "LSH"])
def test_factories_that_are_refused_say_why(factory):
    with pytest.raises(ValueError, match="index"):
        check_factory(factory, 512)
    assert faults({"image": ((0, factory),)}, 512)[0].startswith("image: ")
