"""What `import dasd` promises."""

from __future__ import annotations

import re
from pathlib import Path

import dasd


def test_every_name_is_there() -> None:
    assert all(getattr(dasd, name) is not None for name in dasd.__all__)


def test_one_version() -> None:
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    assert re.search(rf'^version = "{re.escape(dasd.__version__)}"$', project, re.MULTILINE)
