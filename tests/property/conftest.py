"""How many examples a property sees; those that go on for longer when asked are made with ``tests.fuzzing``."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fast", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fast")
