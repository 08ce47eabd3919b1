"""Small real tokenizers and Llamas, made on the spot."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dasd.models.tokens.chat import ChatTokenizer
from dasd.recipe.model_settings import ModelSettings

CORPUS = [
    "Begin at 9. So 9 + 3 = 12. Then 12 - 5 = 7. That makes 7.",
    "<think>Let me see. So 4 and 5 is 9. Good.</think>9",
    "Grüße aus Köln, naïve café, 中文句子。日本語もある。 Ελληνικά, emoji 😀👩‍👩‍👧 and more.",
    "def f(x):\n    return x ** 2\n\n\tif   spaced  out  ",
]
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>"]


def _wrapped(tokenizer: Tokenizer, **names: str) -> PreTrainedTokenizerFast:
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<|im_end|>",
        clean_up_tokenization_spaces=False,
        **names,
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


def byte_level(
    size: int = 400, *, normalizer: object = None, prefix_space: bool = False
) -> PreTrainedTokenizerFast:
    """Byte-level BPE with trimmed offsets, as GPT-2 has it, and think tags as added tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens(
        [AddedToken(t, special=False, normalized=False) for t in ("<think>", "</think>", "é à")]
    )
    return _wrapped(tokenizer)


def nfc_byte_level() -> PreTrainedTokenizerFast:
    """Byte-level BPE behind NFC: a text's bytes need not be its tokens' bytes."""
    return byte_level(normalizer=normalizers.NFC())


def word_level() -> PreTrainedTokenizerFast:
    """Words split at white space, which is dropped; unknown ones are one token. Control tokens are words."""
    words = [*SPECIAL, "<unk>", "so", "9", "+", "3", "is", "12", "."]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(SPECIAL)
    return _wrapped(tokenizer, unk_token="<unk>")


def metaspace() -> PreTrainedTokenizerFast:
    """Unigram with leading spaces as U+2581, as sentencepiece has it; other characters are bytes."""
    pieces = [("<unk>", 0.0), *((f"<0x{byte:02X}>", -20.0) for byte in range(256))]
    known = set()
    for text in CORPUS:
        for word in text.split():
            known.update(["\u2581" + word, word, *word])
    pieces += [(piece, -5.0 - len(piece) / 10) for piece in sorted(known | {"\u2581"})]
    tokenizer = Tokenizer(models.Unigram(pieces, 0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(SPECIAL)
    return _wrapped(tokenizer, unk_token="<unk>")


def characters() -> PreTrainedTokenizerFast:
    """One token a character of the corpus; others are unknown. A text of known characters is kept whole."""
    alphabet = sorted({c for text in CORPUS for c in text})
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, "<unk>", *alphabet])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(SPECIAL)
    return _wrapped(tokenizer, unk_token="<unk>")


TOKENIZERS = {
    "byte_level": byte_level,
    "nfc_byte_level": nfc_byte_level,
    "word_level": word_level,
    "metaspace": metaspace,
    "characters": characters,
}


def chat(kind: str) -> ChatTokenizer:
    """A chat tokenizer of one of the kinds above."""
    return ChatTokenizer(TOKENIZERS[kind](), kind)


def save_llama(
    directory: Path, tokenizer: PreTrainedTokenizerFast, seed: int = 0, positions: int = 256
) -> ModelSettings:
    """Save a random Llama (32 wide, 2 layers) with its tokenizer; settings that run it on the CPU in fp32."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 3,  # models often have more rows than the tokenizer has tokens
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=0.3,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return ModelSettings(model=str(directory), precision="fp32", device="cpu", batch_size=4)
