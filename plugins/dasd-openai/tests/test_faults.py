"""A proxy between the teacher and a real server spoils requests: no sample is lost, doubled or changed."""

from __future__ import annotations

import logging
import random
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec

import polars as pl
import pytest
from openai_asking import TOKENS, WARM, requests, sampled
from openai_faults import Proxy, always, first_time
from openai_serving import VllmServer

from dasd.api import BackendError, InputError, Teacher

Open = Callable[..., Teacher]
pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed in this environment")

# The table in README.md names these; every fault is injected into the first sending of every request.
MENDED = [
    "busy",
    "limit-used-up",
    "broken",
    "bad-gateway",
    "overloaded",
    "gateway-timeout",
    "reset",
    "cut",
    "half-a-json",
    "no-object",
    "no-text-at-all",
    "no-choices",
    "no-text",
    "a-logprob-short",
]


@pytest.fixture(scope="module")
def unspoilt() -> dict[str, pl.DataFrame]:
    """Rows without faults, drawn once."""
    return {}


@pytest.fixture
def wanted(unspoilt: dict[str, pl.DataFrame], server: VllmServer, open_teacher: Open) -> pl.DataFrame:
    if "rows" not in unspoilt:
        unspoilt["rows"] = sampled(open_teacher(server.url))
    return unspoilt["rows"]


@pytest.fixture
def proxy(server: VllmServer) -> Iterator[Proxy]:
    with Proxy(server.url) as proxy:
        yield proxy


@pytest.mark.parametrize("fault", MENDED)
def test_a_fault_costs_no_sample(fault: str, wanted: pl.DataFrame, proxy: Proxy, open_teacher: Open) -> None:
    teacher = open_teacher(proxy.url)
    proxy.plan = first_time(fault)
    rows = sampled(teacher)
    assert proxy.faults[fault] == rows.height == 8
    assert rows.select(TOKENS).equals(wanted.select(TOKENS))


def test_a_hanging_server_costs_no_sample(wanted: pl.DataFrame, proxy: Proxy, open_teacher: Open) -> None:
    teacher = open_teacher(proxy.url, timeout=4.0)
    proxy.plan = first_time("hang")
    rows = sampled(teacher)
    assert proxy.faults["hang"] == 8
    assert rows.select(TOKENS).equals(wanted.select(TOKENS))


def test_faults_of_all_kinds_in_a_row_cost_no_sample(
    wanted: pl.DataFrame, proxy: Proxy, open_teacher: Open
) -> None:
    """A seeded plan: up to three different faults before a request is passed on."""
    teacher = open_teacher(proxy.url, retries=3)
    proxy.plan = lambda digest, times: (
        random.Random(f"7{digest}{times}").choice(MENDED) if times < int(digest, 16) % 4 else None
    )
    rows = sampled(teacher)
    assert proxy.faults.total() >= 8 and len(proxy.faults) >= 5
    assert rows.select(TOKENS).equals(wanted.select(TOKENS))


def test_an_endless_error_ends_after_so_many_retries(proxy: Proxy, open_teacher: Open) -> None:
    teacher = open_teacher(proxy.url, retries=2)
    proxy.plan = always("broken")
    with pytest.raises(
        BackendError, match=r"sample sample-0: .*failed 3 times.*status 500.*Internal Server Error"
    ):
        sampled(teacher, count=1)
    assert proxy.faults["broken"] == 3


@pytest.mark.parametrize("fault", ["bad-request", "broken"])
def test_a_request_that_the_server_refuses_alone_costs_no_other(
    fault: str, wanted: pl.DataFrame, proxy: Proxy, open_teacher: Open
) -> None:
    teacher = open_teacher(proxy.url, retries=3, backoff=0.5)
    refused: set[str] = set()

    def plan(digest: str, _: int) -> str | None:
        refused.update([digest] if not refused else [])
        return fault if digest in refused else None

    proxy.plan = plan
    told: dict[str, str] = {}
    rows = pl.concat(teacher.sample(requests(), replace(WARM, on_refused=told.__setitem__)))
    assert len(told) == 1 and ("status 400" if fault == "bad-request" else "status 500") in next(
        iter(told.values())
    )
    left = wanted.filter(~pl.col("sample_id").is_in(list(told)))
    assert rows.sort("sample_id").select(TOKENS).equals(left.sort("sample_id").select(TOKENS))


def test_a_server_that_stays_away_ends_after_the_patience(
    proxy: Proxy, open_teacher: Open, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dasd_openai.transport._SILENT_SECONDS", 0.0)
    teacher = open_teacher(proxy.url, patience=0.5)
    proxy.plan = always("reset")
    with pytest.raises(
        BackendError, match=r"could not be reached .*teacher\.options\.base_url.*patience \(0\.5 s\)"
    ):
        sampled(teacher, count=1)
    assert len([r for r in caplog.records if "waiting up to" in r.getMessage()]) == 1
    assert proxy.faults["reset"] > 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("bad-request", r"sample sample-0: .*status 400: can't take Bearer \[key\]"),
        ("unauthorized", r"doesn't accept the key in the environment variable OPENAI_API_KEY"),
        ("no-quota", r"status 429: buy more"),
    ],
)
def test_what_asking_again_does_not_mend_is_told_at_once(
    fault: str, message: str, proxy: Proxy, open_teacher: Open
) -> None:
    teacher = open_teacher(proxy.url)
    proxy.plan = always(fault)
    with pytest.raises(BackendError, match=message):
        sampled(teacher, count=1)
    assert proxy.faults[fault] == 1


def test_a_missing_key_is_asked_for_by_its_name(
    server: VllmServer, open_teacher: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MY_SERVERS_KEY", raising=False)
    with pytest.raises(BackendError, match="set the environment variable MY_SERVERS_KEY"):
        open_teacher(server.url, api_key_env="MY_SERVERS_KEY")


def test_a_wrong_path_and_a_wrong_model_say_what_to_set(server: VllmServer, open_teacher: Open) -> None:
    with pytest.raises(BackendError, match=r"status 404.*most servers want /v1"):
        open_teacher(server.url.removesuffix("/v1"))
    with pytest.raises(InputError, match=r"served_model: .* serves no 'other'; it has mini"):
        open_teacher(server.url, served_model="other")


def test_another_models_tokenizer_is_noticed_before_anything_is_sampled(
    server: VllmServer, open_teacher: Open
) -> None:
    with pytest.raises(InputError, match="its tokenizer isn't that of the served model 'mini'"):
        open_teacher(server.url, model="dasd:mini-student")


def test_requests_go_out_side_by_side_up_to_the_bound(proxy: Proxy, open_teacher: Open) -> None:
    teacher = open_teacher(proxy.url, concurrency=3)
    proxy.most_at_once = 0
    assert sampled(teacher, count=24).height == 24
    # Whether the third overlaps with two others is up to how fast the server answers.
    assert 2 <= proxy.most_at_once <= 3


def test_rows_that_nobody_takes_are_no_longer_asked_for(proxy: Proxy, open_teacher: Open) -> None:
    teacher = open_teacher(proxy.url, concurrency=1)
    before = len(proxy.bodies)
    frames = teacher.sample(requests(), WARM)
    next(iter(frames))
    frames.close()  # type: ignore[attr-defined]
    teacher.close()
    assert len(proxy.bodies) - before < 8


def test_sampling_is_the_recipes_and_nothing_of_the_servers(proxy: Proxy, open_teacher: Open) -> None:
    """Defaults of a served model's generation_config (top_k, penalties) would bend the distribution."""
    sampled(open_teacher(proxy.url), count=1)
    body = proxy.bodies[-1]
    asked = {
        name: body[name] for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")
    }
    wanted = {
        "temperature": 0.6,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "seed": 100,
    }
    assert asked == wanted


def test_the_key_is_in_no_message_log_or_traceback(
    proxy: Proxy, open_teacher: Open, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = []
    for fault in ("bad-request", "unauthorized", "broken", "reset", "no-object"):
        teacher = open_teacher(proxy.url, retries=1, patience=0.2)
        inner = teacher._inner  # type: ignore[attr-defined]
        server = inner._servers._servers[0]
        kept = (teacher, inner, inner._servers, server, server.transport)
        told.append("".join(repr(vars(each)) for each in kept))
        proxy.plan = always(fault)
        with pytest.raises(BackendError) as caught:
            sampled(teacher, count=1)
        # All frames but this test's own, which knows the key.
        inside = caught.value.with_traceback(caught.value.__traceback__.tb_next)  # type: ignore[union-attr]
        trace = traceback.TracebackException.from_exception(inside, capture_locals=True)
        told.append("".join(trace.format()))
        proxy.plan = lambda *_: None
    told.append(caplog.text)
    assert "Transport" in told[0] and "HTTP Request" in caplog.text
    assert not [text for text in told if key in text]
