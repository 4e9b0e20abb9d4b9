"""Pulling from a real server: resume, hashes, misbehaviour, two at once, and a kill in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from weights_server import BODY, SHA, MakeManifest, Weights

from serve_app.errors import Problem
from serve_app.models.manifest import Manifest, Model, load_manifest
from serve_app.models.pull import Limits, Progress, PullError, pull
from serve_app.models.store import Store

QUICK = Limits(tries=3, backoff_s=0.01, wait_s=2.0, seconds=10.0)
ONCE = Limits(backoff_s=10.0, seconds=2.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def model(manifest: Manifest) -> Model:
    return manifest.models["net"]


def nothing_kept(store: Store, model: Model) -> bool:
    return not list(store.folder(model).iterdir())


def test_a_pull_brings_the_file_and_asks_no_more(store: Store, model: Model, weights: Weights) -> None:
    with pytest.raises(Problem, match="unavailable") as missing:
        store.locate(model)
    assert missing.value.remedy == "mediaverse models pull net"
    steps: list[Progress] = []
    [pulled] = pull(store, [model], progress=steps.append)
    assert (pulled.origin, pulled.sha256, pulled.recorded) == ("fetched", SHA, False)
    path = store.locate(model)["weights"]
    assert path == store.home / "models/net@r1/net.onnx"
    assert path.read_bytes() == BODY
    assert steps[-1] == Progress("net@r1", "weights", "fetch", len(BODY), len(BODY))
    assert [found.name for found in store.folder(model).iterdir()] == ["net.onnx"]
    asked = len(weights.seen)
    assert [again.origin for again in pull(store, [model])] == ["present"]
    assert len(weights.seen) == asked


def test_a_dropped_connection_goes_on_where_it_stopped(store: Store, model: Model, weights: Weights) -> None:
    weights.drop_after, weights.drops = 100_000, 2
    pull(store, [model], limits=QUICK)
    assert store.locate(model)["weights"].read_bytes() == BODY
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for _, asked, _ in weights.seen if asked]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1]
    assert {version for _, asked, version in weights.seen if asked} == {'"v1"'}


def test_a_server_that_ignores_ranges_is_read_from_the_start(store: Store, model: Model, weights: Weights) -> None:
    weights.drop_after, weights.drops, weights.ranges = 100_000, 1, False
    pull(store, [model], limits=QUICK)
    assert store.locate(model)["weights"].read_bytes() == BODY


def test_a_file_that_changed_on_the_server_is_never_joined(
    store: Store, write_manifest: MakeManifest, weights: Weights
) -> None:
    model = load_manifest(write_manifest(sha256=None, bytes=None)).models["net"]
    weights.drop_after = 100_000
    with pytest.raises(PullError, match="goes on from there"):
        pull(store, [model], limits=ONCE)
    weights.body, weights.etag, weights.drop_after = BODY[::-1], '"v2"', None
    pull(store, [model], limits=QUICK)
    assert store.locate(model)["weights"].read_bytes() == BODY[::-1]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_version_only_a_known_hash_allows_a_resume(
    store: Store, write_manifest: MakeManifest, weights: Weights, etag: str | None
) -> None:
    weights.etag, weights.drop_after, weights.drops = etag, 100_000, 1
    pull(store, [load_manifest(write_manifest()).models["net"]], limits=QUICK)
    assert [asked is not None for _, asked, _ in weights.seen] == [False, True]
    weights.seen.clear()
    weights.drops = 1
    unknown = load_manifest(write_manifest(sha256=None, url=f"{weights.address}/other.onnx")).models["net"]
    pull(store, [unknown], limits=QUICK)
    assert [asked is not None for _, asked, _ in weights.seen] == [False, False]


def test_wrong_bytes_leave_nothing(store: Store, model: Model, weights: Weights) -> None:
    weights.body = BODY[::-1]
    with pytest.raises(PullError, match=f"expected {SHA}; nothing was kept"):
        pull(store, [model], limits=QUICK)
    assert nothing_kept(store, model)
    with pytest.raises(Problem, match="missing"):
        store.locate(model)


def test_a_damaged_part_file_is_noticed_and_fetched_whole(store: Store, model: Model, weights: Weights) -> None:
    weights.drop_after = 100_000
    with pytest.raises(PullError):
        pull(store, [model], limits=ONCE)
    part = store.folder(model) / "net.onnx.part"
    part.write_bytes(b"\0" * part.stat().st_size)
    weights.drop_after = None
    pull(store, [model], limits=QUICK)
    assert store.locate(model)["weights"].read_bytes() == BODY


@pytest.mark.parametrize("extra", [b"", b"more"], ids=["short", "long"])
def test_a_file_of_another_length_is_refused_by_its_headers(
    store: Store, model: Model, weights: Weights, extra: bytes
) -> None:
    weights.body = BODY + extra if extra else BODY[:-1]
    with pytest.raises(PullError, match=f"has {len(weights.body)} bytes, {len(BODY)} were expected"):
        pull(store, [model], limits=QUICK)
    assert nothing_kept(store, model)


def test_a_body_that_ends_before_its_announced_length_is_an_error(
    store: Store, write_manifest: MakeManifest, weights: Weights
) -> None:
    model = load_manifest(write_manifest(sha256=None, bytes=None)).models["net"]
    weights.length, weights.etag = len(BODY) + 1000, None
    with pytest.raises(PullError):
        pull(store, [model], limits=QUICK)
    assert store.state(model) == "missing"


@pytest.mark.parametrize("announced", [True, False])
def test_an_endless_body_is_cut_at_the_cap(
    store: Store, write_manifest: MakeManifest, weights: Weights, announced: bool
) -> None:
    model = load_manifest(write_manifest(sha256=None, bytes=None)).models["net"]
    weights.announce = announced
    small = Limits(tries=1, backoff_s=0.01, bytes=len(BODY) // 2)
    with pytest.raises(PullError, match=f"more than the {len(BODY) // 2}"):
        pull(store, [model], limits=small)
    assert nothing_kept(store, model)


def test_busy_servers_are_asked_again_and_refusals_are_not(store: Store, model: Model, weights: Weights) -> None:
    weights.status = [(503, {"Retry-After": "0"}), (429, {})]
    pull(store, [model], limits=QUICK)
    assert len(weights.seen) == 3
    store.locate(model)["weights"].unlink()
    weights.seen.clear()
    weights.status = [(404, {})]
    with pytest.raises(PullError, match="HTTP 404"):
        pull(store, [model], limits=QUICK)
    assert len(weights.seen) == 1


def test_redirects_stay_on_loopback_or_https(store: Store, model: Model, weights: Weights) -> None:
    weights.redirect = "/moved.onnx"
    pull(store, [model], limits=QUICK)
    store.locate(model)["weights"].unlink()
    for elsewhere in ("http://weights.example/net.onnx", "file:///etc/passwd", "ftp://127.0.0.1/net.onnx"):
        weights.redirect = elsewhere
        with pytest.raises(PullError, match="only https is followed"):
            pull(store, [model], limits=QUICK)
    weights.redirect = "/round"
    with pytest.raises(PullError, match="more than 5 redirects"):
        pull(store, [model], limits=QUICK)


def test_no_server_is_a_clear_error_in_bounded_time(store: Store, write_manifest: MakeManifest) -> None:
    model = load_manifest(write_manifest(url="http://127.0.0.1:9/net.onnx")).models["net"]
    began = time.monotonic()
    with pytest.raises(PullError, match=r"http://127.0.0.1:9/net.onnx: .*0 bytes are kept"):
        pull(store, [model], limits=QUICK)
    assert time.monotonic() - began < 2


def test_a_stalled_server_is_given_up(store: Store, model: Model, weights: Weights) -> None:
    weights.pause_s = 5.0
    began = time.monotonic()
    with pytest.raises(PullError, match="goes on from there"):
        pull(store, [model], limits=Limits(tries=1, backoff_s=0.01, wait_s=0.2, seconds=0.5))
    assert time.monotonic() - began < 3


def test_an_unknown_hash_is_recorded_and_held(store: Store, write_manifest: MakeManifest, weights: Weights) -> None:
    model = load_manifest(write_manifest(sha256=None, bytes=None)).models["net"]
    [pulled] = pull(store, [model])
    assert pulled.recorded
    assert pulled.sha256 == SHA
    assert [report.state for report in store.verify(model)] == ["ok"]
    path = store.locate(model)["weights"]
    path.write_bytes(BODY[::-1])
    assert [report.state for report in store.verify(model)] == ["corrupt"]
    weights.body = b"another file at the same address"
    with pytest.raises(PullError, match=SHA):
        pull(store, [model], limits=QUICK)


def test_a_damaged_file_is_brought_again(store: Store, model: Model, weights: Weights) -> None:
    pull(store, [model])
    path = store.locate(model)["weights"]
    path.write_bytes(b"x" + BODY[1:])
    assert [report.state for report in store.verify(model)] == ["corrupt"]
    with pytest.raises(Problem, match="corrupt"):
        store.locate(model)
    pull(store, [model])
    assert path.read_bytes() == BODY
    path.write_bytes(BODY[:-1])
    with pytest.raises(Problem, match="corrupt"):
        store.locate(model)


def test_from_a_folder_by_name_or_by_hash(store: Store, model: Model, weights: Weights, tmp_path: Path) -> None:
    named, hashed = tmp_path / "named/deep", tmp_path / "hashed"
    named.mkdir(parents=True)
    hashed.mkdir()
    (named / "net.onnx").write_bytes(BODY)
    (hashed / "renamed.bin").write_bytes(BODY)
    (hashed / "net.onnx").write_bytes(BODY[::-1])
    for folder in (tmp_path / "named", hashed):
        [pulled] = pull(store, [model], from_dir=folder)
        assert pulled.origin == "copied"
        assert pulled.path.read_bytes() == BODY
        pulled.path.unlink()
    assert weights.seen == []


def test_a_copy_clears_what_a_broken_fetch_left(store: Store, model: Model, weights: Weights, tmp_path: Path) -> None:
    weights.drop_after = 100_000
    with pytest.raises(PullError):
        pull(store, [model], limits=ONCE)
    assert sorted(left.name for left in store.folder(model).iterdir()) == ["net.onnx.part", "net.onnx.part.json"]
    (tmp_path / "usb").mkdir()
    (tmp_path / "usb" / "net.onnx").write_bytes(BODY)
    pull(store, [model], from_dir=tmp_path / "usb")
    assert [found.name for found in store.folder(model).iterdir()] == ["net.onnx"]


def test_from_a_folder_that_lacks_the_file(store: Store, model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "usb"
    folder.mkdir()
    with pytest.raises(PullError, match=r"usb has no net.onnx with sha256"):
        pull(store, [model], from_dir=folder)
    (folder / "net.onnx").write_bytes(BODY[::-1])
    with pytest.raises(PullError, match="has another hash"):
        pull(store, [model], from_dir=folder)
    with pytest.raises(PullError, match="is not a folder"):
        pull(store, [model], from_dir=tmp_path / "nowhere")
    assert nothing_kept(store, model)


def test_a_name_alone_must_be_unambiguous(store: Store, write_manifest: MakeManifest, tmp_path: Path) -> None:
    model = load_manifest(write_manifest(sha256=None, bytes=None)).models["net"]
    for folder in ("a", "b"):
        (tmp_path / "usb" / folder).mkdir(parents=True)
        (tmp_path / "usb" / folder / "net.onnx").write_bytes(folder.encode())
    with pytest.raises(PullError, match=r"2 files net\.onnx"):
        pull(store, [model], from_dir=tmp_path / "usb")
    (tmp_path / "usb" / "net@r1").mkdir()
    (tmp_path / "usb" / "net@r1" / "net.onnx").write_bytes(b"mine")
    pull(store, [model], from_dir=tmp_path / "usb")
    assert store.locate(model)["weights"].read_bytes() == b"mine"


def test_two_pulls_at_once_fetch_once(store: Store, model: Model, weights: Weights) -> None:
    weights.pause_s = 0.005
    origins: list[str] = []
    threads = [
        threading.Thread(target=lambda: origins.extend(one.origin for one in pull(Store(store.home), [model])))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(origins) == ["fetched", "present", "present"]
    assert len(weights.seen) == 1


def test_a_killed_pull_leaves_a_part_that_the_next_one_uses(
    store: Store, write_manifest: MakeManifest, model: Model, weights: Weights
) -> None:
    weights.pause_s = 0.05
    code = (
        "from pathlib import Path; from serve_app.models.manifest import load_manifest;"
        "from serve_app.models.pull import pull; from serve_app.models.store import Store;"
        f"pull(Store(Path({str(store.home)!r})), list(load_manifest(Path({str(write_manifest())!r})).models.values()))"
    )
    root = Path(__file__).parents[3]
    child = subprocess.Popen([sys.executable, "-c", code], cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    part = store.folder(model) / "net.onnx.part"
    try:
        until = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size > 0):
            assert time.monotonic() < until
            assert child.poll() is None
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    kept = part.stat().st_size
    assert 0 < kept < len(BODY)
    assert store.state(model) == "missing"
    weights.pause_s = 0.0
    pull(store, [model], limits=QUICK)
    assert store.locate(model)["weights"].read_bytes() == BODY
    assert weights.seen[-1] == ("/net.onnx", f"bytes={kept}-", '"v1"')


def test_one_failure_does_not_keep_the_others_away(
    store: Store, weights: Weights, write_manifest: MakeManifest
) -> None:
    lost = load_manifest(write_manifest(url="http://127.0.0.1:9/lost.onnx")).models["net"]
    lost = lost.model_copy(update={"name": "lost"})
    good = load_manifest(write_manifest()).models["net"]
    with pytest.raises(PullError, match=r"lost\.onnx"):
        pull(store, [lost, good], limits=QUICK)
    assert store.state(good) == "present"


def test_the_public_detector_is_the_one_the_manifest_names(shared: Path, store: Store) -> None:
    model = load_manifest().models["fastestdet"]
    [pulled] = pull(store, [model], from_dir=shared / "weights" / "fastestdet")
    assert pulled.sha256 == model.files["weights"].sha256
    faces = load_manifest().models["ultralight-face"]
    assert pull(store, [faces], from_dir=shared / "weights")[0].origin == "copied"
