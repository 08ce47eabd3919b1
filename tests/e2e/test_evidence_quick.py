"""The quick evidence suite, end to end: only effects so large that one seed shows them.

Minutes, so run by hand (`make test-evidence`); that the suite runs at all is test_evidence_smoke.py's.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).parents[2]


def suite(*arguments: str) -> None:
    command = [sys.executable, "-m", "benchmarks.evidence", *arguments]
    subprocess.run(command, cwd=ROOT, check=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_large_effects_have_their_direction(tmp_path: Path) -> None:
    suite("run", "--scale", "quick", "--directory", str(tmp_path / "suite"))
    suite("table", "--directory", str(tmp_path / "suite"))
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "evidence.md", tmp_path / "docs")
    suite("page", "--directory", str(tmp_path / "suite"), "--docs", str(tmp_path / "docs"))
    assert "| high | 1x | 1 |" in (tmp_path / "docs" / "evidence.md").read_text(encoding="utf-8")
    table = pl.read_parquet(tmp_path / "suite" / "results.parquet")
    figures = {
        (arm, measure): value for arm, measure, value in table.select("arm", "measure", "value").iter_rows()
    }
    assert figures["teacher", "accuracy"] > 0.7
    # Training on the teacher's responses brings the student nearer to it, whichever they are.
    assert figures["high", "kl"] < 0.2 * figures["before", "kl"]
    # It takes up the teacher's mixture of styles; what has least new in it, or most, takes up less of the mixture.
    assert figures["high", "coverage"] > figures["before", "coverage"] + 0.1
    assert figures["fewest", "coverage"] < figures["high", "coverage"] - 0.1
    assert figures["divergence", "coverage"] < figures["high", "coverage"] - 0.1
    assert figures["fewest", "kl"] > figures["high", "kl"]
    assert figures["divergence", "macro_new"] > figures["fewest", "macro_new"] + 0.1
