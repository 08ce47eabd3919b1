"""``dasd doctor``: what this environment has, what is broken in it, and what mends it."""

from __future__ import annotations

from dasd.doctor.elsewhere import examine_elsewhere
from dasd.doctor.examine import examine
from dasd.doctor.records import Report

__all__ = ["Report", "examine", "examine_elsewhere"]
