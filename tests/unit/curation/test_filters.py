"""Built-in filters: what each drops, and what it must leave alone."""

from __future__ import annotations

from zlib import crc32

import polars as pl
import pytest
from tests.stage_run import make_recipe, make_registry

from dasd.base.schemas import SAMPLES
from dasd.curation.filters import BUILT_IN, wanted_filters
from dasd.curation.filters.form import LengthFilter, StructureFilter, ToolCallFilter, TruncationFilter
from dasd.curation.filters.quality import AnswerFilter, RepetitionFilter, repeated_share
from dasd.models.tokens.chat import ChatTokenizer
from dasd.pipeline.work.judging import Judge
from dasd.recipe.curation_settings import FilterSettings
from dasd.recipe.model_settings import ModelSettings
from dasd.store.question_lookup import QuestionLookup


def texts(*values: str, opened: bool = False) -> pl.DataFrame:
    tokens = [[*(crc32(word.encode()) for word in value.split()), 0] for value in values]  # a token a word
    return pl.DataFrame(
        {
            "text": list(values),
            "student_token_ids": pl.Series(tokens, dtype=pl.List(pl.UInt32)),
            "finish_reason": ["stop"] * len(values),
            "think_opened": [opened] * len(values),
        }
    )


def kept(frame: pl.DataFrame) -> list[bool]:
    return frame["kept"].to_list()


def test_length_counts_the_prompt() -> None:
    rows = pl.DataFrame({"prompt_tokens": [3, 4], "student_token_ids": [[1] * 5, [1] * 5]})
    judged = LengthFilter(8).judge(rows)
    assert kept(judged) == [True, False]
    assert "4 prompt and 5 response" in judged["detail"][1]


def test_truncated() -> None:
    judged = TruncationFilter().judge(pl.DataFrame({"finish_reason": ["stop", "length"]}))
    assert kept(judged) == [True, False]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("<think>why</think>42", True),
        ("\n<think>\nwhy\n</think>\n\n42\n", True),
        ("42", False),
        ("why</think>42", False),
        ("<think>why", False),
        ("<think> </think>42", False),
        ("<think>why</think>  ", False),
        ("Hm. <think>why</think>42", False),
        ("</think>why<think>42", False),
        ("<think>a</think><think>b</think>42", False),
    ],
)
def test_structure_think(text: str, good: bool) -> None:
    assert kept(StructureFilter("think").judge(texts(text))) == [good]


def test_the_prompt_may_have_opened_the_tag() -> None:
    rows = texts("why</think>42", "why 42", "<think>why</think>42", opened=True)
    assert kept(StructureFilter("think").judge(rows)) == [True, False, False], "a second tag is one too many"


def test_structure_any_wants_some_text() -> None:
    assert kept(StructureFilter("any").judge(texts("x", " \n"))) == [True, False]


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\n{}",
        "</tool_call>",
        "<|tool_call|>",
        "<function_call>",
        "<function=search>",
        "[TOOL_CALLS] []",
        "<|python_tag|>print",
        "<|channel|>commentary to=functions.get",
        '{"tool_calls": [{}]}',
        '{"name": "search", "arguments": {"q": 1}}',
        "<tool_call\u0301",  # a word may end before a combining mark
        '{"tool_calls"\x1c: [{}]}',
        "<\uff5ctool_calls> </function_calls x>",
        '{ "name"\x1f:\x1d"search"\u2003,\n"parameters": {',
    ],
)
def test_tool_calls_are_dropped(text: str) -> None:
    assert kept(ToolCallFilter().judge(texts(f"I look. {text}"))) == [False]


def test_talk_of_functions_is_kept() -> None:
    rows = texts("Call the function f(x) as a tool.", '{"name": "Ann", "age": 3}', "<functional> analysis")
    assert kept(ToolCallFilter().judge(rows)) == [True] * 3


def test_what_looks_like_a_tool_call_is_searched_by_the_exact_rule() -> None:
    rows = texts("<tool_calling>", "plain", '{"name": "Ann", "age": 3}', "[TOOL_CALLS]", "<tool_response>")
    judged = ToolCallFilter().judge(rows)
    assert kept(judged) == [True, True, True, False, False]
    assert judged["detail"].to_list()[3:] == [
        "'[TOOL_CALLS]' at character 0",
        "'<tool_response' at character 0",
    ]


def test_shares_of_texts_with_and_without_other_letters() -> None:
    sentence, other = "We look at the case. ", "Then we are done with it now. "
    for first in (sentence, sentence.replace("e", "é")):
        rows = texts(f"{first}{other}{first}", f"{first}{other}", "")
        assert RepetitionFilter(0.2, 48).judge(rows)["detail"].to_list() == [
            "29% of its characters are in repeated sentences, at most 20%",
            "",
            "",
        ]


def judge(tokenizer_hash: str, tokens: list[int], max_length: int) -> tuple[str, str]:
    """Reason and detail of the verdict on one response whose tokens are not the tokenizer's own."""
    row = dict.fromkeys(SAMPLES.columns, None) | {
        "sample_id": "s",
        "question_id": "q",
        "text": "<think>So 4 and 5 is 9. </think>9",
        "token_ids": tokens,
        "finish_reason": "stop",
        "tokenizer_hash": tokenizer_hash,
    }
    samples = pl.DataFrame([row], schema=dict(SAMPLES.columns))
    asked = {"question_id": "q", "messages": [{"role": "user", "content": "4 + 5 = ?"}]}
    questions = pl.DataFrame([asked]).with_columns(
        answer=pl.lit(None, pl.String), verifier=pl.lit(None, pl.String), domain=pl.lit("sums")
    )
    made = Judge(
        make_recipe(filters={"answer": False}),
        make_registry(),
        max_length,
        QuestionLookup([questions]),
        "filter",
    )
    _, _, _, reason, detail = made.verdicts(samples.select(made.columns)).row(0)
    return reason, detail


def test_the_student_s_tokens_are_the_sampled_ones_where_it_has_that_tokenizer() -> None:
    student = ChatTokenizer.load(ModelSettings(model="dasd:mini-student"))
    loop = [*range(50), *[7, 8] * 30, student.eos_id]
    assert judge(student.hash, loop, 512) == ("repetition", "ends in a loop of 60 tokens, period 2 tokens")
    assert judge("another", loop, 512) == ("", "")
    assert judge(student.hash, loop, 120) == ("", ""), "near the context the tokenizer's own count"


def test_repetition() -> None:
    fresh = "".join(chr(200 + n) + f" is item {n * n}. " for n in range(60))
    sentence = "We have to look at the other case now, which is long. "
    rows = texts(
        fresh,
        fresh[:80] + "and so on " * 30,
        sentence * 6,
        "\n\n".join([fresh[:200]] * 3),
        "It is 1000000.",
    )
    judged = RepetitionFilter(0.5, 48).judge(rows)
    assert kept(judged) == [True, False, False, False, True]
    assert judged["detail"][1] == "ends in a loop of 90 tokens, period 3 tokens"


def test_a_loop_needs_its_tokens_at_the_end() -> None:
    fresh = " ".join(f"w{n}" for n in range(200))
    rows = texts(
        f"{fresh} . . .",
        f"{fresh} 0 0 0 0 0 0 0 0",
        f"{fresh} a b a b a b",
        "a b " * 23 + f"a b {fresh} . . .",  # 48 tokens that loop, but not at the end
        f"{fresh} " + "a b " * 23 + "a",
        f"{fresh} " + "a b " * 24,
        fresh.replace("w0 ", "", 1),
    )
    assert kept(RepetitionFilter(0.5, 48).judge(rows)) == [True, True, True, True, True, False, True]
    assert kept(RepetitionFilter(0.5, 6).judge(rows)) == [True, False, False, True, False, False, True]
    assert FilterSettings().loop_tokens == 48


def test_repeated_share_counts_second_occurrences() -> None:
    assert repeated_share(["ab", "cd", " ab "]) == pytest.approx(2 / 6)
    assert repeated_share(["", ""]) == 0


def test_answer_drops_only_what_is_known_to_be_wrong() -> None:
    rows = pl.DataFrame({"correct": [True, False, None], "answer": ["1", "1", None]})
    judged = AnswerFilter().judge(rows)
    assert kept(judged) == [True, False, True]
    assert judged["detail"][1] == "the reference answer is '1'"


def test_filters_are_registered_and_asked_for_by_the_recipe() -> None:
    registry = make_registry()
    assert set(registry.names("filter")) == set(BUILT_IN)
    assert all(component.doc for component in registry.components("filter"))
    assert wanted_filters(FilterSettings()) == [
        "truncated",
        "length",
        "structure",
        "tool_calls",
        "repetition",
    ]
    everything = FilterSettings(answer=True, extra=("mine",))
    assert wanted_filters(everything) == [*BUILT_IN, "mine"]
    little = FilterSettings(
        length=False, tool_calls=False, truncated=False, repetition=False, structure="any"
    )
    assert wanted_filters(little) == ["structure"]
