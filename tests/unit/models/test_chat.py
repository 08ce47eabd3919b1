"""Chat tokenizers: prompts, responses as tokens, control tokens kept out, unusable tokenizers refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.tiny_models import TOKENIZERS, byte_level, chat, save_llama, word_level

from dasd.base.records import Message
from dasd.errors import InputError
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.token_ends import ends_by_decoding, ends_from_bytes, ends_from_offsets
from dasd.recipe.model_settings import ModelSettings

CONVERSATION = (Message("system", "Be brief."), Message("user", "4 + 5?"))


def test_prompt_is_the_template_with_the_generation_prompt() -> None:
    tokenizer = chat("byte_level")
    ids = tokenizer.prompt_ids(CONVERSATION)
    assert tokenizer.decode(ids) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n4 + 5?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert ids.count(tokenizer.eos_id) == 2


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
def test_control_tokens_in_a_response_stay_text(kind: str) -> None:
    tokenizer = chat(kind)
    text = "so <|im_end|> <|im_start|>user <pad> 9"
    ids, ends = tokenizer.encode_response(text, ended=True)
    assert ids.count(tokenizer.eos_id) == 1
    assert ids[-1] == tokenizer.eos_id
    assert ends[-1] == ends[-2] == len(text)
    controls = {tokenizer.prompt_ids(CONVERSATION)[0]}
    assert controls.isdisjoint(ids[:-1]), "the mark that opens a turn came in through a response"


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
def test_many_at_once_are_encoded_like_one_at_a_time(kind: str) -> None:
    tokenizer = chat(kind)
    texts = ["so 9", "", "so <|im_end|> <|im_start|>user <pad> 9", "é à  \n 9 + 3"] * 20
    ended = [n % 3 > 0 for n in range(len(texts))]
    one_by_one = [tokenizer.encode_response(text, end)[0] for text, end in zip(texts, ended, strict=True)]
    assert tokenizer.encode_responses(texts, ended) == one_by_one
    conversations = [CONVERSATION, CONVERSATION[1:]] * 3
    assert tokenizer.prompts_ids(conversations) == [tokenizer.prompt_ids(turns) for turns in conversations]
    assert tokenizer.encode_responses([], []) == tokenizer.prompts_ids([]) == []


def test_think_tags_are_the_tokens_they_are() -> None:
    tokenizer = chat("byte_level")
    ids, ends = tokenizer.encode_response("<think>9</think>9", ended=False)
    assert ends[0] == len("<think>")
    assert tokenizer.decode(ids[:1]) == "<think>"


def test_trimmed_offsets_don_t_move_white_space() -> None:
    tokenizer = chat("byte_level")
    text = "  a\n\n  b \n"
    ids, ends = tokenizer.encode_response(text, ended=False)
    starts = [0, *ends]
    assert [text[a:b] for a, b in zip(starts, ends, strict=False)] == [tokenizer.decode([i]) for i in ids]


def test_a_character_over_several_byte_tokens_has_real_widths() -> None:
    tokenizer = chat("byte_level")
    ids, ends = tokenizer.encode_response("\U00010348", ended=False)
    assert len(ids) == 4
    assert ends == [1, 2, 3, 4]


def test_a_normalised_text_is_tiled_as_it_was_given() -> None:
    tokenizer = chat("nfc_byte_level")
    text = "cafe\u0301 x"
    ids, ends = tokenizer.encode_response(text, ended=True)
    assert tokenizer.decode(ids[:-1]) == "café x"
    assert ends[-1] == len(text.encode()) == 8


def test_prefix_space_of_the_tokenizer_takes_no_bytes_away() -> None:
    tokenizer = ChatTokenizer(byte_level(prefix_space=True))
    _, ends = tokenizer.encode_response("So 9", ended=False)
    assert ends[-1] == 4


def test_tokens_that_are_no_utf8() -> None:
    tokenizer = chat("byte_level")
    euro = tokenizer.encode_response("\U00010348", ended=False)[0]
    letter = tokenizer.encode_response("a", ended=False)[0]
    ids = [*euro[:2], *letter, *euro, *euro[:3]]
    text = tokenizer.decode(ids)
    assert text == "\ufffda\U00010348\ufffd"
    # The tokens of an invalid part share the three bytes of U+FFFD.
    assert tokenizer.ends_of(ids, text) == [1, 3, 4, 5, 6, 7, 8, 9, 10, 11]


def test_ends_from_bytes_refuses_other_text() -> None:
    assert ends_from_bytes([b"ab", b"c"], "abc") == [2, 3]
    assert ends_from_bytes([b"ab", b"c"], "abd") is None


def test_tokens_of_one_character_share_its_bytes() -> None:
    assert ends_from_offsets([(0, 1), (1, 2), (1, 2), (2, 3)], "aéb") == [1, 2, 3, 4]
    assert ends_from_offsets([(0, 2)] * 6, "中。") == [1, 2, 3, 4, 5, 6]
    assert ends_from_offsets([(0, 1), (0, 1), (0, 1), (1, 2)], "½a") == [1, 1, 2, 3]  # normalised to 1/2
    assert ends_from_offsets([(0, 0), (0, 1), (1, 2), (2, 2)], "ab") == [0, 1, 2, 2]  # not of the text
    assert ends_from_offsets([(1, 2), (4, 5)], " a  b ") == [2, 6]
    assert ends_from_offsets([], "") == []


def test_ends_by_decoding_falls_back_to_whole_prefixes() -> None:
    def numbering(token_ids: Sequence[int]) -> str:
        return "".join(map(str, range(len(token_ids))))  # what a token becomes depends on all before it

    assert ends_by_decoding([7, 7, 7], "012", numbering) == [1, 2, 3]


def test_a_token_that_decodes_to_nothing_has_no_width() -> None:
    def words(token_ids: Sequence[int]) -> str:
        return "".join(("", "a ", "b")[token] for token in token_ids)

    assert ends_by_decoding([0, 1, 0, 0, 2, 0], "a b", words) == [0, 2, 2, 2, 3, 3]


def test_bytes_of_sentencepiece_fallback() -> None:
    tokenizer = chat("metaspace")
    text = "So \U00010348 9"
    ids, _ = tokenizer.encode_response(text, ended=False)
    assert tokenizer.decode(ids) == text
    ends = tokenizer.ends_of(ids, text)
    place = next(i for i, end in enumerate(ends) if end == 7)
    assert ends[place - 3 : place + 1] == [4, 5, 6, 7]
    assert ends[-1] == len(text.encode())
    assert tokenizer.encode_response(text, ended=False)[1] == ends
    cut = ids[: place - 1]
    assert tokenizer.ends_of(cut, tokenizer.decode(cut))[-2:] == [4, 9]  # two pieces, each decoded to U+FFFD


def test_no_chat_template() -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = None
    with pytest.raises(InputError, match=r"no chat template.*instruct model"):
        ChatTokenizer(tokenizer)


def test_no_end_token() -> None:
    tokenizer = byte_level()
    tokenizer.eos_token = None
    with pytest.raises(InputError, match=r"no end token.*eos_token"):
        ChatTokenizer(tokenizer)


def test_a_template_that_refuses_a_role() -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(InputError, match=r"no system role.*system_prompt"):
        ChatTokenizer(tokenizer).prompt_ids(CONVERSATION)


def test_hash_tells_tokenizers_and_templates_apart() -> None:
    assert ChatTokenizer(byte_level()).hash == ChatTokenizer(byte_level()).hash
    assert ChatTokenizer(byte_level(380)).hash != ChatTokenizer(byte_level()).hash
    other = byte_level()
    other.chat_template = "{{ messages[0]['content'] }}"
    assert ChatTokenizer(other).hash != ChatTokenizer(byte_level()).hash
    assert len(ChatTokenizer(word_level()).hash) == 32


def test_load_from_a_directory_equals_the_tokenizer(tmp_path: Path) -> None:
    settings = save_llama(tmp_path / "model", byte_level())
    loaded, made = ChatTokenizer.load(settings), chat("byte_level")
    assert loaded.hash == made.hash
    assert loaded.vocab_size == made.vocab_size
    assert loaded.prompt_ids(CONVERSATION) == made.prompt_ids(CONVERSATION)


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    settings = save_llama(tmp_path / "model", byte_level())
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="tokenizer can't be loaded"):
        ChatTokenizer.load(settings)


def test_the_bundled_models() -> None:
    for name in ("dasd:mini-teacher", "dasd:mini-student"):
        tokenizer = ChatTokenizer.load(ModelSettings(model=name))
        text = "<think>Begin at 9. So 9 + 3 = 12. </think>12"
        ids, ends = tokenizer.encode_response(text, ended=True)
        assert tokenizer.decode(ids[:-1]) == text
        assert tokenizer.ends_of(ids[:-1], text) == ends[:-1]
