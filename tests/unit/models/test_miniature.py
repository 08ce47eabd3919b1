"""The miniature world, its two tokenizers, and the bundled models."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest

from dasd.models.miniature import ROLES, model_path
from dasd.models.miniature.world import (
    LARGEST,
    STUDENT_HABITS,
    STYLES,
    TEACHER_HABITS,
    Question,
    draw_style,
    parse,
    questions,
    solve,
    split_of,
    style_of,
    style_prefix,
    verify,
)

PRINTABLE = "".join(map(chr, range(32, 127)))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module", params=ROLES)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_path(request.param))


def _responses(count: int) -> list[tuple[Question, str, str]]:
    rng = random.Random(5)
    return [(q, style, solve(q, style, rng)) for q in questions(count, 5) for style in STYLES]


def test_world_imports_neither_torch_nor_transformers() -> None:
    heavy = "{'torch', 'transformers', 'tokenizers'}"
    program = f"import sys, dasd.models.miniature.world; print(sorted({heavy} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_questions_repeat_for_a_seed_and_never_within_a_draw() -> None:
    assert questions(300, 1) == questions(300, 1)
    assert questions(300, 1) != questions(300, 2)
    assert len({q.question for q in questions(3000, 1)}) == 3000
    assert questions(50, 1) == questions(300, 1)[:50]


def test_splits_share_no_question_whatever_the_seeds() -> None:
    train = {q.question for seed in range(3) for q in questions(2000, seed, "train")}
    held_out = {q.question for seed in range(3) for q in questions(2000, seed, "eval")}
    assert not train & held_out
    assert {split_of(text) for text in train} == {"train"}
    assert {split_of(text) for text in held_out} == {"eval"}


@pytest.mark.parametrize(("count", "split"), [(-1, "train"), (100_001, "train"), (1, "test")])
def test_questions_refuse_wrong_arguments(count: int, split: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        questions(count, 0, split)


def test_answers_are_the_sums_and_every_style_reaches_them_within_bounds() -> None:
    for question, style, response in _responses(200):
        assert int(question.answer) == sum(parse(question.question))
        assert verify(response, question.answer) == (True, question.answer)
        assert style_of(response) == style
        assert max(int(n) for n in response.replace(".", " ").split() if n.isdigit()) <= LARGEST


def test_every_style_has_five_true_steps_of_six_words() -> None:
    for _, style, response in _responses(100):
        sentences = response.removeprefix("<think>").split("</think>")[0].split(". ")
        steps = [s.split() for s in sentences if style_of(s + ". ") == style]
        assert [len(step) for step in steps] == [6] * 5
        for _, left, operator, right, _, total in steps:
            sign = 1 if operator in ("+", "and", "up", "plus") else -1
            assert int(left) + sign * int(right) == int(total)


def test_styles_differ_in_their_order_of_work() -> None:
    question = Question("9 + 3 - 5 + 3 + 2 - 5 = ?", "7")
    totals = {s: [p.split()[-1] for p in solve(question, s, random.Random(0)).split(". ")] for s in STYLES}
    steps = {s: [t for t in words if t.isdigit()] for s, words in totals.items()}
    assert "12 7 10 12 7" in " ".join(steps["running"])
    assert "12 7 10 12 7" in " ".join(steps["words"])
    assert "12 15 17 12 7" in " ".join(steps["climb"])
    assert "12 15 17 10 7" in " ".join(steps["piles"])


def test_a_prefix_is_the_start_of_a_response_and_names_its_style_only() -> None:
    question = questions(1, 3)[0]
    for style in STYLES:
        assert solve(question, style, random.Random(4)).startswith(
            style_prefix(question, style, random.Random(4))
        )
        assert style_of(style_prefix(question, style, random.Random(4))) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>So 1 + 1 = 2. </think>7", (True, "7")),
        ("<think>So.</think> 7\n", (True, "7")),
        ("<think>So.</think>8", (False, "8")),
        ("<think></think>3</think>7", (True, "7")),
        ("<think>So 7. 7", (False, None)),
        ("<think>So.</think>7 or 8", (False, None)),
        ("<think>So.</think>", (False, None)),
        ("</think>" + "7" * 5000, (False, None)),
        ("", (False, None)),
    ],
)
def test_verify(text: str, expected: tuple[bool, str | None]) -> None:
    assert verify(text, "7") == expected


def test_style_of_is_none_without_steps_and_on_a_tie() -> None:
    assert style_of("<think>Let me see. </think>4") is None
    assert style_of("So 1 + 1 = 2. So 1 and 1 is 2. ") is None
    assert style_of("So 1 + 1 = 2. So 1 + 1 = 2. So 1 and 1 is 2. ") == "running"


def test_unknown_styles_and_foreign_questions_are_refused() -> None:
    question = questions(1, 0)[0]
    with pytest.raises(ValueError, match="running, words"):
        solve(question, "bold", random.Random(0))
    with pytest.raises(ValueError, match="running, words"):
        style_prefix(question, "bold", random.Random(0))
    with pytest.raises(ValueError, match="wanted a question such as"):
        parse("1 + 1 = ?")
    with pytest.raises(ValueError, match="teacher, student"):
        model_path("tutor")


def test_student_habits_are_a_part_of_the_teachers() -> None:
    for part in ("styles", "openers", "connectors", "remarks", "closers"):
        assert set(getattr(STUDENT_HABITS, part)) < set(getattr(TEACHER_HABITS, part))
    drawn = {draw_style(random.Random(seed), STUDENT_HABITS) for seed in range(50)}
    assert drawn == {"running", "words"}


def test_tokenizers_give_every_text_back(tokenizer: Any) -> None:
    texts = [r for *_, r in _responses(50)] + [
        PRINTABLE,
        "<think>é 漢字 \n\n a  b</think>.",
        "12.5 don't, e.g. this",
    ]
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert None not in tokenizer.convert_ids_to_tokens(ids)
    assert tokenizer.unk_token is None


def test_offsets_cover_the_text_and_meet_at_sentence_ends(tokenizer: Any) -> None:
    for _, _, response in _responses(20):
        spans = tokenizer(response, return_offsets_mapping=True)["offset_mapping"]
        assert spans[0][0] == 0
        assert spans[-1][1] == len(response)
        assert all(left[1] == right[0] for left, right in pairwise(spans))
        ends = {end for _, end in spans}
        assert all(i + 2 in ends for i in range(len(response)) if response.startswith(". ", i))


def test_special_tokens_and_think_tags(tokenizer: Any) -> None:
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    for tag in ("<think>", "</think>"):
        ids = tokenizer(tag)["input_ids"]
        assert len(ids) == 1
        assert ids[0] not in tokenizer.all_special_ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == tag


def test_chat_template_folds_the_system_message_and_continues_token_exactly(tokenizer: Any) -> None:
    question, _, response = _responses(1)[0]
    user = {"role": "user", "content": question.question}
    system = {"role": "system", "content": "You are a helpful assistant."}
    prompt = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    assert tokenizer.apply_chat_template([system, user], tokenize=False, add_generation_prompt=True) == prompt
    chat = tokenizer.apply_chat_template([user, {"role": "assistant", "content": response}], tokenize=False)
    assert chat == prompt + response + tokenizer.eos_token
    parts = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prompt, response)]
    assert tokenizer(chat, add_special_tokens=False)["input_ids"] == [
        *parts[0],
        *parts[1],
        tokenizer.eos_token_id,
    ]


def test_the_two_tokenizers_differ_and_responses_stay_short() -> None:
    from transformers import AutoTokenizer

    teacher, student, sibling = (AutoTokenizer.from_pretrained(model_path(role)) for role in ROLES)
    assert sibling.get_vocab() == teacher.get_vocab()
    assert teacher.convert_ids_to_tokens(teacher(" + 3 = 12")["input_ids"])[-1].count("12") == 1
    assert len(student(" 12")["input_ids"]) == 2
    for _, _, response in _responses(50):
        ids = teacher(response)["input_ids"], student(response)["input_ids"]
        assert len(ids[0]) < len(ids[1]) <= 90


def test_bundled_tokenizers_are_the_ones_that_the_code_builds() -> None:
    from benchmarks.miniature.tokenizers import build_tokenizer
    from transformers import AutoTokenizer

    for role in ("teacher", "student"):  # the sibling has the teacher's
        assert (
            build_tokenizer(role).get_vocab() == AutoTokenizer.from_pretrained(model_path(role)).get_vocab()
        )


@pytest.mark.parametrize("role", ROLES)
def test_bundled_model_fits_its_tokenizer_and_answers_offline(role: str) -> None:
    import torch
    from benchmarks.miniature.measure import sample
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(model_path(role))
    tokenizer = AutoTokenizer.from_pretrained(model_path(role))
    low, high = {"teacher": (1_000_000, 2_500_000)}.get(role, (150_000, 500_000))
    assert low <= model.num_parameters() <= high
    assert model.config.vocab_size == len(tokenizer)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(model.config, name) == getattr(tokenizer, name)
        assert getattr(model.generation_config, name) == getattr(tokenizer, name)
    asked = questions(40, 77, "eval")
    texts = sample(model, tokenizer, asked, [""] * 40, temperature=1.0, seed=0)
    right = sum(verify(text, q.answer)[0] for text, q in zip(texts, asked, strict=True)) / 40
    assert right >= 0.9 if role == "teacher" else right <= 0.6
    assert sum(style_of(text) is not None for text in texts) >= 38


def test_bundled_models_are_small_and_their_cards_hold_the_recorded_figures() -> None:
    from benchmarks.miniature.cards import read_figures, read_training

    sizes = [path.stat().st_size for role in ROLES for path in model_path(role).iterdir()]
    assert sum(sizes) < 10_000_000
    for role in ROLES:
        figures, training = read_figures(model_path(role)), read_training(model_path(role))
        assert training.role == role
        card = (model_path(role) / "README.md").read_text(encoding="utf-8")
        forced = [a for a in figures.accuracies if a.forced and a.temperature == 1.0]
        assert {a.style for a in forced} == set(STYLES)
        assert all(f"{a.mean:.3f} ± {a.deviation:.3f}" in card for a in figures.accuracies)
        if role == "teacher":
            assert min(a.mean for a in forced) > 0.9


def test_make_saves_a_model_that_loads(tmp_path: Any) -> None:
    import dataclasses

    from benchmarks.miniature.cards import read_training
    from benchmarks.miniature.make import PLANS, learning_rate_factor, make
    from transformers import AutoModelForCausalLM

    plan = dataclasses.replace(PLANS["student"], width=16, layers=1, heads=1, mlp=16, batch=2)
    made = make("student", plan, tmp_path / "student", seed=3, steps=2)
    again = make("student", plan, tmp_path / "again", seed=3, steps=2)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "student")
    for parameter, other, restored in zip(
        made.parameters(), again.parameters(), loaded.parameters(), strict=True
    ):
        assert parameter.equal(other)
        assert parameter.equal(restored)
    assert read_training(tmp_path / "student").steps == 2
    assert learning_rate_factor(0, 100) < learning_rate_factor(2, 100) == 1.0
    assert learning_rate_factor(99, 100) == pytest.approx(0.01, abs=0.001)
