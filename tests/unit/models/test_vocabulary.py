"""The tokenizer files give exactly the ids that open_clip gives."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
from open_clip.tokenizer import basic_clean, canonicalize_text
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from serve_app.models.vocabulary import from_gemma, from_open_clip

AWKWARD = [
    "",
    "   ",
    "a photo of a cat",
    "It's we're they'll I'D YOU'VE I'M don't",
    "na\u00efve caf\u00e9 \u00c5NGSTR\u00d6M \u00df \u1e9e",
    "e\u0301toile composed late",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u0e44\u0e17\u0e22",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f4\U000e0067\U000e0062\U000e007f end",
    "123 4567 \u00bd \u00b2 \u2167 \u2460",
    "tab\tnew\nline\r\n\u2028x\u00a0y\u3000z\u2009w",
    "word " * 400,
    "aaaa" * 60,
    "<start_of_text> hi <end_of_text> <END_OF_TEXT>",
    "\u201ccurly\u201d \u2018quotes\u2019 don\u2019t",
    "\ufb01ne \ufb02ow \u0149 \u01c4 \u0133",
    "\uff26\uff35\uff2c\uff2c\u3000\uff57\uff49\uff44\uff54\uff48\uff01 \uff76\uff80",
    "\u0130stanbul \u03a3\u039f\u03a6\u039f\u03a3 \u03a3 \u03c3",
    "null\x00byte \x1b[31mred\x1b[0m bell\x07 \ufeffbom \ufffd",
    "&amp; &lt;b&gt; &quot;x&quot; &amp;amp; &#39; &nbsp;.",
    "!!!???...--- a_b-c/d\\e 100% $5 #tag @user a&b \u2026\u2014\u2013",
]
DIFFERENT = ["caf&eacute; &#233;", "mojibake \u00c3\u00a9t\u00c3\u00a9"]


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("clip") / "tokenizer.json"
    from_open_clip(77).save(str(path))
    return Tokenizer.from_file(str(path))


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_the_ids_are_those_of_open_clip(clip_file: Tokenizer, text: str) -> None:
    assert clip_file.encode(text).ids == open_clip.SimpleTokenizer(context_length=77)(text)[0].tolist()


@pytest.mark.parametrize("text", DIFFERENT)
def test_what_the_file_is_known_not_to_repair(clip_file: Tokenizer, text: str) -> None:
    assert clip_file.encode(text).ids != open_clip.SimpleTokenizer(context_length=77)(text)[0].tolist()


def test_ten_thousand_words_end_in_the_end_token(clip_file: Tokenizer) -> None:
    ids = clip_file.encode("word " * 10_000).ids
    assert len(ids) == 77
    assert (ids[0], ids[-1]) == (49406, 49407)


def gemma_like(path: Path) -> Path:
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "a", "photo", "of", "the", "cats", "dog", "caf\u00e9", "\u03c2"]
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(path))
    return path


@pytest.mark.parametrize(
    "text",
    ["A photo of the cat's!", "dog_photo   CAF\u00c9...", "", "#$%", "the " * 100, "\u201cdog\u201d [\\]^`{|}~"],
)
def test_siglip_texts_are_canonical_before_they_are_cut(tmp_path: Path, text: str) -> None:
    published = gemma_like(tmp_path / "tokenizer.json")
    ours = from_gemma(published, 16).encode(text).ids
    plain = Tokenizer.from_file(str(published)).encode(canonicalize_text(basic_clean(text))).ids[:15]
    assert ours == plain + [1] + [0] * (15 - len(plain))


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    Tokenizer(WordLevel({"a": 0}, unk_token="a")).save(str(path))
    with pytest.raises(ValueError, match="not the tokenizer of a SigLIP 2 tower"):
        from_gemma(path, 16)
