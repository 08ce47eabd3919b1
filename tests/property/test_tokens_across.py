"""Across real tokenizers: tokens tile any text, and every sentence has tokens of both models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import real_tokenizers as real

from dasd import kernels
from dasd.models.tokens.chat import ChatTokenizer

TEMPLATE = "{{ messages[0]['content'] }}"


def _chat(name: str) -> ChatTokenizer:
    tokenizer = getattr(real, name)()
    tokenizer.chat_template = TEMPLATE
    return ChatTokenizer(tokenizer, name)


MAKERS: dict[str, Callable[[], ChatTokenizer]] = {
    "smollm2": real.smollm2,
    "harmony": real.harmony,
    "deepseek": lambda: _chat("deepseek"),
    "anthropic": lambda: _chat("anthropic"),
}
LOSSLESS = ("smollm2", "deepseek")
_MADE: dict[str, ChatTokenizer] = {}


def made(name: str) -> ChatTokenizer:
    if name not in _MADE:
        _MADE[name] = MAKERS[name]()
    return _MADE[name]


# Text in which sentences and tokens part: marks inside a token, many bytes a character, spaces before words,
# forms that a normaliser changes, and what looks like a control token.
pieces = st.sampled_from(
    [
        *("So 9 + 3 = 12. ", "It is.Then", "e.g. a", '!"', "...\n\n", "?\n", "。", "！", "」", " The", "  ", "\t", "\r\n"),
        *("😀", "👩‍👩‍👧", "🏳️‍🌈", "中文句子", "日本語もある", "한국어", "ไทย", "\U00010348", "é", "e\u0301", "ﬁ", "①", "ｆｕｌｌ"),
        *("<think>\n", "\n</think>\n", "<|im_end|>", "<|end|>", "<|channel|>", "<EOT>", "<｜end▁of▁sentence｜>", "<|td|>"),
        *("\u00a0", "\u200b", "\u2028", "\ufeff", "\x00", "\u2581", "Ġ"),
    ]
)  # fmt: skip
texts = st.one_of(
    st.lists(st.one_of(pieces, st.text(max_size=4)), min_size=1, max_size=14).map("".join),
    st.text(min_size=1, max_size=40),
)


def tiled(ids: Sequence[int], ends: Sequence[int], text: str) -> bool:
    return (
        len(ids) == len(ends)
        and all(a <= b for a, b in pairwise([0, *ends]))
        and (ends[-1] if ends else 0) == len(text.encode())
    )


@pytest.mark.parametrize("name", MAKERS)
@given(text=texts, ended=st.booleans())
def test_tokens_of_a_response_tile_its_bytes(name: str, text: str, ended: bool) -> None:
    tokenizer = made(name)
    ids, ends = tokenizer.encode_response(text, ended)
    if not ids:  # a normaliser may leave nothing of a text, and SmolLM2 has no tokens for some control bytes
        assert name in ("anthropic", "smollm2") or not text
        return
    assert tiled(ids, ends, text)
    body = ids[: len(ids) - ended]
    assert not any(map(tokenizer.is_control, body))
    assert tokenizer.encode_responses([text], [ended]) == [ids]


@pytest.mark.parametrize("name", LOSSLESS)
@given(text=texts)
def test_the_bytes_of_each_token_are_those_it_covers(name: str, text: str) -> None:
    tokenizer = made(name)
    if name == "smollm2":  # without the characters that it lacks bytes of
        text = "".join(c for c in text if tokenizer.decode(tokenizer.encode_response(c, ended=False)[0]) == c)
    ids, ends = tokenizer.encode_response(text, ended=False)
    assert tokenizer.decode(ids) == text
    assert tokenizer.ends_of(ids, text) == ends
    for token, (start, end) in zip(ids, pairwise([0, *ends]), strict=True):
        assert tokenizer.decode([token]) == text.encode()[start:end].decode(errors="replace")


@given(analysis=texts, answer=texts)
def test_harmony_round_trip(analysis: str, answer: str) -> None:
    analysis = analysis.replace("</think>", "")
    tokenizer = made("harmony")
    text = f"<think>\n{analysis}\n</think>\n{answer}"
    ids, ends = tokenizer.encode_response(text, ended=False)
    assert tokenizer.decode(ids) == text
    assert tokenizer.ends_of(ids, text) == ends


@given(text=texts)
def test_harmony_s_library_has_the_same_tokens(text: str) -> None:
    pytest.importorskip("openai_harmony", reason="pip install 'dasd[harmony]'")
    tokenizer = real.harmony()
    content = text.replace("<think>", "")
    ids, _ = tokenizer.encode_response(content, ended=False)
    assert ids[3:] == tokenizer._prompts._encoding.encode(content, disallowed_special=())


@pytest.mark.parametrize("name", MAKERS)
@given(data=st.data())
def test_any_tokens_tile_the_text_that_they_decode_to(name: str, data: st.DataObject) -> None:
    tokenizer = made(name)
    control = sorted(tokenizer._control_ids)
    plain = st.integers(0, tokenizer.vocab_size - 1)
    ids = data.draw(st.lists(st.one_of(plain, st.sampled_from(control)), max_size=20))
    text = tokenizer.decode(ids)
    assert tiled(ids, tokenizer.ends_of(ids, text), text)


def covering(token_ends: Sequence[int], start: int, end: int) -> list[int]:
    """Tokens of the sentence in bytes ``start`` to ``end``: the rule of docs/sentences.md, word for word."""
    found = []
    for token, (begin, stop) in enumerate(pairwise([0, *token_ends])):
        if begin < stop and begin < end and start < stop:
            found.append(token)
    return found


@pytest.mark.parametrize(("teacher", "student"), [("harmony", "smollm2"), ("deepseek", "anthropic"), ("smollm2", "deepseek")])  # fmt: skip
@given(text=texts, ended=st.booleans(), data=st.data())
def test_every_sentence_has_tokens_of_both_models(
    teacher: str, student: str, text: str, ended: bool, data: st.DataObject
) -> None:
    sentences = kernels.sentence_ends(pl.Series([text]))[0].to_list()
    wanted: dict[str, list[float]] = {}
    columns: dict[str, tuple[pl.Series, pl.Series]] = {}
    for role, name in (("teacher", teacher), ("student", student)):
        ids, ends = made(name).encode_response(text, ended)
        if not ids:
            return
        logprobs = [-((7 * token + place) % 13) / 4 for place, token in enumerate(ids)]
        tokens = [covering(ends, start, end) for start, end in pairwise([0, *sentences])]
        assert all(tokens), f"{name} has a sentence without tokens"
        wanted[role] = [math.exp(sum(logprobs[t] for t in mine) / len(mine)) for mine in tokens]
        columns[role] = (
            pl.Series([logprobs], dtype=pl.List(pl.Float32)),
            pl.Series([ends], dtype=pl.List(pl.UInt32)),
        )
    compared = kernels.compare_sentences(
        *columns["teacher"], *columns["student"], pl.Series([sentences], dtype=pl.List(pl.UInt32))
    ).row(0, named=True)
    assert compared["p_teacher"] == pytest.approx(wanted["teacher"], rel=1e-5)
    assert compared["p_student"] == pytest.approx(wanted["student"], rel=1e-5)
    assert compared["teacher"] + compared["student"] + compared["common"] == len(sentences)


def test_harmony_s_headers_count_for_no_sentence() -> None:
    tokenizer = made("harmony")
    text = "<think>\nSix.\n</think>\n42"
    ids, ends = tokenizer.encode_response(text, ended=True)
    (answer,) = (token for token in ids if tokenizer._piece(token) == b"42")
    assert sum(begin == stop for begin, stop in pairwise([0, *ends])) == 2 + 5 + 1
    got = kernels.sentence_probabilities(
        pl.Series([[math.log(0.2) if token == answer else 0.0 for token in ids]]),
        pl.Series([ends]),
        kernels.sentence_ends(pl.Series([text])),
    )
    assert got[0][-1] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("name", "text", "end"),
    [("harmony", "です。また。", 9), ("harmony", "是的。他说。", 9), ("smollm2", "Yes.  No.", 6)],
)
def test_a_token_that_holds_the_end_of_a_sentence_counts_on_both_sides(
    name: str, text: str, end: int
) -> None:
    assert kernels.sentence_ends(pl.Series([text]))[0].to_list() == [end, len(text.encode())]
    _, ends = made(name).encode_response(text, ended=False)
    assert end not in ends
    (shared,) = set(covering(ends, 0, end)) & set(covering(ends, end, len(text.encode())))
    logprobs = [0.0] * len(ends)
    logprobs[shared] = -math.inf
    column = kernels.sentence_probabilities(
        pl.Series([logprobs], dtype=pl.List(pl.Float32)),
        pl.Series([ends], dtype=pl.List(pl.UInt32)),
        pl.Series([[end, len(text.encode())]], dtype=pl.List(pl.UInt32)),
    )
    assert column[0].to_list() == [0.0, 0.0]
