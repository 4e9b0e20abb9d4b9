"""The sentence encoder: what it says is what transformers says, whatever else is in its batch, and nobody is asked.

``golden/sentence_vectors.npz`` holds what transformers 5.23 (``BertTokenizer`` and ``BertModel`` in float32, from the
same files, one text at a time) gives for :data:`TEXTS`: the normalised mean of the last layer (for the longest the mean
of those of every 254 tokens, weighed by their lengths), and how many tokens it took.
"""

from __future__ import annotations

import itertools
import json
import shutil
import socket
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from serve_app.errors import Problem
from serve_app.models.manifest import Model, UnusableFile, load_manifest
from serve_app.models.pull import PullError, convert_shipped, pull
from serve_app.models.sentence_bert import SENTENCES, convert_sentence_bert
from serve_app.models.sessions import open_session
from serve_app.models.store import Store
from serve_app.retrieval.sentences import LENGTHS, SentenceTower
from tests.unit.retrieval.sentence_texts import TEXTS

GOLDEN = Path(__file__).parent / "golden" / "sentence_vectors.npz"


@pytest.fixture(scope="module")
def row() -> Model:
    return load_manifest().models["minilm-l6-v2"]


@pytest.fixture(scope="module")
def home(row: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights where the network was converted while no address could be asked."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_: object) -> NoReturn:
            raise AssertionError("the network was asked")

        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        convert_shipped(Store(home), row)
    return home


@pytest.fixture(scope="module")
def tower(row: Model, home: Path) -> SentenceTower:
    files = Store(home).locate(row)
    assert row.sentence is not None
    return SentenceTower(row.sentence, open_session(files["weights"], threads=1), files["tokenizer"])


def embed(tower: SentenceTower, *texts: str) -> Any:
    return tower.run([tower.prepare(text).ids for text in texts])


def test_it_says_what_transformers_says(tower: SentenceTower) -> None:
    golden = np.load(GOLDEN, allow_pickle=False)
    assert [sum(map(len, tower.prepare(text).ids)) for text in TEXTS] == golden["tokens"].tolist()
    vectors = embed(tower, *TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, golden["vectors"], rtol=0, atol=5e-4)  # the weights are kept in float16
    assert (vectors * golden["vectors"]).sum(1).min() > 0.99999


def test_only_what_is_longer_than_all_windows_is_marked(tower: SentenceTower) -> None:
    assert not any(tower.prepare(text).truncated for text in TEXTS)
    fits = " ".join(["dog"] * 254)  # and two tokens for the ends
    assert [len(ids) for ids in tower.prepare(fits).ids] == [256]
    assert [len(ids) for ids in tower.prepare(f"{fits} cat").ids] == [256, 3]
    longest = " ".join([fits] * 8)
    assert not tower.prepare(longest).truncated
    assert tower.prepare(f"{longest} cat").truncated
    np.testing.assert_array_equal(embed(tower, f"{longest} cat"), embed(tower, f"{longest} horse"))


def test_what_stands_late_in_a_long_text_is_found(tower: SentenceTower) -> None:
    filler = "The committee met again and postponed the decision to its next session. " * 25
    query, with_whales, without = embed(
        tower, "humpback whales", filler + "Humpback whales sing for hours. " * 10, filler + filler
    )
    assert query @ with_whales > query @ without + 0.1


@pytest.fixture(scope="module")
def alone(tower: SentenceTower) -> NDArray[np.float32]:
    return np.concatenate([embed(tower, text) for text in TEXTS])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=12))
def test_a_batch_says_what_each_text_says_alone(
    tower: SentenceTower, alone: NDArray[np.float32], chosen: list[int]
) -> None:
    together = embed(tower, *(TEXTS[number] for number in chosen))
    np.testing.assert_allclose(together, alone[chosen], rtol=0, atol=2e-6)


def test_a_short_text_is_never_padded_to_a_long_one(row: Model, home: Path) -> None:
    """What the runtime is given: texts of like lengths together, no longer than the next of the lengths."""
    files = Store(home).locate(row)
    session, seen = open_session(files["weights"], threads=1), []

    class Watched:
        def run(self, outputs: list[str], feed: dict[str, Any]) -> Any:
            seen.append((*feed["tokens"].shape, int(feed["mask"].sum(1).min())))
            return session.run(outputs, feed)

    assert row.sentence is not None
    embed(SentenceTower(row.sentence, Watched(), files["tokenizer"]), "dog", TEXTS[-1], "cat", TEXTS[1])  # type: ignore[arg-type]
    assert seen == [(2, 8, 3), (1, 16, 13), (1, 96, 66), (4, 256, 256)]
    assert list(LENGTHS) == sorted(set(LENGTHS))
    assert max(b / a for a, b in itertools.pairwise(LENGTHS)) <= 1.5


@pytest.mark.parametrize("text", ["", " \n\t ", "\x00\x00", "\ud800"])
def test_nothing_to_be_seen_is_a_bad_request(tower: SentenceTower, text: str) -> None:
    with pytest.raises(Problem) as caught:
        tower.prepare(text)
    assert caught.value.code == "bad_request"


def test_a_megabyte_and_halves_of_characters_are_read(tower: SentenceTower) -> None:
    for text in ("word " * 200_000, "x" * 1_000_000, "\u202e\u202d" * 500_000 + "end"):
        tokens = tower.prepare(text)
        assert tokens.truncated
        assert all(len(ids) <= 256 for ids in tokens.ids)
        assert len(tokens.ids) <= 8
        assert np.linalg.norm(tower.run([tokens.ids])) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(embed(tower, "a\x00dog\ud83d"), embed(tower, "a dog"))


def test_it_is_kept_in_half_the_bytes_and_read_without_torch(row: Model, home: Path) -> None:
    weights = Store(home).locate(row)["weights"]
    published = row.files["checkpoint"].bytes
    assert published is not None
    assert weights.stat().st_size < published * 0.51
    session = onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])
    assert {one.name: one.type for one in session.get_inputs()} == {"tokens": "tensor(int64)", "mask": "tensor(int64)"}
    assert [(one.name, one.type, one.shape[1]) for one in session.get_outputs()] == [
        ("embedding", "tensor(float)", 384)
    ]


def test_what_is_damaged_is_said_and_mended(row: Model, tmp_path: Path) -> None:
    store = Store(tmp_path)
    convert_shipped(store, row)
    weights = store.locate(row)["weights"]
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert {one.file: one.origin for one in pull(store, [row])}["weights"] == "converted"
    assert weights.read_bytes() == whole


def test_a_package_that_is_missing_is_named(row: Model, tmp_path: Path) -> None:
    gone = {
        name: file.model_copy(update={"package": f"no_such_package:model/{file.name}"}) if file.package else file
        for name, file in row.files.items()
    }
    wrong = row.model_copy(update={"files": gone})
    with pytest.raises(PullError, match="install the Python package no_such_package again"):
        convert_shipped(Store(tmp_path), wrong)


def test_a_package_whose_file_was_changed_is_refused(
    row: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "changed" / "model"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    published = Store(tmp_path)
    for logical in ("checkpoint", "config", "tokenizer"):
        shutil.copy(published.path(row, logical), folder)
    (folder / "config.json").write_text((folder / "config.json").read_text().replace('"gelu"', '"relu"'))
    monkeypatch.syspath_prepend(tmp_path)
    files = {
        name: file.model_copy(update={"package": f"changed.model:{file.name}"}) if file.package else file
        for name, file in row.files.items()
    }
    with pytest.raises(PullError, match="is damaged"):
        pull(published, [row.model_copy(update={"files": files})])


def small(**changes: Any) -> dict[str, Any]:
    """A network of one layer in the published keys, as small as it can be."""
    state = {
        "embeddings.word_embeddings.weight": (11, 4),
        "embeddings.position_embeddings.weight": (8, 4),
        "embeddings.token_type_embeddings.weight": (2, 4),
    }
    start = "encoder.layer.0."
    for name, (outputs, inputs) in {
        "attention.self.query": (4, 4), "attention.self.key": (4, 4), "attention.self.value": (4, 4),
        "attention.output.dense": (4, 4), "intermediate.dense": (16, 4), "output.dense": (4, 16),
    }.items():  # fmt: skip
        state |= {f"{start}{name}.weight": (outputs, inputs), f"{start}{name}.bias": (outputs,)}
    for norm in ("embeddings.LayerNorm", f"{start}attention.output.LayerNorm", f"{start}output.LayerNorm"):
        state |= {f"{norm}.weight": (4,), f"{norm}.bias": (4,)}
    dice = np.random.default_rng(0)
    made = {key: dice.normal(size=shape).astype(np.float32) for key, shape in (state | changes).items() if shape}
    return made


CONFIG = {"model_type": "bert", "hidden_act": "gelu", "num_attention_heads": 2, "layer_norm_eps": 1e-12}
QUERY = "encoder.layer.0.attention.self.query.weight"


@pytest.mark.parametrize(
    ("changes", "config", "sentence", "message"),
    [
        ({QUERY: None}, {}, {}, "it has no encoder.layer.0.attention.self.query.weight"),
        ({QUERY: (4, 5)}, {}, {}, r"query.weight is \[4, 5\], not \[4, 4\]"),
        ({"embeddings.word_embeddings.weight": None}, {}, {}, "no embeddings of words"),
        ({}, {"num_attention_heads": 3}, {}, "no embeddings of words for 3 heads"),
        ({}, {"num_attention_heads": "2"}, {}, "describes no BERT"),
        ({}, {"hidden_act": "relu"}, {}, "describes no BERT"),
        ({}, {"layer_norm_eps": None}, {}, "describes no BERT"),
        ({}, {}, {"dim": 8}, "it gives 4 numbers, the manifest says 8"),
        ({}, {}, {"max_tokens": 9}, "it reads 8 tokens, the manifest says 9"),
    ],
)
def test_another_network_than_the_row_describes_is_refused(
    row: Model, tmp_path: Path, changes: Any, config: Any, sentence: Any, message: str
) -> None:
    assert row.sentence is not None
    spec = row.sentence.model_copy(update={"dim": 4, "max_tokens": 8} | sentence)
    save_file(small(**changes), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | config), encoding="utf-8")
    files = {"checkpoint": tmp_path / "model.safetensors", "config": tmp_path / "config.json"}
    with pytest.raises(UnusableFile, match=message):
        convert_sentence_bert(files, spec, tmp_path / "out")
    assert not (tmp_path / "out" / SENTENCES).exists()


def test_torn_and_unfinished_files_are_refused(row: Model, tmp_path: Path) -> None:
    assert row.sentence is not None
    spec = row.sentence.model_copy(update={"dim": 4, "max_tokens": 8})
    files = {"checkpoint": tmp_path / "model.safetensors", "config": tmp_path / "config.json"}
    files["config"].write_text(json.dumps(CONFIG), encoding="utf-8")
    save_file(small(), files["checkpoint"])
    convert_sentence_bert(files, spec, tmp_path)
    whole = files["checkpoint"].read_bytes()
    for length in (0, 1, 8, 100, len(whole) // 2, len(whole) - 1):
        files["checkpoint"].write_bytes(whole[:length])
        with pytest.raises(UnusableFile, match="cannot be read as safetensors"):
            convert_sentence_bert(files, spec, tmp_path)
    files["checkpoint"].write_bytes(whole)
    broken = load_file(files["checkpoint"])
    broken[QUERY] = np.full((4, 4), np.nan, np.float32)
    save_file(broken, files["checkpoint"])
    with pytest.raises(UnusableFile, match="not float32, or not finite"):
        convert_sentence_bert(files, spec, tmp_path)
    files["config"].write_text("{", encoding="utf-8")
    with pytest.raises(UnusableFile, match="does not describe a network"):
        convert_sentence_bert(files, spec, tmp_path)
