"""The server is killed while it answers, and comes back: nothing is lost, nothing is there twice."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest
from openai_asking import TOKENS, requests, rows, sampled
from openai_serving import SECONDS_TO_START, VllmServer

from dasd.api import SamplingSpec, Teacher

Open = Callable[..., Teacher]
LONG = SamplingSpec("test", 1.0, 1.0, 160)
COUNT = 64


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed in this environment")
def test_a_server_killed_in_the_middle_costs_no_sample(
    tmp_path: Path, open_teacher: Open, caplog: pytest.LogCaptureFixture
) -> None:
    server = VllmServer(tmp_path / "server.log")
    server.start()
    server.wait()
    try:
        teacher = open_teacher(server.url, patience=2 * SECONDS_TO_START, backoff=0.1)
        frames: list[pl.DataFrame] = []
        for frame in teacher.sample(requests(COUNT), LONG):
            frames.append(frame)
            if len(frames) == 3:
                server.kill()
                server.start()  # on the same port; nobody waits for it here
        assert sum(frame.height for frame in frames[:3]) < COUNT
        found = rows(frames)
        assert found["sample_id"].to_list() == sorted(request.sample_id for request in requests(COUNT))
        messages = [record.getMessage() for record in caplog.records]
        assert [m for m in messages if "can't be reached" in m] and [
            m for m in messages if "answers again" in m
        ]
        again = sampled(teacher, LONG, COUNT)
        assert found.select(TOKENS).equals(again.select(TOKENS))
    finally:
        server.kill()
