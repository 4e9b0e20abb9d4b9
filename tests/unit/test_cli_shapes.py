"""The command line with 3D files: the real door, with 3D models and a shelf behind it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from serve_app import cli_examples
from serve_app.media import sniff
from serve_app.wire import schemas
from tests import meshes
from tests.unit.test_cli_videos import run
from tests.unit.wire.door import services, serving
from tests.unit.wire.test_http import Fake
from tests.unit.wire.test_shape3d import BROKEN, Shapes

SHOWN = """\
{file} model/gltf-binary 12 triangles textured
view  azimuth  elevation  from
0     0        0          outside
1     45       0          inside
annotator              answer
object_detection       cube 0.90 in views 3, 0
cross_modal_embedding  a vector for each of 1 views
"""


@pytest.mark.parametrize("kind", meshes.FORMATS)
def test_what_was_seen_of_a_3d_file_is_shown_with_its_views(tmp_path: Path, kind: str) -> None:
    shapes, file = Shapes(), tmp_path / "a [1]"  # told by its content
    file.write_bytes(meshes.file(meshes.solid("box"), kind))
    with serving(services(shape3d=shapes)) as url:
        shown = run("annotate", file, "--annotators", "objects,captions", "--url", url)
    assert shown.stdout == SHOWN.format(file=file)
    assert shown.stderr == "texture x.png is missing\n"
    assert shapes.asked == [(file.read_bytes(), ("objects", "captions"), None, False)]


def test_an_archive_is_a_3d_file_and_a_large_one_is_told_by_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.cli_annotate._LOOKED_AT", sniff.WINDOW + 84)
    archive, large = tmp_path / "a.zip", tmp_path / "b.stl"
    archive.write_bytes(meshes.zipped(meshes.obj_files()))
    large.write_bytes(meshes.file(meshes.solid("sphere", subdivisions=5), "stl"))
    assert large.stat().st_size > 2 * sniff.WINDOW
    shapes = Shapes()
    with serving(services(shape3d=shapes)) as url:
        said = run("annotate", archive, large, "--json", "--url", url).stdout.splitlines()
    assert [json.loads(line)["file"] for line in said] == [str(archive), str(large)]
    assert len(shapes.asked) == 2


def test_a_broken_file_is_named_with_its_fault(tmp_path: Path) -> None:
    file = tmp_path / "a.off"
    file.write_bytes(meshes.file(meshes.solid("box"), "off"))
    with serving(services(shape3d=Shapes(BROKEN))) as url:
        assert "a face names vertex 9 of 3" in run("annotate", file, "--url", url, code=1).stderr


class Shelf(Fake):
    async def search_text(self, query: schemas.TextQuery) -> schemas.SearchResult:
        found = schemas.ShapeRanking(contents=["anna/a [1].glb", "b"], scores=[0.91234, 0.5], views=[3, 11])
        return schemas.SearchResult(shape3d=found, partial=False, time=0.1)


def test_views_of_3d_files_are_found() -> None:
    with serving(services(retrieval=Shelf())) as url:
        shown = run("search", "a cube", "--url", url).stdout
    assert shown.splitlines() == [
        "score  view  shape3d",
        "0.912  3     anna/a [1].glb",
        "0.500  11    b",
    ]


def test_the_examples_are_what_their_names_say(tmp_path: Path) -> None:
    cli_examples.solids(tmp_path)
    size = {file.name: trimesh.load_mesh(file).extents for file in tmp_path.iterdir()}
    expected = {
        "cube.glb": (1, 1, 1), "ball.ply": (2, 2, 2), "cone.stl": (1.2, 1.2, 1.5), "ring.obj": (2.7, 0.7, 2.7),
        "cylinder.off": (1, 1.5, 1), "room.glb": (5, 2.6, 4),
    }  # fmt: skip
    assert size.keys() == expected.keys()
    for name, extents in expected.items():
        np.testing.assert_allclose(size[name], extents, atol=0.01, err_msg=name)
