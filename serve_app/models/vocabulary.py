"""Tokenizers of public text towers as one ``tokenizers`` JSON file each, which adds the start and end tokens, truncates
and pads by itself.

open_clip cleans a text with ftfy before it cuts it into tokens. The steps of ftfy that are plain replacements (curly
quotes, ligatures, full-width letters, control characters, terminal escapes, NFC) and the common HTML entities are part
of the file. What the file does not do: repair mojibake, and decode rarer or numeric HTML entities.
"""

from __future__ import annotations

import gzip
import string
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import NFC, Lowercase, Normalizer, Replace, Sequence, Strip
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as PreTokenizers
from tokenizers.processors import TemplateProcessing

START, END = "<start_of_text>", "<end_of_text>"
MERGES = 49152 - 256 - 2
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
CONTROLS = r"[\x{00}-\x{08}\x{0b}\x{0e}-\x{1f}\x{7f}\x{206a}-\x{206f}\x{feff}\x{fff9}-\x{fffc}]"
ENTITIES = {"&quot;": '"', "&#39;": "'", "&apos;": "'", "&nbsp;": " ", "&lt;": "<", "&gt;": ">"}
LIGATURES = [0x132, 0x133, 0x149, *range(0x1C4, 0x1CD), *range(0x1F1, 0x1F4), *range(0xFB00, 0xFB05), 0xFB06]
FULL_WIDTH = range(0xFF01, 0xFFEF)  # and half-width; with the ligatures, spelt out by their NFKC forms


def from_open_clip(context_length: int) -> Tokenizer:
    """CLIP's own byte-pair vocabulary (49,408 tokens), as ``open_clip.SimpleTokenizer`` uses it; pads with 0.

    Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
    """
    from open_clip.tokenizer import default_bpe

    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode("utf-8").split("\n")[1 : 1 + MERGES]
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    letters = list(_byte_letters())
    words = [*letters, *(letter + "</w>" for letter in letters), *(left + right for left, right in merges), START, END]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
    tokenizer.normalizer = Sequence([*_clean(), _final_sigma(), Lowercase(), *_whitespace()])
    tokenizer.pre_tokenizer = PreTokenizers(
        [Split(Regex(WORDS), behavior="removed", invert=True), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    # SimpleTokenizer knows the two words in a text as the special tokens; so must this, or the towers see other ids.
    tokenizer.add_special_tokens([AddedToken(word, normalized=True, special=True) for word in (START, END)])
    ends = [(START, vocabulary[START]), (END, vocabulary[END])]
    tokenizer.post_processor = TemplateProcessing(single=f"{START} $A {END}", special_tokens=ends)
    return _fixed_length(tokenizer, context_length, pad_id=0, pad_token=letters[0])


def from_gemma(published: Path, context_length: int) -> Tokenizer:
    """Gemma's vocabulary as SigLIP 2 uses it: canonical text (no punctuation, lower case), end token, pads with <pad>.

    ``published`` is the ``tokenizer.json`` that comes with the weights. Source of the cleaning: big_vision,
    ``evaluators/proj/image_text/prompt_engineering.py``, as in ``open_clip.tokenizer.canonicalize_text``.
    """
    tokenizer = Tokenizer.from_file(str(published))
    pad, end = tokenizer.token_to_id("<pad>"), tokenizer.token_to_id("<eos>")
    if pad is None or end is None:
        raise ValueError(f"{published.name} has no <pad> or <eos>: it is not the tokenizer of a SigLIP 2 tower")
    own = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
    punctuation = Regex("[" + "".join(f"\\x{{{ord(sign):x}}}" for sign in string.punctuation if sign != "_") + "]")
    canonical = [Replace("_", " "), Replace(punctuation, ""), _final_sigma(), Lowercase(), *_whitespace()]
    tokenizer.normalizer = Sequence([*_clean(), *canonical, *own])
    tokenizer.post_processor = TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", end)])
    return _fixed_length(tokenizer, context_length, pad_id=pad, pad_token="<pad>")  # noqa: S106  (not a password)


def _fixed_length(tokenizer: Tokenizer, length: int, *, pad_id: int, pad_token: str) -> Tokenizer:
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=pad_id, pad_token=pad_token)
    return tokenizer


def _byte_letters() -> Iterator[str]:
    """A printable letter for each of the 256 bytes, in the order of CLIP's vocabulary: printable bytes come first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    yield from map(chr, printable)
    yield from map(chr, range(256, 256 + 256 - len(printable)))


def _clean() -> Iterator[Normalizer]:
    """The replacements of ftfy and of ``html.unescape`` (twice) that a tokenizer file can express."""
    yield Replace(Regex(r"\x{1b}\[[\d;]*[a-zA-Z]"), "")
    for sign in map(chr, [*LIGATURES, *FULL_WIDTH]):
        plain = unicodedata.normalize("NFKC", sign)
        if plain != sign:
            yield Replace(sign, plain)
    yield Replace(Regex("[\u02bc\u2018-\u201b]"), "'")
    yield Replace(Regex("[\u201c-\u201f]"), '"')
    yield Replace(Regex(CONTROLS), "")
    yield NFC()
    yield Replace(Regex("&(amp;){1,2}"), "&")
    for entity, sign in ENTITIES.items():
        yield Replace(entity, sign)


def _final_sigma() -> Normalizer:
    """Python's ``lower`` knows the Greek final sigma; the tokenizers' own lower case goes letter by letter."""
    return Replace(Regex(r"(?<=\p{L})Σ(?!\p{L})"), "ς")


def _whitespace() -> list[Normalizer]:
    return [Replace(Regex(r"\s+"), " "), Strip()]
