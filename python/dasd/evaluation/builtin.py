"""Built-in evaluators, registered through the same hook as any plugin's."""

from __future__ import annotations

from dasd.evaluation.verifier_evaluator import VerifierEvaluator
from dasd.plugins.registry import Registry
from dasd.plugins.roles import hookimpl

__all__ = ["dasd_register"]


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register ``verifier``."""
    registry.evaluator(
        "verifier",
        VerifierEvaluator,
        doc="Samples answers and grades each by its question's verifier.",
        grades_by_verifier=True,
    )
