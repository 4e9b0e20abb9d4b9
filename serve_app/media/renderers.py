"""Which renderer draws, by what is installed and the accelerator."""

from __future__ import annotations

from importlib.util import find_spec

from serve_app.media.embree import EmbreeRenderer
from serve_app.media.rendering import Renderer


def choose(device: str | None = None) -> Renderer:
    """The renderer for a torch device ("cpu", "cuda", "cuda:1"; None: a GPU where there is one): PyTorch3D on a GPU
    where an operator has installed it, else Embree, which on a CPU is hundreds of times faster and no less exact."""
    if device is None:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and find_spec("pytorch3d") is not None:
        from serve_app.media.pytorch3d_renderer import PyTorch3DRenderer

        return PyTorch3DRenderer(device)
    return EmbreeRenderer()
