"""Conformance suites for the authors of plugins: inherit one in a test file and run pytest.

    from dasd.testing import SelectorSuite

    class TestMine(SelectorSuite):
        name = "mine"

A suite makes the component through the plugin host, as a run does, and holds it against its protocol in
``dasd.api`` with the miniature models that ship with dasd. What a component is registered as lacking
(``continues``, ``gives_logprobs``, ``runs_student``) must be refused. `docs/plugins.md` lists the attributes.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("pytest") is None:
    raise ImportError("dasd.testing runs its checks with pytest, which is not installed: pip install pytest")

from dasd.testing.evaluator import EvaluatorSuite
from dasd.testing.executor import ExecutorSuite
from dasd.testing.filter import FilterSuite
from dasd.testing.questions import QuestionsSuite
from dasd.testing.selector import SelectorSuite
from dasd.testing.suite import ComponentSuite
from dasd.testing.teacher import TeacherSuite
from dasd.testing.trainer import TrainerSuite
from dasd.testing.verifier import VerifierSuite

__all__ = [
    "ComponentSuite",
    "EvaluatorSuite",
    "ExecutorSuite",
    "FilterSuite",
    "QuestionsSuite",
    "SelectorSuite",
    "TeacherSuite",
    "TrainerSuite",
    "VerifierSuite",
]
