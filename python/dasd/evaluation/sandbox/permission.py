"""Whether the user has said that model-written code may run without a sandbox."""

from __future__ import annotations

__all__ = ["allow_without_sandbox", "without_sandbox"]

_allowed = False


def allow_without_sandbox(allowed: bool) -> None:
    """Take over what the recipe's ``unsafe_run_code_without_sandbox`` says, for this process. No until called."""
    global _allowed
    _allowed = allowed


def without_sandbox() -> bool:
    """Whether code runs without a sandbox in this process."""
    return _allowed
