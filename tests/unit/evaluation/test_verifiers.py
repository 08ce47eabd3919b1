"""Verifiers: what counts as the final answer, and what is right."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasd.base.records import Grade
from dasd.curation.sources.gym import reasoning_gym_package
from dasd.errors import InputError
from dasd.evaluation.verifiers import dasd_register
from dasd.evaluation.verifiers.answers import boxed, final_text, marked
from dasd.plugins.registry import Registry


@pytest.fixture(scope="module")
def registry() -> Registry:
    made = Registry()
    dasd_register(made)
    return made


def grade(registry: Registry, verifier: str, response: str, answer: str) -> Grade:
    name, _, argument = verifier.partition(":")
    return registry.make_verifier(name).grade(response, answer, argument)


def test_all_are_registered(registry: Registry) -> None:
    names = ["choice", "code", "exact", "math", "miniature", "number", "reasoning-gym"]
    assert set(names) <= set(registry.names("verifier"))


def test_final_text_is_after_the_last_think_tag() -> None:
    assert final_text("<think>a</think> b </think>\n c ") == "c"
    assert final_text(" no tags ") == "no tags"


def test_boxed_and_marked() -> None:
    assert boxed(r"so \boxed{1} or \boxed{\frac{1}{2}}.") == r"\frac{1}{2}"
    assert boxed(r"\boxed{open") is None
    assert boxed(r"\boxed{a}, then \boxed{open") == "a"
    assert marked("The answer is: **12**.\nFinal answer: 13.") == "13"
    assert marked("nothing here") is None


EXACT = [
    ("<think>maybe Rome</think>Paris", "Paris", True),
    ("<think>Paris</think>Rome", "Paris", False),
    ("The answer is  New   York.", "New York", True),
    (r"It is \boxed{x + 1}", "x + 1", True),
    ("paris", "Paris", False),
    ("", "Paris", False),
]


@pytest.mark.parametrize(("response", "answer", "correct"), EXACT)
def test_exact(registry: Registry, response: str, answer: str, correct: bool) -> None:
    assert grade(registry, "exact", response, answer).correct is correct


def test_exact_without_case_and_with_a_wrong_argument(registry: Registry) -> None:
    assert grade(registry, "exact:ignore-case", "paris", "Paris") == Grade(True, "paris")
    with pytest.raises(InputError, match="exact:nocase"):
        grade(registry, "exact:nocase", "paris", "Paris")


CHOICE = [
    ("<think>A or B? A.</think>The answer is (C).", "C", "C"),
    (r"\boxed{\text{B}}", "(B)", "B"),
    ("**Answer:** D", "D", "D"),
    ("Option A is wrong, so B", "B", "B"),
    ("b", "B) twelve", "B"),
    ("Answer: b) because", "B", "B"),
    ("It can't be told", "B", None),
    ("", "B", None),
]


@pytest.mark.parametrize(("response", "answer", "extracted"), CHOICE)
def test_choice(registry: Registry, response: str, answer: str, extracted: str | None) -> None:
    got = grade(registry, "choice", response, answer)
    assert got == Grade(extracted is not None, extracted)


def test_choice_that_is_wrong_and_an_answer_without_a_letter(registry: Registry) -> None:
    assert grade(registry, "choice", "Answer: A", "B") == Grade(False, "A")
    with pytest.raises(InputError, match="no single letter"):
        grade(registry, "choice", "A", "12")


reasoning_gym = reasoning_gym_package("the test")

NUMBER = [
    ("<think>9 + 3 = 12</think>It makes 1,234.50 in all", "1234.5", True),
    ("5 and then 7", "7", True),
    ("5 and then 7", "5", False),
    ("The answer is 12. I checked it 3 times", "12", True),
    ("The answer is 12.\nI checked it 3 times", "12", True),
    (r"\boxed{-3/4} or 5", "-0.75", True),
    ("x = -4", "-4", True),
    ("x = \u22124", "-4", True),
    ("1e3", "1000", True),
    ("about 3.3333", "10/3", False),
    ("7/0", "7", False),
    ("9" * 5000, "7", False),
    ("1e999999999", "7", False),
    ("none", "7", False),
]


@pytest.mark.parametrize(("response", "answer", "correct"), NUMBER)
def test_number(registry: Registry, response: str, answer: str, correct: bool) -> None:
    assert grade(registry, "number", response, answer).correct is correct


def test_number_with_a_tolerance(registry: Registry) -> None:
    assert grade(registry, "number:1e-4", "about 3.3333", "10/3").correct
    with pytest.raises(InputError, match="number:close"):
        grade(registry, "number:close", "3", "3")
    with pytest.raises(InputError, match="is no number"):
        grade(registry, "number", "3", "three")


WRITTEN = [
    ("Final answer: The final answer is $5$. I hope it helps.", "5", True),
    ("Final answer: The answer is not 5", "5", False),
    ("Answer: The least $m$ is 34.", "34", True),
    ("Answer: The area of $ABC$ is 12", "12", True),
    (r"\(\boxed{1}\) and \(\boxed{2}\)", "2", False),
    (r"\boxed{1} \quad \text{and} \quad \boxed{2}", "1, 2", True),
    (r"\boxed{1} \quad \text{and} \quad \boxed{2}", "2", False),
    (r"\boxed{x = 1 \text{ or } 2}", "1, 2", True),
    (r"\boxed{x = 1, 2}", "y = 1, 2", False),
    (r"\boxed{(x, y) = (5, 8) \text{ and } (8, 5)}", "(5,8), (8,5)", True),
    (r"\boxed{(2,1), (1,2)}", "(1;2);(2;1)", True),
    (r"\boxed{(2,1)}", "(1;2)", False),
    (r"\boxed{[0, 1]}", "[0;1]", True),
    (r"\boxed{[0, 1)}", "[0;1]", False),
    (r"\boxed{(4,3), (3,4)}", "(3,4)or(4,3)", True),
    (r"\boxed{0.5}", r"\frac{AB}{CD}=\frac{1}{2}", True),
    (r"\boxed{3:8}", "S_{1}:S=3:8", True),
    (r"\boxed{8:3}", "S_{1}:S=3:8", False),
    (r"\boxed{3}", "|AB|=3", True),
    (r"\boxed{3}", "|x|=3", False),
    (r"\boxed{(0,1)}", "0<f(x)<1", True),
    (r"\boxed{\frac{1}{2}}", r"\\frac{1}{2}", True),
    (r"\boxed{(a,b)}", r"\begin{pmatrix}a\\b\end{pmatrix}", True),
    (r"\boxed{7\textnormal{ miles}}", "$7$ miles", True),
    (r"\boxed{7\text{ km}}", "$7$ miles", False),
    (r"\boxed{1,\! 234,\! 567}", "1234567", True),
    (r"\boxed{2, 3}", r"x_1=2,\quadx_2=3", True),
    (r"\boxed{sin(x)}", r"\sin x", True),
    (r"\boxed{ln(2)}", r"\ln 2", True),
    (r"\boxed{2 pi r}", r"2\pi r", True),
    (r"\boxed{(0, inf)}", r"(0,\infty)", True),
    (r"\boxed{x^-1}", r"\frac{1}{x}", True),
    (r"\boxed{\sqrt[3]2}", r"\sqrt[3]{2}", True),
    ("Hence 3 + x", "x + 3", True),
]
"""Ways of writing: those that math-verify's own tests have, in other words, and plain text."""


@pytest.mark.parametrize(("response", "answer", "correct"), WRITTEN)
def test_math_reads_what_others_write(registry: Registry, response: str, answer: str, correct: bool) -> None:
    assert grade(registry, "math", response, answer).correct is correct


MATH = [
    (r"<think>or 5</think>So $x = \frac{1}{2}$.", "0.5", True),
    (r"\boxed{\frac{2}{4}}", r"\frac{1}{2}", True),
    (r"\boxed{2\sqrt{2}}", r"$\sqrt{8}$", True),
    (r"\boxed{(x+1)^2}", "x^2+2x+1", True),
    (r"\boxed{7}", "8", False),
    (r"<think>\boxed{8}</think>\boxed{7}", "8", False),
    ("The answer is 42.", "42", True),
    ("I don't know", "42", False),
    (r"\boxed{\frac{}{", "42", False),
    ("", "42", False),
]


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize(("response", "answer", "correct"), MATH)
def test_math(registry: Registry, response: str, answer: str, correct: bool, threaded: bool) -> None:
    found: list[Grade] = []

    def work() -> None:
        found.append(grade(registry, "math", response, answer))

    if threaded:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(60)
    else:
        work()
    assert [each.correct for each in found] == [correct]


def test_math_that_would_take_for_ever(registry: Registry) -> None:
    got = grade(registry, "math", r"\boxed{9^{9^{9^{9}}}}", "3")
    assert not got.correct


@settings(max_examples=40, deadline=None)
@given(text=st.one_of(st.text(max_size=40), st.text(alphabet=r"\{}$^_()[]0123456789xab+-=/ ", max_size=25)))
def test_odd_text_never_ends_a_verifier(registry: Registry, text: str) -> None:
    for name in ("math", "exact", "choice", "number", "miniature"):
        assert isinstance(grade(registry, name, text, "B" if name == "choice" else "7"), Grade)
    argument = json.dumps({"dataset": "chain_sum", "seed": 1, "size": 4, "index": 3})
    assert isinstance(grade(registry, f"reasoning-gym:{argument}", text, ""), Grade)


def test_miniature(registry: Registry) -> None:
    assert grade(registry, "miniature", "<think>So. </think>7", "7") == Grade(True, "7")
    assert grade(registry, "miniature", "<think>So. </think>8", "7") == Grade(False, "8")
    assert grade(registry, "miniature", "7", "7") == Grade(False, None)


@pytest.mark.parametrize("name", ["chain_sum", "basic_arithmetic", "countdown", "leg_counting"])
def test_reasoning_gym_scores_its_own_answers(registry: Registry, name: str) -> None:
    entries = reasoning_gym.create_dataset(name, seed=5, size=6)
    for index, entry in enumerate(entries):
        verifier = "reasoning-gym:" + json.dumps({"dataset": name, "seed": 5, "size": 6, "index": index})
        for text in (f"<think>hm, 4?</think>{entry['answer']}", f"\\boxed{{{entry['answer']}}}"):
            assert grade(registry, verifier, text, entry["answer"]).correct
        assert not grade(registry, verifier, "<think>" + entry["answer"] + "</think>no idea", "").correct


def test_reasoning_gym_with_a_configuration_of_its_own(registry: Registry) -> None:
    config = {"min_digits": 4, "max_digits": 4, "min_terms": 2, "max_terms": 2}
    entry = reasoning_gym.create_dataset("chain_sum", seed=5, size=3, **config)[2]
    argument = json.dumps({"dataset": "chain_sum", "seed": 5, "size": 3, "index": 2, "config": config})
    assert grade(registry, f"reasoning-gym:{argument}", entry["answer"], "").correct


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("", "wanted a JSON object"),
        ('{"dataset": "chain_sum"}', "wanted a JSON object"),
        ('{"dataset": "no_such_set", "seed": 1, "size": 5, "index": 0}', "no_such_set"),
        ('{"dataset": "chain_sum", "seed": 1, "size": 5, "index": 5}', "index 5 of 5"),
    ],
)
def test_reasoning_gym_with_wrong_arguments(registry: Registry, argument: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        grade(registry, f"reasoning-gym:{argument}", "7", "7")
