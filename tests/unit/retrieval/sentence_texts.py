"""The texts of ``golden/sentence_vectors.npz``: what people write, and what they do not."""

TEXTS = (
    "a dog",
    "Two dogs run over a wide green field at noon.",
    "Group around a table waiting for a birthday cake to be served.",
    "Café, naïve, Ångström; \uff26\uff35\uff2c\uff2c width",
    "🦜🦜 on a branch 👨‍👩‍👧",
    "שלום עולם, مرحبا بالعالم",
    "東京の夜景 写真",
    "line\none\ttab  and   spaces",
    "https://example.org/a?b=c&d=%20 user@example.org #tag $9.99",
    "[PAD] [CLS] [MASK] said the tokenizer",
    "x" * 300,
    "w" * 90 + " ends",
    "?!",
    "7",
    "the quick brown fox jumps over the lazy dog " * 12,
    "one word after another, as long as it takes, and then some more of them; " * 60,
)
