"""Tokens of a response tile its bytes, for any text and every kind of tokenizer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_models import CORPUS, SPECIAL, TOKENIZERS, chat

KINDS = sorted(TOKENIZERS)
CHATS = {kind: chat(kind) for kind in KINDS}
LOSSLESS = ("byte_level",)

# Any Unicode, and text that looks like the corpus: words, control tokens' names, combining characters.
pieces = st.sampled_from(
    [*SPECIAL, "<think>", "é à", " é", "e\u0301", "\u2581", "<0x41>", "👩‍👩‍👧", "\n\n", "  ", "So 9"]
)
texts = st.one_of(
    st.text(max_size=60),
    st.text(alphabet=sorted({c for text in CORPUS for c in text}), max_size=60),
    st.lists(st.one_of(pieces, st.text(max_size=5)), max_size=12).map("".join),
)


@pytest.mark.parametrize("kind", KINDS)
@given(text=texts, ended=st.booleans())
def test_tokens_of_a_response_tile_its_bytes(kind: str, text: str, ended: bool) -> None:
    tokenizer = CHATS[kind]
    ids, ends = tokenizer.encode_response(text, ended)
    assert len(ids) == len(ends)
    assert all(a <= b for a, b in zip([0, *ends], ends, strict=False))
    if ends:
        assert ends[-1] == len(text.encode())
    else:
        assert not ended
        assert not text.strip() or kind == "word_level"
    response = ids[:-1] if ended else ids
    assert ended <= (ids[-1:] == [tokenizer.eos_id])
    assert tokenizer.eos_id not in response


@pytest.mark.parametrize("kind", LOSSLESS)
@given(text=texts)
def test_byte_level_round_trip_with_every_byte_where_its_token_is(kind: str, text: str) -> None:
    tokenizer = CHATS[kind]
    ids, ends = tokenizer.encode_response(text, ended=False)
    assert tokenizer.decode(ids) == text
    assert tokenizer.ends_of(ids, text) == ends
    raw = text.encode()
    for token_id, start, end in zip(ids, [0, *ends], ends, strict=False):
        # A token alone decodes to its own bytes, as far as they are whole characters.
        assert tokenizer.decode([token_id]) == raw[start:end].decode(errors="replace")


@given(text=st.text(alphabet=sorted({c for text in CORPUS for c in text}), max_size=60))
def test_characters_round_trip(text: str) -> None:
    tokenizer = CHATS["characters"]
    ids, ends = tokenizer.encode_response(text, ended=False)
    assert tokenizer.decode(ids) == text
    assert tokenizer.ends_of(ids, text) == ends


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_any_tokens_tile_the_text_that_they_decode_to(kind: str, data: st.DataObject) -> None:
    tokenizer = CHATS[kind]
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size + 2), max_size=30))
    text = tokenizer.decode(ids)
    ends = tokenizer.ends_of(ids, text)
    assert len(ends) == len(ids)
    assert all(a <= b for a, b in zip([0, *ends], ends, strict=False))
    if ids:
        assert ends[-1] == len(text.encode())
