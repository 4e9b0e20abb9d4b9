"""Our SlowFast is the reference's: its keys, its logits, and the same again in ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import slowfast_golden as golden
import torch
from slowfast_golden import CASES, TINY, Case

from serve_app.models.sessions import open_session, warm
from serve_app.models.slowfast import R50_8X8, SlowFast, SlowFastConfig, export_slowfast, slow_frames

TOLERANCE = 1e-4


def build(config: SlowFastConfig) -> SlowFast:
    """A network with the golden weights, ready to infer."""
    model = SlowFast(config)
    model.load_state_dict(golden.weights(shapes(model)))
    return model.eval()


def shapes(model: SlowFast) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine take longer than one alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models() -> dict[SlowFastConfig, SlowFast]:
    return {config: build(config) for config in (R50_8X8, TINY)}


def test_the_keys_are_those_of_the_public_checkpoint(models: dict[SlowFastConfig, SlowFast]) -> None:
    assert shapes(models[R50_8X8]) == golden.reference_shapes()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_logits_are_the_references(models: dict[SlowFastConfig, SlowFast], case: Case) -> None:
    expected = golden.logits(case)
    with torch.no_grad():
        found = models[case.config](golden.clip(case)).numpy()
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)
    assert expected.std() > 0.3, "logits of no spread would agree with anything"


def test_the_exported_network_answers_as_the_reference_for_any_batch(
    models: dict[SlowFastConfig, SlowFast], tmp_path: Path
) -> None:
    (case,) = (case for case in CASES if case.config is TINY)
    export_slowfast(models[TINY], tmp_path / "tiny.onnx")
    session = open_session(tmp_path / "tiny.onnx", 1)
    warm(session)
    [given], [made] = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == ("clip", "tensor(float)", [3, 16, 64, 64])
    assert (made.name, made.type, made.shape[1:]) == ("probabilities", "tensor(float)", [7])
    for part in (slice(0, 1), slice(1, 4), slice(0, 5)):
        (found,) = session.run(None, {"clip": golden.clip(case)[part].numpy()})
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
        # Logits are known up to a constant of each clip.
        centred = [each - each.mean(1, keepdims=True) for each in (np.log(found), golden.logits(case)[part])]
        np.testing.assert_allclose(centred[0], centred[1], atol=TOLERANCE, rtol=0)


def test_the_slow_frames_are_uniform_and_cut_to_whole_ones() -> None:
    # 31 / 7 = 4.43 apart, by hand.
    assert slow_frames(32, 4).tolist() == [0, 4, 8, 13, 17, 22, 26, 31]
    assert slow_frames(16, 4).tolist() == [0, 5, 10, 15]


def test_the_slow_pathway_sees_the_slow_frames_and_the_fast_one_all(models: dict[SlowFastConfig, SlowFast]) -> None:
    """Where the fast pathway is deaf, the frames that the slow one does not see change nothing."""
    model = build(TINY)
    with torch.no_grad():
        model.blocks[0].multipathway_blocks[1].norm.weight.zero_()  # type: ignore[union-attr, operator, index]
    clip = torch.from_numpy(golden.draw("slow frames", (1, 3, 16, 64, 64)))
    seen = slow_frames(16, 2).tolist()
    other = clip.clone()
    other[:, :, [frame for frame in range(16) if frame not in seen]] = 0
    with torch.no_grad():
        assert torch.equal(model(clip), model(other))
        assert not torch.allclose(models[TINY](clip), models[TINY](other), atol=1e-4)


@pytest.mark.parametrize("wrong", [{"frames": 15}, {"stem": 18}, {"depths": (1, 1)}])
def test_pathways_that_would_not_meet_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"multiple|as many"):
        SlowFastConfig(**{"classes": 2, "alpha": 4, "beta_inv": 4, **wrong})  # type: ignore[arg-type]


def test_a_new_network_can_be_trained() -> None:
    torch.manual_seed(0)
    model = SlowFast(SlowFastConfig(2, 4, 32, 2, 4, stem=8, widths=(8, 8), depths=(1, 1), strides=(1, 2),
                                    slow_kernels=(1, 1), fast_kernels=(3, 3), stem_pool=False))  # fmt: skip
    clips = torch.zeros(8, 3, 4, 32, 32)
    clips[:4, :, ::2] = 1  # four flicker, four are still
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(20):
        loss = torch.nn.functional.cross_entropy(model(clips), torch.tensor([0] * 4 + [1] * 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
