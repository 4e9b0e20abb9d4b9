"""Which renderer draws, by what is installed and the accelerator."""

from __future__ import annotations

from serve_app.media.embree import EmbreeRenderer
from serve_app.media.rendering import Renderer


def choose(device: str = "cpu") -> Renderer:
    """The renderer for a torch device ("cpu", "cuda", "cuda:1")."""
    return EmbreeRenderer()
