import faiss
import numpy as np
import pytest

from serve_app.retrieval.ann import Ann, on_gpu
from serve_app.retrieval.exact import Blocks
from tests.unit.retrieval.fake_log import DIM, clustered


@pytest.mark.skipif(not faiss.get_num_gpus(), reason="no GPU")
def test_a_gpu_trains_and_answers_as_the_cpu_does():
    blocks = Blocks(DIM)
    blocks.append(clustered(20_000))
    alive = np.ones(20_000, np.bool_)
    made = Ann.train("IVF64,Flat", blocks, 20_000, gpu=True)
    made.tune(blocks, alive)
    effort = made.effort(1.0)
    cpu = Ann(made.factory, made.index, made.efforts)
    for mine, theirs in zip(
        *(each.candidates(clustered(9, 5), 10, None, 20_000, effort) for each in (made, cpu)), strict=True
    ):
        assert mine.tolist() == theirs.tolist()


@pytest.mark.skipif(bool(faiss.get_num_gpus()), reason="there is a GPU")
def test_without_a_gpu_an_index_stays_where_it_is():
    assert on_gpu(faiss.IndexFlatIP(DIM)) is None


def test_the_effort_reaches_the_goal_and_grows_as_fewer_match():
    blocks = Blocks(DIM)
    blocks.append(clustered(20_000, spread=2.0))
    made = Ann.train("IVF128,SQ4", blocks, 20_000)
    made.tune(blocks, np.ones(20_000, np.bool_))
    assert [effort.share for effort in made.efforts][:4] == [1.0, 0.3, 0.1, 0.03]
    assert all(effort.recall >= 0.995 for effort in made.efforts)
    assert [effort.depth for effort in made.efforts] == sorted(effort.depth for effort in made.efforts)
    assert made.effort(0.5) == made.efforts[1]
    assert made.effort(0.001) is None
    assert made.efforts[0].depth < 128
