"""A teacher and a student small enough to ship, and the procedural task that they solve.

`model_path("teacher")` and `model_path("student")` are Hugging Face model directories; `model_path("sibling")` is a
student with the teacher's tokenizer. `dasd.models.miniature.world` holds the task and its verifier and needs no other
package; `python -m benchmarks.miniature.make` makes the models again.
"""

from __future__ import annotations

from pathlib import Path

ROLES = ("teacher", "student", "sibling")


def model_path(role: str) -> Path:
    """Return the directory of a bundled model. Raises ValueError for a role that none has."""
    if role not in ROLES:
        raise ValueError(f"role must be one of {', '.join(ROLES)}, got {role!r}")
    return Path(__file__).parent / "models" / role
