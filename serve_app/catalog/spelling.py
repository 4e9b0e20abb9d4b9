"""How full-text search spells: the same words whichever database, without case, accents or punctuation."""

from __future__ import annotations

import re
import unicodedata

MAX_CHARACTERS = 20_000
"""Of a text, so much of its beginning is searched."""
MAX_LETTERS = 64
"""Of a word; what is longer differs in its beginning or not at all."""
_WORD = re.compile(r"[^\W_]+")
_ACCENTS = re.compile("[\u0300-\u036f]+")


def spell(text: str) -> str:
    """The words of ``text`` between single spaces; no words give an empty text."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", folded))
    return " ".join(word[:MAX_LETTERS] for word in _WORD.findall(unicodedata.normalize("NFC", plain)))
