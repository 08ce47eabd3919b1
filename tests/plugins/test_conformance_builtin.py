"""The built-in components pass the suites that plugins are held to."""

from __future__ import annotations

from dasd.testing import (
    EvaluatorSuite,
    ExecutorSuite,
    FilterSuite,
    QuestionsSuite,
    SelectorSuite,
    TeacherSuite,
    TrainerSuite,
    VerifierSuite,
)


class TestTransformers(TeacherSuite):
    name = "transformers"
    streams = True


class TestLocal(ExecutorSuite):
    name = "local"


class TestTorch(TrainerSuite):
    name = "torch"


class TestVerifierEvaluator(EvaluatorSuite):
    name = "verifier"


class TestDivergence(SelectorSuite):
    name = "divergence"


class TestCoverage(SelectorSuite):
    name, draws, by_neighbours = "coverage", True, True


class TestRatio(SelectorSuite):
    name = "ratio"


class TestFewest(SelectorSuite):
    name = "fewest"


class TestLongest(SelectorSuite):
    name = "longest"


class TestRandom(SelectorSuite):
    name, draws = "random", True


class TestLengthMatched(SelectorSuite):
    name, draws, by_neighbours = "length-matched", True, True


class TestGrape(SelectorSuite):
    name = "grape"


class TestNaturalness(SelectorSuite):
    name = "naturalness"


class TestStructure(FilterSuite):
    name = "structure"
    kept = ("<think>So 3.</think>3",)
    dropped = ("3", "<think></think>3")


class TestToolCalls(FilterSuite):
    name = "tool_calls"
    kept = ("<think>I have a tool.</think>3",)
    dropped = ('<tool_call>{"name": "add"}</tool_call>',)


class TestRepetition(FilterSuite):
    name = "repetition"
    kept = ("<think>Begin at 9. So 9 + 3 = 12. </think>12",)
    dropped = ("<think>" + "again and again " * 200,)


class TestMiniature(QuestionsSuite):
    name = "miniature"


class TestReasoningGym(QuestionsSuite):
    name, options = "reasoning-gym", {"dataset": "chain_sum"}


class TestNumber(VerifierSuite):
    name = "number"
    right = (("<think>So.</think>It is 7.", "7", ""), ("7.001", "7", "0.01"))
    wrong = (("8", "7", ""), ("7.1", "7", "0.01"), ("seven", "7", ""))


class TestExact(VerifierSuite):
    name = "exact"
    right = (("<think>So.</think>Paris", "Paris", ""), ("paris", "Paris", "ignore-case"))
    wrong = (("paris", "Paris", ""), ("Rome", "Paris", ""))


class TestChoice(VerifierSuite):
    name = "choice"
    right = (("The answer is B.", "B", ""), ("(C)", "C) twelve", ""))
    wrong = (("A", "B", ""),)


class TestMath(VerifierSuite):
    name = "math"
    right = ((r"\boxed{\frac{1}{2}}", "0.5", ""),)
    wrong = ((r"\boxed{2}", "0.5", ""),)
