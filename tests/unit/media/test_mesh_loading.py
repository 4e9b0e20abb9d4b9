"""Meshes of every format by the real child: shapes whose measures are known in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serve_app.media.mesh_process import load_now
from tests import meshes


@pytest.mark.parametrize("kind", [*meshes.FORMATS, "stl_ascii", "ply_ascii"])
def test_every_format_gives_the_same_box(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(meshes.file(meshes.solid("box", extents=(1, 2, 3)), kind))
    loaded = load_now(str(path))
    form = kind.partition("_")[0]
    assert (loaded.facts.format, loaded.facts.media_type) == (form, meshes.MEDIA_TYPES[form])
    assert (loaded.facts.triangles, loaded.facts.bodies, loaded.facts.points) == (12, 1, 0)
    # STL is Z up: the third side stands, the second points to the front.
    assert loaded.facts.size == pytest.approx((1, 3, 2) if form == "stl" else (1, 2, 3))
    extents = np.ptp(loaded.mesh.vertices, axis=0)
    assert extents == pytest.approx(2 * np.array(loaded.facts.size) / np.sqrt(14))
    assert np.linalg.norm(loaded.mesh.vertices, axis=1).max() == pytest.approx(1)
