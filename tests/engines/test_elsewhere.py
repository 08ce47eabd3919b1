"""A teacher in another environment, with the real engine there."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from tests.engines.conftest import Commands

import dasd
from dasd.base.records import Message, SampleRequest, SamplingSpec
from dasd.errors import BackendError
from dasd.models.pool import open_teacher
from dasd.models.remote.teacher import RemoteTeacher
from dasd.plugins.host import PluginHost
from dasd.recipe.model_settings import ModelSettings

ROOT = Path(__file__).parents[2]
MAIN = ROOT / ".venv" / "bin" / "python"
SPEC = SamplingSpec("low", 1.0, 1.0, 64)
VLLM = ModelSettings(
    model="dasd:mini-teacher", backend="vllm", python=sys.executable, precision="fp32", device="cpu"
)


def asked(count: int) -> list[SampleRequest]:
    turns = (Message("user", "1 + 7 - 4 + 1 - 4 + 1 ="),)
    return [SampleRequest(f"s{i}", "q", turns, i, i) for i in range(count)]


@pytest.mark.skipif(not MAIN.exists(), reason="needs the main environment beside this one (make setup)")
def test_a_recipe_run_from_the_main_environment_samples_through_vllm(
    tmp_path: Path, commands: Commands
) -> None:
    """The environment that runs the recipe has neither vLLM nor its plugin; their versions are recorded."""
    overrides = [
        "teacher.backend=vllm",
        f"teacher.python={Path(sys.executable).parents[1]}",
        "questions.train.0.count=8",
        "sampling.candidates=2",
    ]
    options = [part for override in overrides for part in ("-o", override)]
    arguments = ["pipeline", "demo", "--plugins", "echo", "--run", str(tmp_path / "run"), *options]
    # echo would be the default teacher; the recipe names its own, so that only dasd's components are loaded here.
    done = commands.run(
        [str(MAIN), "-m", "dasd", *arguments, "-o", "student.backend=transformers", "--until", "sample-low"]
    )
    assert done.returncode == 0, done.stderr
    samples = dasd.Run.open(tmp_path / "run").frame("samples").collect()
    assert samples.height == 16
    assert set(samples["engine"]) == {"vllm"}
    manifest = next((tmp_path / "run" / "stages").glob("*-sample-low/manifest.json")).read_text()
    assert '"dasd-vllm"' in manifest


def test_a_killed_worker_with_its_engine_is_told_and_leaves_nothing() -> None:
    teacher = RemoteTeacher(VLLM)
    frames = teacher.sample(asked(200), SPEC)
    assert next(frames).height
    os.kill(teacher.pid, signal.SIGKILL)
    with pytest.raises(BackendError, match="was killed by SIGKILL"):
        list(frames)
    with pytest.raises(ProcessLookupError):
        os.killpg(teacher.pid, 0)


@pytest.mark.skipif(not MAIN.exists(), reason="needs the main environment beside this one (make setup)")
def test_two_versions_of_transformers_give_the_same_samples() -> None:
    registry = PluginHost.load(["vllm"]).registry
    own = VLLM.model_copy(update={"backend": "transformers", "python": None})
    rows = []
    for settings in (own, own.model_copy(update={"python": str(MAIN)})):
        with closing(open_teacher(registry, settings)) as teacher:
            rows.append(pl.concat(teacher.sample(asked(6), SPEC)).drop("engine_version"))
    assert rows[0].drop("logprobs").equals(rows[1].drop("logprobs"))
