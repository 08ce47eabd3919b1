"""``dasd.pipeline.plan`` in this process: hours, sizes, templates, contexts, answers, room."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from benchmarks.report_plan import PAGE, with_section

from dasd.models.miniature import model_path
from dasd.pipeline.plan import Amount, Given, RunPlan, StagePlan, plan_recipe
from dasd.pipeline.plan.checks import check_logprobs
from dasd.pipeline.plan.disk_and_memory import check_disk, disk_need
from dasd.pipeline.plan.records import Finding, StageCost, StageWork
from dasd.plugins.host import PluginHost
from dasd.plugins.recipe import Recipe
from dasd.recipe.curation_settings import SelectSettings

SMALL = (
    "questions.train.0.count=20", "questions.eval.0.count=8", "sampling.candidates=2", "sampling.chunk=32",
    "evaluation.heldout=4", "evaluation.attempts=2",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run, no question file and no fetched model is in the way."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def plan(*overrides: str, recipe: str = "demo", **given: float) -> RunPlan:
    return plan_recipe(recipe, [*SMALL, *overrides] if recipe == "demo" else overrides, given=Given(**given))


def stages(made: RunPlan) -> dict[str, StagePlan]:
    return {stage.name: stage for stage in made.stages}


def keys(made: RunPlan, level: str = "problem") -> set[str]:
    return {finding.key for finding in made.findings if finding.level == level}


def texts(made: RunPlan) -> str:
    return "\n".join(finding.text for finding in made.findings)


# -- hours and sizes ------------------------------------------------------------------------------------


def test_given_rates_make_hours() -> None:
    made = plan(
        response_tokens=50, rate=1000, student_rate=500, score_rate=2000, train_rate=100, answer_tokens=50
    )
    found = stages(made)
    low = found["sample-low"]
    assert low.work.generates[0].requests == Amount.exactly(40)
    assert low.work.generates[0].tokens == Amount(40 * 50, 40 * 160)
    assert low.cost.seconds == pytest.approx(2.0)
    assert low.cost.seconds_most == pytest.approx(40 * 160 / 1000)
    assert found["score-low"].cost.seconds == pytest.approx(1.0)
    assert found["evaluate-low"].cost.seconds == pytest.approx(16 * 50 / 500 + 4 * 50 / 2000)
    trains = found["train-low"].work.trains
    assert trains is not None and trains.tokens.expected is not None
    assert found["train-low"].cost.seconds == pytest.approx(trains.tokens.expected / 100)
    assert not made.problems


def test_rounds_count_what_the_teacher_says_of_each_token() -> None:
    small = ["stages.own.rounds=1", "stages.own.questions=100", "stages.own.off_policy_share=0.5"]
    made = plan(*small, recipe="on-policy", answer_tokens=50, student_rate=500, score_rate=1000)
    rollout, training = (stages(made)[name] for name in ("rollout-own-1", "train-own"))
    assert rollout.work.generates[0].tokens.expected == rollout.work.scores[0].tokens.expected == 100 * 50
    assert rollout.cost.seconds == pytest.approx(100 * 50 / 500 + 100 * 50 / 1000)
    assert training.work.rows.expected == 200
    plain = stages(plan(*small, "stages.own.loss=sampled-reverse-kl", recipe="on-policy", answer_tokens=50))
    likeliest = 64 * 8  # bytes a position: ids and log-probabilities
    of_rollout = rollout.cost.disk_bytes, plain["rollout-own-1"].cost.disk_bytes
    assert of_rollout[0] - of_rollout[1] == 100 * 50 * likeliest  # type: ignore[operator]
    assert training.work.trains is not None
    tokens = training.work.trains.row_tokens.expected
    of_training = training.cost.disk_bytes, plain["train-own"].cost.disk_bytes
    assert of_training[0] - of_training[1] == tokens * likeliest  # type: ignore[operator]


def test_the_teachers_rate_is_the_students_where_they_are_one_model() -> None:
    made = plan("student.model=dasd:mini-teacher", rate=1000, response_tokens=50, answer_tokens=50)
    assert stages(made)["evaluate-low"].cost.seconds is None  # scoring is still unknown
    assert stages(made)["evaluate-low"].cost.missing == (
        "student scores: no rate is given (--score-rate) or measured in the run",
    )


def test_sizes_of_a_student_that_is_elsewhere() -> None:
    made = plan_recipe("dasd-4b", given=Given(response_tokens=13_000, student_parameters=4e9))
    low, train = stages(made)["sample-low"], stages(made)["train-low"]
    tokens = (56_750 + 25_125 + 24_750 + 24_500) * 4 * 13_000
    assert low.work.generates[0].tokens.expected == tokens and low.cost.seconds is None
    assert train.cost.scratch_bytes == 2 * 12 * 4e9
    training = next(need for need in made.memory if "training" in need.what)
    assert training.parts == {"weights": 4 * 4e9, "gradients": 4 * 4e9, "optimiser": 8 * 4e9}
    teacher = next(need for need in made.memory if need.what.startswith("teacher"))
    assert teacher.total is None and "isn't known here" in teacher.missing
    assert not made.problems


def test_without_a_length_there_are_bounds_alone() -> None:
    made = plan(rate=1000)
    low, train, mix = (stages(made)[name] for name in ("sample-low", "train-low", "mix-mixed"))
    assert low.work.generates[0].tokens == Amount(None, 40 * 160)
    assert low.cost.seconds is None and low.cost.seconds_most == pytest.approx(40 * 160 / 1000)
    assert low.cost.disk_bytes is None and low.cost.disk_bytes_most is not None
    assert train.work.trains is not None and train.work.trains.rows == Amount(20, 20)
    assert train.work.trains.steps.expected is None and train.work.trains.steps.most is not None
    assert mix.work.rows == Amount(None, 40)
    assert any("--response-tokens" in text for text in made.assumptions)


def test_keys_of_estimates_that_are_no_longer_made_are_taken() -> None:
    former = ("devices=4", "teacher_params=1e9", "teacher_active=1e8", "student_active=1e8")
    assert not plan(*(f"plan.{key}" for key in former)).problems
    assert keys(plan("plan.devicess=4")) == {"plan.devicess"}


def test_a_recipe_says_what_its_plan_counts_with() -> None:
    made = plan_recipe("dasd-4b")
    found = stages(made)
    epochs = {}
    for name, tokens in (("low", 13_800), ("high", 17_500)):
        trains = found[f"train-{name}"].work.trains
        assert trains is not None and trains.rows.expected is not None and trains.tokens.expected is not None
        epochs[name] = trains.tokens.expected / 6
        assert epochs[name] == pytest.approx(trains.rows.expected * tokens, rel=1e-6)
    # Figure 8 of the report: 104.9K responses of 1.45 G tokens, 329.8K of 5.77 G.
    assert epochs["low"] == pytest.approx(1.4456e9, rel=0.01)
    assert epochs["high"] == pytest.approx(5.7676e9, rel=0.01)
    assert any("prompts aren't counted" in text for text in made.assumptions)
    asked = {part.benchmark: part.requests.expected for part in found["evaluate-low"].work.generates}
    assert asked == {
        "aime24": 30 * 64,
        "aime25": 30 * 64,
        "livecodebench-v5": 167 * 64,
        "livecodebench-v6": 175 * 64,
        "gpqa-diamond": 198 * 64,
    }
    caps = {part.benchmark: part.tokens.most for part in found["evaluate-low"].work.generates}
    assert caps["aime24"] == 30 * 64 * 102_400 and caps["gpqa-diamond"] == 198 * 64 * 81_920
    unreachable = [f for f in made.findings if f.key.startswith("questions.eval.")]
    assert {f.level for f in unreachable} == {"warning"} and len(unreachable) == 5
    # What is measured or given comes first.
    assert plan_recipe("demo", [*SMALL, "plan.student_params=9e9"]).models[1].parameters != 9e9


def test_a_benchmark_out_of_reach_is_a_warning_with_the_questions_here_too(tmp_path: Path) -> None:
    (tmp_path / "math.jsonl").write_text('{"question": "1 + 2?", "answer": "3"}\n{"question": "2 + 2?"}\n')
    train = "questions.train=[{source: file, domain: math, options: {path: math.jsonl}}]"
    shares = [f"stages.{name}.shares={{math: 1}}" for name in ("low", "high")]
    made = plan_recipe("dasd-4b", [train, *shares])
    assert not made.problems
    assert {f"questions.eval.{number}" for number in range(5)} <= keys(made, "warning")
    assert stages(made)["sample-low"].work.generates[0].requests == Amount(8, 8)


def test_the_page_holds_the_plan_of_the_reports_run_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_section(page) == page, "give python -m benchmarks.report_plan"


def test_a_mixture_of_experts_trains_on_what_the_other_run_selected() -> None:
    made = plan_recipe("dasd-30b-a3b")
    train = stages(made)["train-low"]
    assert train.work.trains is not None
    tokens = 104_900 * 13_800 * 6
    assert train.work.trains.tokens.expected == tokens
    assert not any(need.what.startswith("teacher") for need in made.memory)
    assert stages(made)["sample-low"].cost.disk_bytes == pytest.approx(104_900 * 13_800 * 16, rel=0.1)
    # Rows are written once, whatever the epochs, and a checkpoint in bf16.
    assert train.cost.disk_bytes == pytest.approx(tokens / 6 * 4 + 2 * 30.5e9, rel=0.01)
    assert not made.problems


def test_sizes_of_models_that_are_here() -> None:
    made = plan()
    config = json.loads((model_path("student") / "config.json").read_text())
    student = next(model for model in made.models if model.role == "student")
    assert student.here and student.context_length == config["max_position_embeddings"]
    from safetensors import safe_open

    with safe_open(model_path("student") / "model.safetensors", "np") as file:
        assert student.parameters == sum(file.get_tensor(name).size for name in file.keys())  # noqa: SIM118
    sampling = next(need for need in made.memory if need.what == "student, sampling")
    assert student.parameters is not None
    assert sampling.parts["weights"] == 4 * student.parameters
    assert sampling.total == sum(sampling.parts.values())


def test_memory_that_is_not_there_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dasd.pipeline.plan.disk_and_memory.memory_bytes", lambda: 2_000_000)
    monkeypatch.setattr("dasd.pipeline.plan.disk_and_memory.nvidia_gpus", tuple)
    made = plan()
    assert keys(made, "warning") == {"teacher.model", "trainer"}
    assert "takes at least 2.7 MiB" in texts(made) and not made.problems


# -- models and questions -------------------------------------------------------------------------------


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """A copy of the miniature student to spoil."""
    return Path(shutil.copytree(model_path("student"), tmp_path / "student"))


def test_a_template_that_refuses_the_system_prompt(student: Path) -> None:
    file = student / "chat_template.jinja"
    refuse = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    file.write_text(refuse + file.read_text())
    made = plan(f"student.model={student}")
    assert keys(made) == {"questions.system_prompt"} and "no system role" in texts(made)
    assert not plan(f"student.model={student}", "questions.system_prompt=null").problems


def test_a_system_prompt_that_is_left_out_is_a_warning_if_it_was_asked_for() -> None:
    assert "questions.system_prompt" in keys(plan(), "note")
    assert "questions.system_prompt" in keys(plan("questions.system_prompt=Be brief."), "warning")


def test_short_contexts(student: Path) -> None:
    config = json.loads((student / "config.json").read_text())
    (student / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 100}))
    made = plan(f"student.model={student}")
    assert keys(made, "warning") == {"evaluation.max_tokens", "trainer.max_length"}
    (student / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4}))
    assert keys(plan(f"student.model={student}")) == {"questions"}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("tokenizer.json", b"{", "its tokenizer can't be loaded"),
        ("tokenizer_config.json", b"{}", "no end token"),
        ("chat_template.jinja", b"", "no chat template"),
        ("config.json", b"[]", "wanted an object"),
        ("model.safetensors", b"\x10" + b"\0" * 40, "can't be read as safetensors"),
    ],
)
def test_damaged_models(student: Path, name: str, content: bytes, words: str) -> None:
    (student / name).write_bytes(content)
    made = plan(f"student.model={student}")
    assert keys(made) == {"student.model"} and words in texts(made)


def test_without_transformers_prompts_are_not_counted_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    made = plan("questions.system_prompt=null", response_tokens=50)
    assert keys(made, "note") == {"teacher.model", "student.model"} and keys(made) == {"teacher.backend"}
    train = stages(made)["train-low"].work.trains
    assert train is not None and train.row_tokens.expected == 20 * 50
    assert any("prompts aren't counted" in text for text in made.assumptions)


def test_a_model_in_the_hubs_cache_is_here(tmp_path: Path, student: Path) -> None:
    cache = tmp_path / "hub" / "models--someone--small"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0123abc")
    (cache / "snapshots").mkdir()
    student.rename(cache / "snapshots" / "0123abc")
    made = plan("student.model=someone/small")
    assert next(model for model in made.models if model.role == "student").here
    missing = plan("student.model=someone/other")
    assert keys(missing, "note") >= {"student.model"} and not missing.problems


def test_answers_that_nobody_can_grade(tmp_path: Path) -> None:
    (tmp_path / "bare.jsonl").write_text('{"question": "2 + 2?"}\n{"question": "2 + 3?"}\n')
    source = "questions.train=[{source: file, options: {path: bare.jsonl}}]"
    assert keys(plan_recipe("demo", [source])) == {"filters.answer"}
    assert not plan_recipe("demo", [source, "filters.answer=false"]).problems
    with (tmp_path / "bare.jsonl").open("a") as file:
        file.write('{"question": "1 + 2?", "answer": "3", "verifier": "number"}\nno JSON\n')
    some = plan_recipe("demo", [source])
    assert not some.problems and keys(some, "warning") == {"filters.answer", "questions"}
    assert stages(some)["sample-low"].work.generates[0].requests == Amount.exactly(3 * 4)


def test_a_teacher_told_to_give_no_logprobs() -> None:
    registry = PluginHost.load([], warn=print).registry
    settings = Recipe.load("demo").settings
    options = {"logprobs": "none"}
    mute = settings.model_copy(update={"teacher": settings.teacher.model_copy(update={"options": options})})
    assert [f.key for f in check_logprobs(mute, registry)] == ["teacher.options.logprobs"]
    assert check_logprobs(settings, registry) == []
    by_length = mute.model_copy(update={"select": SelectSettings(selector="longest")})
    assert check_logprobs(by_length, registry) == []


def test_an_absent_file_is_planned_by_its_count(tmp_path: Path) -> None:
    source = "questions.train=[{source: file, count: 50, options: {path: later.jsonl}}]"
    made = plan_recipe("demo", [source])
    assert not made.problems and keys(made, "warning") == {"questions.train.0.options.path"}
    assert stages(made)["sample-low"].work.generates[0].requests == Amount(200, 200)
    uncounted = plan_recipe("demo", [source.replace("count: 50, ", "")])
    assert keys(uncounted) == {"questions.train.0.options.path"}
    assert stages(uncounted)["sample-low"].work.generates[0].requests == Amount(None, None)


def test_responses_from_files_are_counted_and_not_sampled(tmp_path: Path) -> None:
    (tmp_path / "low.jsonl").write_text('{"question": "1+1=", "response": "2"}\n' * 7)
    made = plan("stages.low.samples=low.jsonl", rate=1000, response_tokens=50)
    given, high = stages(made)["sample-low"], stages(made)["sample-high"]
    assert given.work.rows == Amount(7, 7) and given.work.generates == ()
    assert high.work.generates[0].requests == Amount.exactly(40)
    assert stages(made)["score-low"].work.scores[0].responses == Amount(7, 7)
    assert stages(made)["train-low"].work.rows.most == 7
    assert keys(plan("stages.low.samples=gone.parquet")) == {"stages.0.samples"}


def test_a_damaged_run_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{")
    made = plan_recipe("demo", SMALL, directory=tmp_path / "run")
    assert keys(made) == {"--run"} and "run.json" in texts(made)


def test_what_takes_long_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("dasd.pipeline.plan.build.SLOW_SECONDS", 0.0)
    plan_recipe("demo", SMALL)
    assert "plan: reading the questions ..." in capsys.readouterr().err


# -- disk -----------------------------------------------------------------------------------------------


def stage(expected: int | None, most: int | None, scratch: int | None = 0, state: str = "new") -> StagePlan:
    cost = StageCost(None, None, expected, most, scratch)
    return StagePlan(1, "s", "sample", state, StageWork(), cost)


def test_disk_need_sums_stages_and_takes_the_largest_scratch() -> None:
    ahead = [stage(100, 1000, 30), stage(10, 20, 50), stage(7, 7, 0, state="done")]
    assert disk_need(ahead) == (160, 1070)
    assert disk_need([*ahead, stage(None, 5)]) == (None, 1075)


@pytest.mark.parametrize(
    ("free", "certain", "levels"),
    [
        (2000, True, []),
        (500, True, ["warning"]),  # only if every response is as long as it may be
        (150, True, ["problem"]),
        (150, False, ["warning"]),  # another machine, or an assumed length
    ],
)
def test_free_disk_against_need(tmp_path: Path, free: int, certain: bool, levels: list[str]) -> None:
    ahead = [stage(100, 1000, 30), stage(10, 20, 50)]
    found: list[Finding] = check_disk(ahead, free, tmp_path, certain)
    assert [finding.level for finding in found] == levels
