"""Golden conversations: what is trained is what was served, token for token, in every kind of chat format."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import polars as pl
import pytest
from pydantic import JsonValue
from tests.real_tokenizers import deepseek, gpt_oss, wrapped_smollm2
from tests.tiny_models import byte_level
from transformers import LlamaConfig, PreTrainedTokenizerFast

from dasd.base.records import ContinueRequest, Message, ModelInfo, SampleRequest, SamplingSpec
from dasd.errors import InputError
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.sample_rows import EngineRows, Generated, Prompted
from dasd.models.tokens.think_opening import Reading, prompt_opening
from dasd.plugins.recipe import Recipe
from dasd.recipe.model_settings import ModelSettings
from dasd.training.row_maker import RowMaker

TEMPLATES = Path(__file__).parents[2] / "chat_templates"
SYSTEM, ASKED, NEXT = "Be brief.", "4 + 5? 👩‍👩‍👧", "And then?"
QUESTION = (Message("system", SYSTEM), Message("user", ASKED))
REASONING, ANSWER = "Add 4 and 5.\nSo 9, né?", "It is 9. 中文"


@dataclass(frozen=True)
class Format:
    """A tokenizer with a template, and what it makes of two turns."""

    make: Callable[[], PreTrainedTokenizerFast]
    prompt: str
    response: str
    second: str
    """The prompt after this response and another question."""
    end: str
    options: dict[str, JsonValue] = field(default_factory=dict)
    opens: bool = False


def _templated(make: Callable[[], PreTrainedTokenizerFast], template: str) -> PreTrainedTokenizerFast:
    tokenizer = make()
    tokenizer.chat_template = (TEMPLATES / f"{template}.jinja").read_text()
    return tokenizer


def _llama3() -> PreTrainedTokenizerFast:
    tokenizer = byte_level()
    tokenizer.add_special_tokens(
        {
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot_id|>",
            "additional_special_tokens": ["<|start_header_id|>", "<|end_header_id|>"],
        }
    )
    return _templated(lambda: tokenizer, "llama3")


def _chatml(first: str, response: str = "") -> str:
    begun = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n"
    if not response:
        return begun + first
    return f"{begun}{response}<|im_end|>\n<|im_start|>user\n{NEXT}<|im_end|>\n<|im_start|>assistant\n{first}"


def _header(role: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n"


THINKING = f"<think>\n{REASONING}\n</think>\n\n{ANSWER}"
LLAMA = f"<|begin_of_text|>{_header('system')}{SYSTEM}<|eot_id|>{_header('user')}{ASKED}<|eot_id|>{_header('assistant')}"
DEEPSEEK = f"<｜begin▁of▁sentence｜>{SYSTEM}<｜User｜>{ASKED}<｜Assistant｜>"
HARMONY = (
    "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\n\nReasoning: low\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>"
    f"<|start|>developer<|message|># Instructions\n\n{SYSTEM}<|end|>"
    f"<|start|>user<|message|>{ASKED}<|end|><|start|>assistant"
)
FORMATS = {
    "smollm2": Format(wrapped_smollm2, _chatml(""), THINKING, _chatml("", THINKING), "<|im_end|>"),
    "chatml": Format(
        lambda: _templated(byte_level, "chatml"), _chatml(""), THINKING, _chatml("", THINKING), "<|im_end|>"
    ),
    "qwen3": Format(
        lambda: _templated(byte_level, "qwen3"), _chatml(""), THINKING, _chatml("", ANSWER), "<|im_end|>"
    ),
    "qwen3 not thinking": Format(
        lambda: _templated(byte_level, "qwen3"),
        _chatml("<think>\n\n</think>\n\n"),
        ANSWER,
        _chatml("<think>\n\n</think>\n\n", ANSWER),
        "<|im_end|>",
        {"enable_thinking": False},
    ),
    "llama3": Format(
        _llama3,
        LLAMA,
        THINKING,
        f"{LLAMA}{THINKING}<|eot_id|>{_header('user')}{NEXT}<|eot_id|>{_header('assistant')}",
        "<|eot_id|>",
    ),
    "deepseek-r1": Format(
        lambda: _templated(deepseek, "deepseek-r1"),
        f"{DEEPSEEK}<think>\n",
        f"{REASONING}\n</think>\n\n{ANSWER}",
        f"{DEEPSEEK}\n\n{ANSWER}<｜end▁of▁sentence｜><｜User｜>{NEXT}<｜Assistant｜><think>\n",
        "<｜end▁of▁sentence｜>",
        opens=True,
    ),
    "harmony": Format(
        gpt_oss,
        HARMONY,
        f"<think>\n{REASONING}\n</think>\n{ANSWER}",
        f"{HARMONY}<|channel|>final<|message|>{ANSWER}<|end|>"
        f"<|start|>user<|message|>{NEXT}<|end|><|start|>assistant",
        "<|return|>",
        {"reasoning_effort": "low"},
    ),
}


@cache
def _made(name: str) -> PreTrainedTokenizerFast:
    return FORMATS[name].make()


@pytest.fixture(scope="module", params=FORMATS)
def kind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Format, ChatTokenizer, RowMaker]:
    if request.param == "harmony":
        pytest.importorskip("openai_harmony", reason="pip install 'dasd[harmony]'")
    found = FORMATS[request.param]
    directory = tmp_path_factory.mktemp("model")
    _made(request.param).save_pretrained(directory)
    LlamaConfig(
        hidden_size=16, num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=4096
    ).save_pretrained(directory)
    settings = ModelSettings(model=str(directory), chat_template_options=found.options)
    maker = RowMaker(recipe_of(settings), {"q": QUESTION}, "cold")
    return found, maker._chat, maker


Kind = tuple[Format, ChatTokenizer, RowMaker]


def served(chat: ChatTokenizer, prefix: str, response: str) -> tuple[Prompted, list[int], pl.DataFrame]:
    """What a backend feeds, what its model writes to end ``response``, and the row that comes of it."""
    info = ModelInfo("student", "main", chat.hash, "engine", "1", "raw", 4096)
    rows, spec = EngineRows(chat, info), SamplingSpec("sample", 1.0, 1.0, 512)
    request = (
        ContinueRequest("s", "q", QUESTION, 0, 1, prefix)
        if prefix
        else SampleRequest("s", "q", QUESTION, 0, 1)
    )
    prompted = rows.prompted([request], spec)[0]
    new = chat.encode_response(response, ended=True)[0][len(prompted.prefix_ids) :]
    generated = Generated(new, [-0.5] * len(new), [-0.5] * len(prompted.prefix_ids), stopped=True)
    return prompted, new, rows.samples([prompted], [generated], spec)


def recipe_of(settings: ModelSettings) -> Recipe:
    """The demo with this model as teacher and student."""
    options = [
        f"{role}.chat_template_options.{name}={json.dumps(value)}"
        for role in ("teacher", "student")
        for name, value in settings.chat_template_options.items()
    ]
    return Recipe.load(
        "demo", [f"teacher.model={settings.model}", f"student.model={settings.model}", *options]
    )


def test_prompts_are_the_template_s(kind: Kind) -> None:
    form, chat, _ = kind
    ids = chat.prompt_ids(QUESTION)
    assert chat.decode(ids) == form.prompt
    assert bool(prompt_opening(chat)) == form.opens
    # A second turn shows of the first what the template shows.
    again = chat.prompt_ids((*QUESTION, Message("assistant", form.response), Message("user", NEXT)))
    assert chat.decode(again) == form.second
    assert chat.prompts_ids([QUESTION]) == [ids]


def test_trained_is_served(kind: Kind) -> None:
    form, chat, maker = kind
    prompted, new, samples = served(chat, "", form.response)
    assert samples["text"][0] == form.response
    row = maker.rows(samples).row(0, named=True)
    assert row["token_ids"] == [*prompted.ids, *new]
    assert row["loss_mask"] == [len(prompted.ids), len(new)]
    assert row["token_ids"][-1] == chat.eos_id
    assert chat._backend.id_to_token(chat.eos_id) == form.end


@pytest.mark.parametrize("share", [0.1, 0.45, 0.75])
def test_a_continued_response_is_trained_as_it_was_served(kind: Kind, share: float) -> None:
    form, chat, maker = kind
    prefix = _cut(chat, form.response, share)
    prompted, new, samples = served(chat, prefix, form.response)
    assert samples["text"][0] == form.response
    assert samples["token_ids"][0].to_list() == [*prompted.prefix_ids, *new]
    wanted = chat.encode_response(form.response, ended=True)[1]
    assert samples["token_ends"][0].to_list() == wanted
    whole = maker.rows(samples).row(0, named=True)
    assert whole["token_ids"] == [*prompted.ids, *new]
    assert whole["loss_mask"] == [len(prompted.prompt_ids), len(prompted.prefix_ids) + len(new)]
    masking = copy(maker)
    masking._train_prefix = False
    rest = masking.rows(samples).row(0, named=True)
    assert rest["loss_mask"] == [len(prompted.ids), len(new)]


def _cut(chat: ChatTokenizer, response: str, share: float) -> str:
    """The response up to the end of a token: beyond a share of it, where its tokens would be the same alone."""
    ids, ends = chat.encode_response(response, ended=False)
    raw = response.encode()
    for end in ends:
        if share * len(raw) < end < len(raw):
            prefix = raw[:end].decode(errors="ignore")
            alone, _ = chat.encode_response(prefix, ended=False)
            if len(prefix.encode()) == end and ids[: len(alone)] == alone:
                return prefix
    raise AssertionError("no such token")


def test_options_of_a_template_are_its_variables() -> None:
    tokenizer = _templated(byte_level, "qwen3")
    plain, off = ChatTokenizer(tokenizer), ChatTokenizer(tokenizer, "q", {"enable_thinking": False})
    assert (
        off.decode(off.prompt_ids(QUESTION))
        == f"{plain.decode(plain.prompt_ids(QUESTION))}<think>\n\n</think>\n\n"
    )
    assert off.hash != plain.hash
    assert ChatTokenizer(tokenizer, "q", {}).hash == plain.hash
    with pytest.raises(InputError, match="add_generation_prompt can't be an option"):
        ChatTokenizer(tokenizer, "q", {"add_generation_prompt": False})


def test_a_response_moves_between_templates_that_open_the_tag_and_those_that_don_t() -> None:
    opened = f"{REASONING}\n</think>\n\n{ANSWER}"
    reading = Reading("<think>\n", "")
    assert reading.view(opened).text == THINKING
    assert reading.back().view(THINKING).text == opened
