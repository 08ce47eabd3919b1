"""Plugin ``lm-eval``: tasks of lm-evaluation-harness as benchmarks."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from dasd.api import Evaluator, Questions, Registry, Verifier, hookimpl
from dasd_lm_eval.options import TaskOptions

if TYPE_CHECKING:
    import click

__version__ = version("dasd-lm-eval")


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register the source, the evaluator and the verifier ``lm-eval``."""
    registry.questions(
        "lm-eval",
        _questions,
        options=TaskOptions,
        doc="Documents of any text task of lm-evaluation-harness; evaluated by the evaluator of the same name.",
        argument="task",
        evaluator="lm-eval",
        attempts=1,
    )
    registry.evaluator(
        "lm-eval",
        _evaluator,
        doc="Asks as lm-evaluation-harness does, in the chat form; grades by the task's own filters and metric.",
    )
    registry.verifier(
        "lm-eval", _verifier, doc="Grades a written response by its task of lm-evaluation-harness."
    )


@hookimpl
def dasd_stage_finished(run: Path, stage: str) -> None:
    """Leave lm-evaluation-harness's own results of an evaluation that asked its tasks in the run directory."""
    from dasd_lm_eval.rows import has_questions

    if stage.startswith("evaluate-") and has_questions(run):
        from dasd_lm_eval.results import write_results

        write_results(run, stage)


@hookimpl
def dasd_commands(cli: click.Group) -> None:
    """Add ``dasd lm-eval``."""
    from dasd_lm_eval.command import command

    cli.add_command(command)


def _questions() -> Questions:
    from dasd_lm_eval.harness import require

    require()
    from dasd_lm_eval.source import TaskQuestions

    return TaskQuestions()


def _evaluator(registry: Registry) -> Evaluator:
    from dasd_lm_eval.harness import require

    require()
    from dasd_lm_eval.evaluator import TaskEvaluator

    return TaskEvaluator(registry)


def _verifier() -> Verifier:
    from dasd_lm_eval.harness import require

    require()
    from dasd_lm_eval.verifier import TaskVerifier

    return TaskVerifier()
