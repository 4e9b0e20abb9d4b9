"""Face networks: they compute what the published ones do, and a checkpoint of theirs becomes what is served."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from facenet_pytorch import InceptionResnetV1 as Published
from safetensors.torch import save_file
from torch import Tensor, nn

from serve_app.models.face_checkpoints import FACE, NETWORKS, convert_face
from serve_app.models.inception_resnet import InceptionResnetV1
from serve_app.models.manifest import Descriptor, Model, UnusableFile, load_manifest
from serve_app.models.pull import PullError, pull
from serve_app.models.resnet50_faces import ResNet50Faces
from serve_app.models.sessions import open_session
from serve_app.models.store import Store

SIDE = 96
INCEPTION: dict[str, Any] = {
    "side": SIDE, "colour": "rgb", "mean": [127.5] * 3, "std": [128] * 3, "align": "box", "margin": 0.1, "dim": 512,
    "thresholds": {1: 1.04},
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine take longer than one alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def lively(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with random weights that all tell: the normalisations' statistics too, which are 0 and 1 at first."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                for values, low, high in ((module.weight, 0.5, 1.5), (module.bias, -0.5, 0.5)):
                    values.uniform_(low, high, generator=random)
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.uniform_(-0.5, 0.5, generator=random)
                module.running_var.uniform_(0.5, 1.5, generator=random)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, generator=random)
                if module.bias is not None:
                    module.bias.uniform_(-0.5, 0.5, generator=random)
    return model.eval()


def published_inception(seed: int = 0, depth: int | None = None) -> Published:
    """facenet-pytorch's own network; with ``depth`` each stage has only so many blocks."""
    model = Published(num_classes=None)
    for name in ("repeat_1", "repeat_2", "repeat_3"):
        setattr(model, name, getattr(model, name)[:depth])
    lively(model, seed)
    return model


def published_resnet() -> nn.Module:
    """torchvision's ResNet-50, its strides and its first pooling set where Caffe's ResNet-50 has them."""
    model = torchvision.models.resnet50(num_classes=8)
    model.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    for stage in (model.layer2, model.layer3, model.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    return lively(model)


def faces(count: int, side: int) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(7))


def unit(vectors: Any) -> Tensor:
    return nn.functional.normalize(torch.as_tensor(vectors), dim=-1)


def test_inception_resnet_says_what_facenet_pytorch_says() -> None:
    theirs, ours = published_inception(), InceptionResnetV1()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    batch = faces(3, 160)
    with torch.no_grad():
        expected, found = theirs(batch), unit(ours.eval()(batch))
    assert (expected[0] - expected[1]).norm() > 0.05, "a network that says the same of every face proves nothing"
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_resnet50_says_what_torchvisions_trunk_says() -> None:
    theirs = published_resnet()
    state = {key: value for key, value in theirs.state_dict().items() if not key.startswith("fc.")}
    ours = ResNet50Faces()
    ours.load_state_dict(state, strict=True)
    theirs.fc = nn.Identity()
    batch = faces(2, 224)
    with torch.no_grad():
        expected, found = unit(theirs(batch)), unit(ours.eval()(batch))
    assert found.shape == (2, 2048)
    assert (expected[0] - expected[1]).norm() > 0.01
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def row(kind: str, checkpoint: str, descriptor: dict[str, Any]) -> Model:
    return Model.model_validate({
        "name": "face", "task": "face_identity", "revision": "1", "licence": "none", "source": "made here",
        "files": {
            "checkpoint": {"url": f"https://example.org/{checkpoint}"}, "weights": {"converted": FACE},
        },
        "convert": kind, "descriptor": descriptor,
    })  # fmt: skip


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as facenet-pytorch publishes it, with its classifier, but of a small network."""
    state = published_inception(depth=1).state_dict()
    path = tmp_path_factory.mktemp("inception") / "face.pt"
    torch.save(state | {"logits.weight": torch.zeros(4, 512), "logits.bias": torch.zeros(4)}, path)
    return path


def test_a_pulled_inception_resnet_is_served_with_any_number_of_faces(inception: Path, tmp_path: Path) -> None:
    store, model = Store(tmp_path), row("inception_resnet", "face.pt", INCEPTION)
    assert [one.origin for one in pull(store, [model], from_dir=inception.parent)] == ["copied", "converted"]
    session = open_session(store.locate(model)["weights"], 1)
    reference = published_inception(depth=1)
    for count in (1, 3):
        batch = faces(count, SIDE)
        with torch.no_grad():
            expected = reference(batch)
        (found,) = session.run(["vectors"], {"faces": batch.numpy()})
        torch.testing.assert_close(unit(found), expected, atol=1e-5, rtol=0)


def test_a_resnet50_is_converted_from_safetensors(tmp_path: Path) -> None:
    small = ResNet50Faces(4, (1, 1, 1, 1))
    lively(small)
    state = {key: value for key, value in small.state_dict().items() if "num_batches" not in key}
    save_file(state | {"fc.weight": torch.zeros(3, 128)}, tmp_path / "resnet.safetensors")
    spec = Descriptor.model_validate({**INCEPTION, "dim": 128, "side": 64})
    convert_face("resnet50_faces", {"checkpoint": tmp_path / "resnet.safetensors"}, spec, tmp_path)
    (found,) = open_session(tmp_path / FACE, 1).run(None, {"faces": faces(2, 64).numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.as_tensor(found), small(faces(2, 64)), atol=1e-5, rtol=1e-4)


@pytest.fixture
def resnet() -> Model:
    """The shipped row, made for a network as small as the one that the tests bring."""
    shipped = load_manifest().models["resnet50-vggface2"].model_dump()
    return Model.model_validate({**shipped, "descriptor": {**shipped["descriptor"], "dim": 128, "side": 64}})


def test_a_network_without_an_address_comes_from_a_folder_only(resnet: Model, tmp_path: Path) -> None:
    store, folder = Store(tmp_path / "home"), tmp_path / "folder"
    remedy = "mediaverse models pull resnet50-vggface2 --from DIR"
    assert store.remedy(resnet) == remedy
    with pytest.raises(PullError, match=f"resnet50_ft_vggface2.safetensors has no public address: {remedy}"):
        pull(store, [resnet])
    folder.mkdir()
    with pytest.raises(PullError, match=r"has no resnet50_ft_vggface2\.safetensors, which resnet50-vggface2@ft needs$"):
        pull(store, [resnet], from_dir=folder)
    (folder / "resnet50_ft_vggface2.safetensors").write_bytes(b"something else")
    with pytest.raises(PullError, match="cannot be read as safetensors"):
        pull(store, [resnet], from_dir=folder)
    save_file(lively(ResNet50Faces(4, (1, 1, 1, 1))).state_dict(), folder / "resnet50_ft_vggface2.safetensors")
    pulled = pull(store, [resnet], from_dir=folder)
    assert [(one.origin, one.recorded) for one in pulled] == [("copied", True), ("converted", False)]
    assert store.state(resnet) == "present"
    assert {one.origin for one in pull(store, [resnet])} == {"present"}


@pytest.mark.parametrize(("name", "file"), [("inception-resnet-v1-vggface2", "20180402-114759-vggface2.pt"),
                                            ("resnet50-vggface2", "resnet50_ft_vggface2.safetensors")])  # fmt: skip
def test_the_shipped_rows_are_what_the_publishers_say(name: str, file: str) -> None:
    model = load_manifest().models[name]
    assert model.files["checkpoint"].name == file
    assert model.files["weights"].name == FACE
    assert "research only" in str(model.licence_note)
    spec = model.descriptor
    assert spec is not None
    # (x - 127.5) / 128 of RGB as facenet-pytorch has it; BGR minus the mean as the VGG group has it.
    tells = {160: ("rgb", (127.5,) * 3, (128,) * 3, 512), 224: ("bgr", (91.4953, 103.8827, 131.0912), (1,) * 3, 2048)}
    assert tells[spec.side] == (spec.colour, spec.mean, spec.std, spec.dim)


class Bad:
    """What a hostile file would hold: unpickled, it creates ``made``."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.made),)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state, made: {"weight": Bad(made)}, "cannot be read as tensors"),
        (lambda state, made: [1, 2], "no table of tensors"),
        (lambda state, made: {"weight": 1}, "no table of tensors"),
        (lambda state, made: {}, "no last_linear.weight"),
        (lambda state, made: {k: v for k, v in state.items() if "block8" not in k}, "Missing key.*block8"),
        (lambda state, made: state | {"more": torch.zeros(1)}, "Unexpected key.*more"),
        (lambda state, made: state | {"last_linear.weight": torch.zeros(1 << 24, 1)}, "size mismatch.*last_"),
        (lambda state, made: state | {"last_linear.weight": state["last_linear.weight"].long()}, "unusable"),
    ],
)
def test_another_torch_file_is_refused(
    inception: Path, tmp_path: Path, spoil: Callable[[dict[str, Tensor], Path], Any], message: str
) -> None:
    state = torch.load(inception, weights_only=True)
    torch.save(spoil(state, tmp_path / "made"), tmp_path / "face.pt")
    store, model = Store(tmp_path / "home"), row("inception_resnet", "face.pt", INCEPTION)
    with pytest.raises(PullError, match=message):
        pull(store, [model], from_dir=tmp_path)
    assert not (tmp_path / "made").exists(), "code of the file was run"
    assert store.state(model) == "missing"


def test_a_network_of_another_dimension_is_refused(inception: Path, tmp_path: Path) -> None:
    spec = Descriptor.model_validate({**INCEPTION, "dim": 128})
    with pytest.raises(UnusableFile, match=r"face\.pt is unusable: it gives \[2, 512\] .* the manifest says dim 128"):
        convert_face("inception_resnet", {"checkpoint": inception}, spec, tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\xff" * 64])
def test_what_is_no_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "resnet.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        NETWORKS["resnet50_faces"](tmp_path / "resnet.safetensors")


def test_safetensors_of_another_network_are_refused(tmp_path: Path) -> None:
    for state, message in (({"a": torch.zeros(1)}, "conv1.weight"), ({"conv1.weight": torch.zeros(64, 3)}, "Missing")):
        save_file(state, tmp_path / "resnet.safetensors")
        with pytest.raises(ValueError, match=message):
            NETWORKS["resnet50_faces"](tmp_path / "resnet.safetensors")
