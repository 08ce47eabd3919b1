"""``dasd doctor``: what this environment has, what is broken in it, and what mends it."""

from __future__ import annotations

from dasd.cli.environment.elsewhere import examine_elsewhere
from dasd.cli.environment.examine import examine
from dasd.cli.environment.records import Report

__all__ = ["Report", "examine", "examine_elsewhere"]
