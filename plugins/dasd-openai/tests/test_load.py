"""`python -m benchmarks.load`, two seconds of it."""

from __future__ import annotations

import pytest
from benchmarks.load import FAULTS, Faulty, Load, allow_files, measure
from benchmarks.loopback import Loopback


def test_a_load_with_faults_of_all_kinds_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    load = Load(minutes=0.01, in_flight=100, median=0.1, timeout=5.0)
    allow_files(load.in_flight + 512)
    with Loopback(Faulty(load).handle) as server:
        found = measure(server.url, load)
    assert found.good and found.wanted >= 500
    assert set(FAULTS) <= found.served.keys()
    # It answered others all the while.
    assert not [text for text in caplog.messages if "reached" in text or "answers again" in text]
