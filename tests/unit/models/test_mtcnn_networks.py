"""MTCNN's networks against facenet-pytorch's under the same random weights, and as ONNX against themselves in torch."""

from __future__ import annotations

from pathlib import Path

import facenet_pytorch
import numpy as np
import pytest
import torch
from facenet_pytorch.models import mtcnn as theirs
from numpy.typing import NDArray
from torch import nn

from serve_app.models import mtcnn, public
from serve_app.models.sessions import open_session

NAMES = {"pnet": "PNet", "rnet": "RNet", "onet": "ONet"}
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def pairs() -> dict[str, tuple[nn.Module, nn.Module]]:
    """Ours and theirs by name; slopes from -1.3 to 1.3, as some of the published ones are."""
    torch.manual_seed(0)
    found = {}
    for name, kind in NAMES.items():
        own, other = getattr(mtcnn, kind)().eval(), getattr(theirs, kind)(pretrained=False).eval()
        for key, parameter in other.named_parameters():
            if parameter.ndim == 1:
                nn.init.uniform_(parameter, -1.3, 1.3)
            else:  # classes so close that no probability is 0 or 1
                nn.init.kaiming_normal_(parameter).data.mul_(0.02 if key.endswith("_1.weight") else 1)
        own.load_state_dict(other.state_dict())
        found[name] = own, other
    return found


@pytest.fixture(scope="module")
def exported(pairs: dict[str, tuple[nn.Module, nn.Module]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mtcnn")
    mtcnn.export({name: own for name, (own, _) in pairs.items()}, out)
    return out


def expected(network: nn.Module, pixels: Floats) -> list[Floats]:
    """What facenet-pytorch's network gives for pixels in 0..255, in the order of our outputs."""
    with torch.inference_mode():
        *shifts, classes = network((torch.from_numpy(pixels) - 127.5) * 0.0078125)
    return [classes[:, 1].numpy(), *(each.numpy() for each in shifts)]


def noise(*shape: int) -> Floats:
    return np.random.default_rng(1).uniform(0, 255, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "shape"), [("pnet", (2, 3, 41, 30)), ("rnet", (3, 3, 24, 24)), ("onet", (3, 3, 48, 48))]
)
def test_our_definitions_are_theirs(
    pairs: dict[str, tuple[nn.Module, nn.Module]], name: str, shape: tuple[int, ...]
) -> None:
    own, other = pairs[name]
    pixels = noise(*shape)
    with torch.inference_mode():
        found = own((torch.from_numpy(pixels) - 127.5) / 128)
    for ours, wanted in zip(found, expected(other, pixels), strict=True):
        np.testing.assert_allclose(ours, wanted, atol=1e-5)


@pytest.mark.parametrize(("name", "side"), [("rnet", 24), ("onet", 48)])
@pytest.mark.parametrize("batch", [1, 5])
def test_crops_in_onnx(
    pairs: dict[str, tuple[nn.Module, nn.Module]], exported: Path, name: str, side: int, batch: int
) -> None:
    pixels = noise(batch, 3, side, side)
    found = open_session(exported / f"{name}.onnx", 1).run(None, {mtcnn.INPUT: pixels})
    for ours, wanted in zip(found, expected(pairs[name][1], pixels), strict=True):
        np.testing.assert_allclose(ours, wanted, atol=1e-4 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize(("height", "width"), [(12, 12), (40, 40), (39, 40), (40, 31), (27, 39), (13, 25)])
def test_pictures_of_any_size_in_onnx(
    pairs: dict[str, tuple[nn.Module, nn.Module]], exported: Path, height: int, width: int
) -> None:
    pixels = noise(2, 3, height, width)
    found = open_session(exported / "pnet.onnx", 1).run(None, {mtcnn.INPUT: pixels})
    assert found[0].shape == (2, (height + 1) // 2 - 5, (width + 1) // 2 - 5)
    for ours, wanted in zip(found, expected(pairs["pnet"][1], pixels), strict=True):
        np.testing.assert_allclose(ours, wanted, atol=1e-4 * max(1, np.abs(wanted).max()))


def test_what_ships_holds_the_published_weights() -> None:
    networks = mtcnn.load(Path(facenet_pytorch.__file__).parent / "data")
    folder = Path(public.__file__).parent
    for name, side in (("pnet", 61), ("rnet", 24), ("onet", 48)):
        pixels = noise(3, 3, side, side)
        found = open_session(folder / f"{name}.onnx", 1).run(None, {mtcnn.INPUT: pixels})
        with torch.inference_mode():
            wanted = networks[name]((torch.from_numpy(pixels) - 127.5) / 128)
        for ours, one in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ours, one, atol=1e-5)
    assert "MIT License" in (folder / "MTCNN_LICENSE.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_files_name_no_folder_of_the_machine_that_made_them(exported: Path, name: str) -> None:
    for folder in (exported, Path(public.__file__).parent):
        assert b".py" not in (folder / f"{name}.onnx").read_bytes()
