"""A server with weights, and manifests whose rows point at it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from serve_app.models.manifest import Manifest, load_manifest

sys.path.insert(0, str(Path(__file__).parent))  # for weights_server

from weights_server import BODY, SHA, Handler, MakeManifest, Weights


@pytest.fixture
def weights() -> Iterator[Weights]:
    served = Weights()
    handler = type("Served", (Handler,), {"weights": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    served.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def write_manifest(tmp_path: Path, weights: Weights) -> MakeManifest:
    """Writes a manifest with one detector ``net`` at the server; keyword arguments change its file."""

    def write(**changes: object) -> Path:
        file = {"url": f"{weights.address}/net.onnx", "sha256": SHA, "bytes": len(BODY), **changes}
        model = {
            "task": "face_detection",
            "revision": "r1",
            "licence": "MIT",
            "licence_note": "for research",
            "source": "here",
            "files": {"weights": file},
        }
        table = {
            "models": {"net": model},
            "profiles": {"small": {"face_detection": "net"}},
            "tasks": {"face_detection": {"title": "Faces"}},
        }
        path = tmp_path / "models.yaml"
        path.write_text(yaml.safe_dump(table))
        return path

    return write


@pytest.fixture
def manifest(write_manifest: MakeManifest) -> Manifest:
    return load_manifest(write_manifest())
