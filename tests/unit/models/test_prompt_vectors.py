"""Vectors of prompts that are kept on disk: found again whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serve_app.models.prompt_vectors import PromptVectors

TEXTS = ["a dog", "a cat"]
VECTORS = np.array([[0.6, 0.8], [1, 0]], np.float32)


def test_what_was_kept_is_found_by_the_same_texts_and_encoder_only(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there yet"
    kept = PromptVectors(folder, "clip@1", TEXTS)
    assert kept.read() is None
    kept.keep(VECTORS)
    np.testing.assert_array_equal(PromptVectors(folder, "clip@1", TEXTS).read(), VECTORS)
    others = [("clip@2", TEXTS), ("clip@1", TEXTS[::-1]), ("clip@1", ["a doga cat"]), ("clip@1", [])]
    assert [PromptVectors(folder, encoder, texts).read() for encoder, texts in others] == [None] * 4
    assert [path.name for path in folder.iterdir()] == [kept.path.name]


@pytest.mark.parametrize("spoilt", ["empty", "cut", "text", "pickle", "short", "wide", "nan"])
def test_what_is_damaged_is_not_used(tmp_path: Path, spoilt: str) -> None:
    kept = PromptVectors(tmp_path, "clip@1", TEXTS)
    kept.keep(VECTORS)
    whole = kept.path.read_bytes()
    arrays = {
        "short": VECTORS[:1], "wide": VECTORS.astype(np.float64), "nan": VECTORS * np.float32(np.nan),
        "pickle": np.array([{}, {}], object),
    }  # fmt: skip
    if spoilt in arrays:
        with kept.path.open("wb") as stream:
            np.save(stream, arrays[spoilt], allow_pickle=spoilt == "pickle")
    else:
        kept.path.write_bytes({"empty": b"", "cut": whole[:-1], "text": b"words"}[spoilt])
    assert kept.read() is None
    kept.keep(VECTORS)
    assert kept.read() is not None


def test_nothing_is_left_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("serve_app.models.prompt_vectors.settle", full)
    with pytest.raises(OSError, match="no space"):
        PromptVectors(tmp_path, "clip@1", TEXTS).keep(VECTORS)
    assert list(tmp_path.iterdir()) == []
