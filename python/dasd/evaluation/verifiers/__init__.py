"""Built-in verifiers, registered through the same hook as any plugin's."""

from __future__ import annotations

from dasd.errors import PluginError
from dasd.evaluation.verifiers.choice import ChoiceVerifier
from dasd.evaluation.verifiers.code import CodeVerifier
from dasd.evaluation.verifiers.number import NumberVerifier
from dasd.evaluation.verifiers.text import ExactVerifier
from dasd.plugins.registry import Registry
from dasd.plugins.roles import Verifier, hookimpl

__all__ = ["dasd_register"]


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register ``math``, ``exact``, ``choice``, ``number``, ``code``, ``reasoning-gym`` and ``miniature``."""
    registry.verifier("math", _math, doc="Mathematical equality of expressions, by math-verify.")
    registry.verifier("exact", ExactVerifier, doc="The final answer is the expected text, spaces aside.")
    registry.verifier("choice", ChoiceVerifier, doc="The option chosen, by its letter or its text.")
    registry.verifier("number", NumberVerifier, doc="The number equals the expected one, within a tolerance.")
    registry.verifier("code", CodeVerifier, doc="The last Python block passes the tests, in a sandbox.")
    registry.verifier("reasoning-gym", _gym, doc="The scorer of the question's own reasoning-gym set.")
    registry.verifier(
        "miniature", _miniature, doc="The bundled miniature task's integer after the think tags."
    )


def _math() -> Verifier:
    try:
        import math_verify  # noqa: F401
    except ImportError as error:
        raise PluginError(
            "the verifier 'math' needs the package math-verify: pip install 'dasd[math]'"
        ) from error
    from dasd.evaluation.verifiers.math import MathVerifier

    return MathVerifier()


def _gym() -> Verifier:
    from dasd.evaluation.verifiers.gym import GymVerifier

    return GymVerifier()


def _miniature() -> Verifier:
    from dasd.evaluation.verifiers.mini import MiniatureVerifier

    return MiniatureVerifier()
