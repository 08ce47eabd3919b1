"""``dasd plan``: what a recipe will do and cost, before anything is spent."""

from __future__ import annotations

from dasd.pipeline.plan.build import plan_recipe
from dasd.pipeline.plan.records import Amount, Finding, Given, RunPlan, StagePlan

__all__ = ["Amount", "Finding", "Given", "RunPlan", "StagePlan", "plan_recipe"]
