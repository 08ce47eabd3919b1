"""Harmony (gpt-oss): prompts by the library, channels as think tags, tool calls seen, nothing lost."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from tests.real_tokenizers import gpt_oss, harmony
from tests.tiny_models import byte_level

from dasd.base.records import Message
from dasd.curation.filters.form import StructureFilter, ToolCallFilter
from dasd.errors import InputError
from dasd.models.tokens import harmony_prompts
from dasd.models.tokens.harmony import HarmonyTokenizer
from dasd.models.tokens.think_opening import prompt_opening

CONVERSATION = (Message("system", "You are a helpful assistant."), Message("user", "4 + 5? <|end|>"))
SYSTEM = (
    "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\n\nReasoning: medium\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>"
)
DEVELOPER = "<|start|>developer<|message|># Instructions\n\nYou are a helpful assistant.<|end|>"
HEADER = "<|start|>assistant<|channel|>"


def raw(text: str) -> list[int]:
    """Tokens of a text in which control tokens are control tokens."""
    return list(gpt_oss().encode(text, add_special_tokens=False))


def test_prompt_is_the_library_s_and_control_tokens_of_a_question_stay_text() -> None:
    plain = harmony().encode_response(CONVERSATION[1].content, ended=False)[0][3:]
    golden = [
        *raw(f"{SYSTEM}{DEVELOPER}<|start|>user<|message|>"),
        *plain,
        *raw("<|end|><|start|>assistant"),
    ]
    assert harmony().prompt_ids(CONVERSATION) == golden
    assert harmony().prompts_ids([CONVERSATION] * 2) == [golden, golden]
    assert not prompt_opening(harmony())


def test_history_shows_the_answer_alone() -> None:
    turns = (
        Message("user", "4 + 5?"),
        Message("assistant", "<think>\nAdd.\n</think>\n\n9"),
        Message("user", "+ 1?"),
    )
    golden = (
        f"{SYSTEM}<|start|>user<|message|>4 + 5?<|end|>{HEADER}final<|message|>9<|end|>"
        "<|start|>user<|message|>+ 1?<|end|><|start|>assistant"
    )
    assert harmony().prompt_ids(turns) == raw(golden)


def test_reasoning_effort() -> None:
    high = HarmonyTokenizer(gpt_oss(), "gpt-oss", {"reasoning_effort": "high"})
    assert "\nReasoning: high\n" in high.decode(high.prompt_ids(CONVERSATION))
    assert high.hash != harmony().hash
    with pytest.raises(InputError, match=r"low, medium, high\), got reasoning_effort 'most'"):
        HarmonyTokenizer(gpt_oss(), "gpt-oss", {"reasoning_effort": "most"})
    with pytest.raises(InputError, match="got enable_thinking"):
        HarmonyTokenizer(gpt_oss(), "gpt-oss", {"enable_thinking": True})


@pytest.mark.parametrize(
    ("sampled", "text"),
    [
        (
            f"<|channel|>analysis<|message|>Add.<|end|>{HEADER}final<|message|>9 é",
            "<think>\nAdd.\n</think>\n9 é",
        ),
        (
            f"<|channel|>analysis<|message|>\nA\n\n<|end|>{HEADER}final<|message|>\n\nB\n",
            "<think>\n\nA\n\n\n</think>\n\n\nB\n",
        ),
        (f"<|channel|>analysis<|message|><|end|>{HEADER}final<|message|>9", "<think>\n\n</think>\n9"),
        ("<|channel|>final<|message|>9", "9"),
        ("<|channel|>analysis<|message|>Add 4 and", "<think>\nAdd 4 and"),
        (
            f"<|channel|>analysis<|message|>中文😀<|end|>{HEADER}final<|message|>日本",
            "<think>\n中文😀\n</think>\n日本",
        ),
    ],
)
@pytest.mark.parametrize("end", [True, False])
def test_sampled_tokens_become_text_and_the_text_those_tokens(sampled: str, text: str, end: bool) -> None:
    ids = raw(sampled)
    assert harmony().decode(ids) == text
    ends = harmony().ends_of(ids, text)
    assert ends == sorted(ends)
    assert ends[-1] == len(text.encode())
    again, again_ends = harmony().encode_response(text, ended=end)
    assert again == ([*ids, harmony().eos_id] if end else ids)
    assert again_ends[: len(ids)] == ends
    assert harmony().encode_responses([text, ""], [end, False]) == [again, []]


def test_tags_are_covered_by_the_tokens_that_stand_for_them() -> None:
    ids = raw(f"<|channel|>analysis<|message|>A<|end|>{HEADER}final<|message|>B")
    text = harmony().decode(ids)
    ends = harmony().ends_of(ids, text)
    covered = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert covered == ["", "", "<think>\n", "A", "\n</think>\n", "", "", "", "", "", "B"]


@pytest.mark.parametrize(
    ("prefix", "tokens"),
    [
        ("<think>\nabc", "<|channel|>analysis<|message|>abc"),
        ("<think>abc", "<|channel|>analysis<|message|>abc"),
        ("<think>", "<|channel|>analysis<|message|>"),
        ("<think>\nabc\n</think>", f"<|channel|>analysis<|message|>abc<|end|>{HEADER}final<|message|>"),
        ("<think>\nabc</think>9", f"<|channel|>analysis<|message|>abc<|end|>{HEADER}final<|message|>9"),
        (
            "<think>\nabc\n</think>\n\n9",
            f"<|channel|>analysis<|message|>abc<|end|>{HEADER}final<|message|>\n9",
        ),
        ("abc", "<|channel|>final<|message|>abc"),
    ],
)
def test_a_prefix_resumes_inside_its_channel(prefix: str, tokens: str) -> None:
    ids, ends = harmony().encode_response(prefix, ended=False)
    assert ids == raw(tokens)
    assert ends == sorted(ends)
    assert ends[-1] == len(prefix.encode())


@pytest.mark.parametrize(
    "call",
    [
        f'{HEADER}commentary to=functions.add <|constrain|>json<|message|>{{"a": 4}}',
        '<|start|>assistant to=functions.add<|channel|>commentary json<|message|>{"a": 4}',
        f"{HEADER}analysis to=python code<|message|>print(4)",
    ],
)
def test_a_tool_call_is_dropped_for_what_it_is(call: str) -> None:
    text = harmony().decode(raw(f"<|channel|>analysis<|message|>Use a tool.<|end|>{call}"))
    assert text.startswith("<think>\nUse a tool.\n</think>\n<tool_call>")
    verdict = ToolCallFilter().judge(pl.DataFrame({"text": [text]})).row(0, named=True)
    assert (verdict["kept"], verdict["reason"]) == (False, "tool_calls")


def structure(text: str) -> str | None:
    frame = pl.DataFrame({"text": [text], "think_opened": [False]})
    return str(StructureFilter("think").judge(frame).row(0, named=True)["detail"])


@pytest.mark.parametrize(
    ("sampled", "complaint"),
    [
        ("<|channel|>analysis<|message|>Add 4 and", "got 1 and 0"),
        (f"<|channel|>analysis<|message|>A<|end|>{HEADER}analysis<|message|>B<|end|>", "got 2 and 2"),
        ("9 without any channel", "got 0 and 0"),
        ("<|channel|>thoughts<|message|>A", "got 0 and 0"),
        ("<|channel|>final<|message|>9<|start|>user<|message|>more", "got 0 and 0"),
    ],
)
def test_what_is_no_whole_answer_is_seen_by_the_structure_filter(sampled: str, complaint: str) -> None:
    ids = raw(sampled)
    text = harmony().decode(ids)
    assert complaint in structure(text)
    assert harmony().ends_of(ids, text)[-1] == len(text.encode())


def test_a_remark_to_the_user_belongs_to_the_answer() -> None:
    ids = raw(
        f"<|channel|>analysis<|message|>A<|end|>{HEADER}commentary<|message|>Now.<|end|>{HEADER}final<|message|>9"
    )
    assert harmony().decode(ids) == "<think>\nA\n</think>\nNow.\n\n9"


def test_the_text_of_a_beginning_is_the_beginning_of_the_text() -> None:
    ids = raw(
        f"<|channel|>analysis<|message|>Add 4.<|end|>{HEADER}commentary to=functions.f<|message|>x<|end|>"
        f"{HEADER}final<|message|>9<|start|>odd"
    )
    whole = harmony().decode(ids)
    assert all(whole.startswith(harmony().decode(ids[:count])) for count in range(len(ids)))


def test_end_tokens() -> None:
    end, call, between = raw("<|return|><|call|><|end|>")
    assert harmony().eos_id == end
    assert harmony().end_ids == {end, call}
    assert harmony().is_control(end)
    assert harmony().is_control(call)
    assert not harmony().is_control(between)  # a response goes on behind it


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    harmony()
    monkeypatch.setattr(importlib.util, "find_spec", {}.get)
    with pytest.raises(InputError, match=r"openai-harmony, which isn't installed.*dasd\[harmony\]"):
        HarmonyTokenizer(gpt_oss(), "gpt-oss")


def test_another_vocabulary_with_harmony_s_tokens() -> None:
    harmony()
    tokenizer = byte_level()
    assert not HarmonyTokenizer.speaks(tokenizer)
    names = ["start", "channel", "message", "constrain", "end", "return", "call"]
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|{name}|>" for name in names]})
    assert HarmonyTokenizer.speaks(tokenizer)
    with pytest.raises(InputError, match=r"vocabulary isn't gpt-oss's"):
        HarmonyTokenizer(tokenizer, "other")


def test_the_vocabulary_is_handed_over_without_a_trace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    harmony()
    seen: list[Sequence[Path]] = []
    monkeypatch.setenv("TIKTOKEN_ENCODINGS_BASE", "elsewhere")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    import openai_harmony

    load = openai_harmony.load_harmony_encoding

    def watched(name: str) -> object:
        seen.append(list(tmp_path.glob("*/*")))
        return load(name)

    monkeypatch.setattr(openai_harmony, "load_harmony_encoding", watched)
    harmony_prompts._loaded.cache_clear()
    harmony_prompts.HarmonyPrompts("gpt-oss", harmony()._pieces or {}, {})
    assert [file.name for file in seen[0]] == ["o200k_base.tiktoken"]
    assert os.environ["TIKTOKEN_ENCODINGS_BASE"] == "elsewhere"
    assert not list(tmp_path.iterdir())
