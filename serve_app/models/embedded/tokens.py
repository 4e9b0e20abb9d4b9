"""A byte-level byte-pair tokenizer trained on generated captions; every string becomes tokens."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

PAD, START, END = "<|pad|>", "<|start|>", "<|end|>"


def train_tokenizer(captions: Iterable[str], vocabulary: int, context_length: int) -> Tokenizer:
    """A tokenizer that lowers case, adds start and end, truncates to and pads to ``context_length``.

    The end token has the highest id of all, because open_clip's text tower pools where the highest id stands.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 1,
        special_tokens=[PAD, START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.add_special_tokens([END])
    start, end, pad = (tokenizer.token_to_id(token) for token in (START, END, PAD))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, start), (END, end)]
    )
    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(pad_id=pad, pad_token=PAD, length=context_length)
    return tokenizer
