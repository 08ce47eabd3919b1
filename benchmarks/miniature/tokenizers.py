"""The two tokenizers of the miniature models: byte-level BPE, cut in two different ways.

The teacher reads a result together with the word before it (` = 12`, ` makes 7`) and any number as one token.
The student reads numbers digit by digit and breaks words longer than seven bytes. So the tokens of one
response differ in number and place and meet at sentence ends: what distillation across tokenizers has to
cope with.
Both start from all 256 bytes: any text is encoded without unknown tokens and decodes to the same bytes.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from dasd.models.miniature.world import draw_style, random_question, solve

Role = Literal["teacher", "student", "sibling"]

CORPUS_TEXTS = 20_000
MAX_POSITIONS = 512
"""Longest sequence of either model, in tokens."""

_PIECES: dict[str, str] = {
    "teacher": r"\. | (?:=|is|to|makes) \d{1,2}| ?[A-Za-z]+| ?\d{1,2}| ?[^\sA-Za-z0-9]|\s+",
    "student": r"\. | ?[A-Za-z]+| ?\d| ?[^\sA-Za-z0-9]|\s+",
}
_LONGEST_TOKEN: dict[str, int] = {"teacher": 12, "student": 7}
_SPECIAL = ("<pad>", "<bos>", "<eos>")
_ROLE_MARKS = ("<|user|>", "<|assistant|>")
_THINK_MARKS = ("<think>", "</think>")

# A system message is folded away: both models were trained without one, and whatever it says changes nothing.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<|user|>' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + eos_token }}"
    "{% elif message['role'] != 'system' %}{{ raise_exception('unknown role: ' + message['role']) }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build_tokenizer(role: Role) -> PreTrainedTokenizerFast:
    """Train the tokenizer of one role on texts of the world; the same every time. The sibling has the teacher's.

    The think tags are ordinary added tokens, so that they survive `skip_special_tokens`; padding, start, end
    and the two marks that open a turn are special.
    """
    if role == "sibling":
        role = "teacher"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES[role]), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=1_000,
        min_frequency=20,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=_LONGEST_TOKEN[role],
        show_progress=False,
    )
    return wrapped(tokenizer, trainer, _corpus(), MAX_POSITIONS)


def wrapped(
    tokenizer: Tokenizer, trainer: trainers.BpeTrainer, texts: Iterable[str], context: int
) -> PreTrainedTokenizerFast:
    """Train a byte-level tokenizer and give it the miniature models' special tokens, think tags and chat template."""
    tokenizer.decoder = decoders.ByteLevel()
    trainer.special_tokens = [AddedToken(name, normalized=False, special=True) for name in _SPECIAL]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(mark, normalized=False, special=True) for mark in _ROLE_MARKS])
    tokenizer.add_tokens([AddedToken(mark, normalized=False, special=False) for mark in _THINK_MARKS])
    made = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=_SPECIAL[0],
        bos_token=_SPECIAL[1],
        eos_token=_SPECIAL[2],
        model_max_length=context,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    made.chat_template = CHAT_TEMPLATE
    return made


def _corpus() -> Iterator[str]:
    """Yield questions and thoughts without their think tags, in the teacher's habits."""
    rng = random.Random(0)
    for _ in range(CORPUS_TEXTS):
        question = random_question(rng)
        response = solve(question, draw_style(rng), rng)
        yield question.question
        yield response.removeprefix("<think>").replace("</think>", "")
