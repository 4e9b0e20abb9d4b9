"""Every command of the documents is run, in order, against a real service; links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from serve_app.cli_examples import PHOTOGRAPHS
from tests.cluster.conftest import MEDIAVERSE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
NOT_HERE = {"make run", "make test", "make bench"}
"""The service fixture is what ``make run`` starts; ``make test`` runs this test; ``make bench`` is slow by intent."""


def commands(document):
    blocks = re.findall(r"```console\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_work(service, tmp_path, document):
    (tmp_path / ".venv").symlink_to(MEDIAVERSE.parents[1])
    for name in ("serve_config.yaml", "Makefile"):
        (tmp_path / name).symlink_to(ROOT / name)
    path = f"{MEDIAVERSE.parent}:{os.environ['PATH']}"
    environment = service.environment | {"MEDIAVERSE_URL": service.url, "PATH": path}
    for command in commands(document):
        if command in NOT_HERE:
            made = subprocess.run(["make", "-n", command.split()[1]], cwd=ROOT, capture_output=True, text=True)
            assert made.returncode == 0, made.stderr
            continue
        here = command.replace("http://127.0.0.1:8000", service.url)
        done = subprocess.run(
            ["bash", "-c", here], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert '"code":' not in done.stdout, f"{command}\n{done.stdout}"


def test_the_first_results_are_as_the_readme_shows(service, tmp_path):
    """What the README prints under its first search is what comes out."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    environment = service.environment | {"MEDIAVERSE_URL": service.url}

    def mediaverse(*words):
        done = subprocess.run(
            [str(MEDIAVERSE), *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    mediaverse("examples", "photographs")
    assert sorted(file.name for file in (tmp_path / "photographs").iterdir()) == sorted(PHOTOGRAPHS)
    mediaverse("index", "photographs", "--owner", "reader")
    shown = re.findall(r"^mediaverse search \"(.*?)\" -> (\S+)$", text, re.MULTILINE)
    for words, best in shown:
        out = mediaverse("search", words, "-k", "1", "--filter", "owner:reader kind:image")
        assert f"reader/{best}" in out, f"{words}: {out}"

    mediaverse("examples", "photographs", "--film")
    mediaverse("index", "photographs", "--owner", "reader")
    out = mediaverse("search", "photographs/rocket.jpg", "-k", "1", "--filter", "kind:video owner:reader")
    start, end = re.search(r"second shot:\s+(\S+) to (\d\d:\d\d\.\d)", text).groups()
    assert f"{start}" in out, out
    assert f"{end}" in out, out
    assert "reader/film.mp4" in out


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_links_within_the_project_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"
