"""The registry: names, options, and checks of what components return."""

from __future__ import annotations

import inspect
import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import polars as pl
import pytest
from pydantic import BaseModel, ConfigDict, Field

from dasd.base.records import (
    BadRow,
    ContinueRequest,
    EvalSpec,
    Grade,
    LoadedQuestions,
    Message,
    ModelInfo,
    QuestionRows,
    RowsSetAside,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
    SetAside,
)
from dasd.base.schemas import EVAL, QUESTIONS, SAMPLES
from dasd.errors import ComponentError, InputError, PluginError, RecipeError, SchemaError
from dasd.models.files import resolve_model
from dasd.models.pool import ModelPool
from dasd.plugins import registering
from dasd.plugins.components import ROLES, Owner
from dasd.plugins.exports import Exported, ExportedFile
from dasd.plugins.registry import Registry
from dasd.plugins.roles import Checkpoint, TrainSpec
from dasd.recipe.curation_settings import FilterSettings, SelectSettings
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.training_settings import TrainerSettings

OWNER = Owner("canned", "dasd-canned", "2.0")
SPEC = SamplingSpec("low", 1.0, 1.0, 8)
MESSAGES = (Message("user", "hello"),)


def row(sample_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "sample_id": sample_id,
        "question_id": "q",
        "stage": "low",
        "candidate": 0,
        "text": "ab",
        "token_ids": [1, 2],
        "token_ends": [1, 2],
        "logprobs": [-0.5, -0.1],
        "logprobs_mode": "raw",
        "temperature": 1.0,
        "top_p": 1.0,
        "seed": 0,
        "finish_reason": "length",
        "prefix_end": 0,
        "model": "m",
        "model_revision": "r",
        "tokenizer_hash": "t",
        "engine": "canned",
        "engine_version": "2.0",
        **changes,
    }


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dict(SAMPLES.columns))


class Canned:
    """A teacher that returns the frames that it was given."""

    def __init__(self, frames: Sequence[Any] = ()) -> None:
        self.frames = frames
        self.closed = 0
        self.info = ModelInfo("m", "r", "t", "canned", "2.0", "raw", 99)

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        yield from self.frames

    def continue_(self, requests: Sequence[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        yield from self.frames

    def score(self, requests: Sequence[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        yield from self.frames

    def close(self) -> None:
        self.closed += 1


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = Field(3, ge=1, description="How many.")


def registry() -> Registry:
    return Registry(OWNER)


def settings(**changes: Any) -> ModelSettings:
    return ModelSettings.model_validate({"model": "m", "backend": "canned", **changes})


def sampled(*frames: Any, ids: Sequence[str] = ("a", "b")) -> list[pl.DataFrame]:
    made = registry()
    made.teacher("canned", lambda _: Canned(frames))
    requests = [SampleRequest(name, "q", MESSAGES, 0, 0) for name in ids]
    return list(made.make_teacher(settings()).sample(requests, SPEC))


def test_plugins_are_promised_every_role_and_keyword() -> None:
    promised = {
        name: vars(registering.Registry)[name] for name in vars(registering.Registry) if name[0] != "_"
    }
    assert set(promised) == {*ROLES, "make_verifier", "make_evaluator"}
    for name, method in promised.items():
        given = inspect.signature(getattr(Registry, name)).parameters
        wanted = inspect.signature(method).parameters
        assert list(given.values()) == list(wanted.values()), name


def test_unknown_names_get_the_known_ones_and_a_suggestion() -> None:
    made = registry()
    made.teacher("canned", lambda _: Canned())
    with pytest.raises(PluginError, match=r"no teacher 'caned'; did you mean 'canned'\? Known: canned"):
        made.make_teacher(settings(backend="caned"))


def test_two_registrations_of_a_name_name_both_owners() -> None:
    made, other = registry(), Registry(Owner("other", "dasd-other", "1.0"))
    made.verifier("v", lambda: None)  # type: ignore[arg-type, return-value]
    other.verifier("v", lambda: None)  # type: ignore[arg-type, return-value]
    other.verifier("w", lambda: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(PluginError, match=r"verifier 'v'.*dasd-canned 2\.0.*dasd-other 1\.0"):
        made.merge(other)
    assert made.names("verifier") == ["v"]  # all or nothing


@pytest.mark.parametrize(
    "name", ["", " x", 3, None, "a b", "../x", "a,b", "a:b", "a\x1b[2Jb", "a\nb", "a\ud800", "x" * 10**6]
)
def test_a_name_must_be_one(name: Any) -> None:
    with pytest.raises(PluginError, match="wanted a name") as caught:
        registry().trainer(name, lambda _: None)  # type: ignore[arg-type, return-value]
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("options", [dict, {"a": 1}, Field(3)])
def test_options_must_be_a_model(options: Any) -> None:
    with pytest.raises(PluginError, match="wanted a class of pydantic's BaseModel"):
        registry().trainer("x", lambda _: None, options=options)  # type: ignore[arg-type, return-value]
    with pytest.raises(PluginError, match="doc=5; wanted a text"):
        registry().trainer("x", lambda _: None, doc=5)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("packages", ["torch", ["torch>=2"], ["torch.nn"]])
def test_packages_are_names_in_a_list(packages: Any) -> None:
    with pytest.raises(PluginError, match="wanted names of top-level packages, in a list"):
        registry().trainer("mine", lambda _: None, packages=packages)  # type: ignore[arg-type, return-value]


def test_a_factory_must_be_callable() -> None:
    with pytest.raises(PluginError, match="wanted a factory"):
        registry().trainer("x", "not callable")  # type: ignore[arg-type]


def test_good_frames_pass_in_the_schemas_order() -> None:
    mixed = frame(row("b")).select(sorted(SAMPLES.columns))
    found = sampled(mixed, frame(row("a")))
    assert [f["sample_id"][0] for f in found] == ["b", "a"]
    assert all(f.columns == list(SAMPLES.columns) for f in found)


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([frame(row("a"), row("b")).drop("engine")], r"missing columns \['engine'\]"),
        ([frame(row("a")).with_columns(extra=1)], r"unknown columns \['extra'\]"),
        ([frame(row("a")).cast({"candidate": pl.Int64})], r"samples\.candidate as Int64; wanted UInt32"),
        ([frame(row("a", text=None))], r"samples\.text with a null in row 0"),
        ([frame(row("a"), row("a"))], r"row twice: sample_id a"),
        ([frame(row("z"))], r"nobody asked for: sample_id z"),
        ([frame(row("a"))], r"no samples row for 1 of 2 requests, e\.g\. sample_id b"),
        ([frame(row("a", token_ends=[2]))], r"2 token_ids, 1 token_ends and 2 logprobs"),
        ([frame(row("a", logprobs=[-1.0]))], r"2 token_ids, 2 token_ends and 1 logprobs"),
        (["text"], r"returned a str; wanted a polars DataFrame"),
        ([frame(row("a", logprobs=[-1.0, float("nan")]))], r"row a with a log-probability that is NaN"),
        ([frame(row("a", logprobs=[-1.0, 0.5]))], r"row a with a log-probability above 0"),
        ([frame(row("a", logprobs=[-1.0, None]))], r"row a with a null among token_ids"),
        ([frame(row("a", token_ends=[2, 1]))], r"row a whose token_ends go back"),
        ([frame(row("a", token_ends=[1, 2**32 - 1]))], r"row a with token_ends beyond its text"),
        ([frame(row("a", question_id="r"))], r"row a with question_id 'r'; its request's is 'q'"),
        ([frame(row("a", candidate=1))], r"row a with candidate 1; its request's is 0"),
        ([frame(row("a", stage="high"))], r"row a with stage 'high'; its request's is 'low'"),
        ([frame(row("a", finish_reason="eos"))], r"row a with finish_reason 'eos'; wanted stop or length"),
        (
            [frame(row("a", logprobs_mode="x"))],
            r"row a with logprobs_mode 'x'; wanted raw or processed or none",
        ),
    ],
)
def test_wrong_frames_are_refused_by_the_teachers_name(frames: list[Any], words: str) -> None:
    with pytest.raises(SchemaError, match=r"teacher 'canned' \(plugin dasd-canned\).*" + words):
        sampled(*frames)


def test_no_logprobs_at_all_are_allowed() -> None:
    assert sampled(frame(row("a", logprobs=None), row("b", logprobs=None)))[0]["logprobs"].null_count() == 2


def test_a_continuation_must_start_with_its_prefix() -> None:
    made = registry()
    made.teacher("canned", lambda _: Canned([frame(row("a"))]))
    teacher = made.make_teacher(settings())
    good = [ContinueRequest("a", "q", MESSAGES, 0, 0, prefix="a")]
    assert next(teacher.continue_(good, SPEC)).height == 1
    bad = [ContinueRequest("a", "q", MESSAGES, 0, 0, prefix="x")]
    with pytest.raises(SchemaError, match="doesn't start with its prefix"):
        list(teacher.continue_(bad, SPEC))


def test_options_are_checked_with_their_path_and_filled_in() -> None:
    made = registry()
    seen: list[ModelSettings] = []
    made.teacher("canned", lambda s: seen.append(s) or Canned(), options=Options)  # type: ignore[func-returns-value]
    made.make_teacher(settings())
    assert seen[0].options == {"size": 3}
    with pytest.raises(
        RecipeError, match=r"teacher\.options\.sise: unknown key; did you mean 'size'"
    ) as error:
        made.checked_options("teacher", "canned", {"sise": 1, "size": 0}, "teacher.options")
    assert "teacher.options.size: wanted at least 1, got 0" in str(error.value)


def test_a_factory_that_lacks_a_package_says_what_to_install() -> None:
    made = registry()

    def factory(_: ModelSettings) -> Any:
        raise ImportError("No module named 'engine'")

    made.teacher("canned", factory)
    with pytest.raises(PluginError, match=r"No module named 'engine'.*pip install --upgrade dasd-canned"):
        made.make_teacher(settings())


def test_a_component_without_its_roles_methods_is_refused() -> None:
    made = registry()
    made.teacher("canned", lambda _: object())  # type: ignore[arg-type, return-value]
    with pytest.raises(PluginError, match=r"without sample, continue_, score, close"):
        made.make_teacher(settings())


def test_a_trainer_must_leave_a_checkpoint(tmp_path: Path) -> None:
    class Lazy:
        def train(self, shards: Sequence[Path], spec: TrainSpec, resume: bool) -> Any:
            return None

    made = registry()
    made.trainer("lazy", lambda _: Lazy())
    trainer = made.make_trainer(TrainerSettings(trainer="lazy"))
    spec = TrainSpec("low", tmp_path, tmp_path, tmp_path, TrainerSettings(), 0, False, lambda _: None)
    with pytest.raises(SchemaError, match=r"trainer 'lazy'.*wanted a Checkpoint"):
        trainer.train([], spec, resume=False)


def _pickled(output: Path) -> None:
    (output / "model.safetensors").rename(output / "pytorch_model.bin")


def _linked(output: Path) -> None:
    (output / "model.safetensors").rename(output.parent / "elsewhere.safetensors")
    (output / "model.safetensors").symlink_to(output.parent / "elsewhere.safetensors")


def _of_another_kind(output: Path) -> None:
    config = json.loads((output / "config.json").read_text())
    (output / "config.json").write_text(json.dumps({**config, "model_type": "other"}))


def _of_other_sizes(output: Path) -> None:
    config = json.loads((output / "config.json").read_text())
    (output / "config.json").write_text(json.dumps({**config, "hidden_size": 4096}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_pickled, r"no weights \(\*\.safetensors\)"),
        (_linked, "a link, pipe or device"),
        (lambda output: os.mkfifo(output / "pipe"), "a link, pipe or device"),
        (_of_another_kind, "model_type 'other'.*wanted 'llama'"),
        (_of_other_sizes, "can't be used: .*hidden_size is 4096"),
    ],
    ids=["pickle", "link", "pipe", "kind", "sizes"],
)
def test_a_checkpoint_that_cant_be_used_is_refused_before_it_counts(
    tmp_path: Path, damage: Any, words: str
) -> None:
    start = Path(resolve_model("dasd:mini-student"))

    class Copies:
        def train(self, shards: Sequence[Path], spec: TrainSpec, resume: bool) -> Checkpoint:
            shutil.copytree(spec.model, spec.output)
            damage(spec.output)
            return Checkpoint(spec.output, 1, 1, 1.0, 1.0, 1.0)

    made = registry()
    made.trainer("copies", lambda _: Copies())
    trainer = made.make_trainer(TrainerSettings(trainer="copies"))
    spec = TrainSpec("low", start, tmp_path / "out", tmp_path, TrainerSettings(), 0, False, lambda _: None)
    with pytest.raises(SchemaError, match=rf"trainer 'copies' \(plugin dasd-canned\) left .*{words}"):
        trainer.train([], spec, resume=False)


def test_a_frame_that_a_component_changes_in_place_is_noticed() -> None:
    class Swaps:
        needs_student = False

        def rank(self, candidates: pl.DataFrame, student: Any) -> pl.Series:
            candidates.replace_column(0, candidates.get_column("sample_id").reverse())
            return pl.Series([1.0, 2.0])

        def judge(self, responses: pl.DataFrame) -> pl.DataFrame:
            responses.replace_column(responses.get_column_index("text"), pl.Series("text", ["changed"] * 2))
            return pl.DataFrame({"kept": [True] * 2, "reason": [""] * 2, "detail": [""] * 2})

    made = registry()
    made.selector("swaps", lambda _, __: Swaps())
    made.filter("swaps", lambda _, __: Swaps())
    candidates = pl.DataFrame({"sample_id": ["a", "b"]})
    with pytest.raises(SchemaError, match=r"selector 'swaps'.*changed the frame that it was given"):
        made.make_selector(SelectSettings(selector="swaps"), 0).rank(candidates, None)
    with pytest.raises(SchemaError, match=r"filter 'swaps'.*changed the frame that it was given"):
        made.make_filter("swaps", FilterSettings(), 10).judge(frame(row("a"), row("b")))


def test_an_evaluators_rows_are_checked() -> None:
    class Wrong:
        def evaluate(self, model: Any, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
            yield EVAL.empty().drop("correct")

    made = registry()
    made.evaluator("wrong", lambda _: Wrong())
    spec = EvalSpec("b", 1, 1.0, 1.0, 8, 0, 1, lambda _: None)
    with pytest.raises(SchemaError, match=r"evaluator 'wrong' \(plugin dasd-canned\).*correct"):
        list(made.make_evaluator("wrong").evaluate(Canned(), QUESTIONS.empty(), spec))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"finish_reason": "banana"},
            "attempt 0 at question x with finish_reason 'banana'; wanted stop or length",
        ),
        ({"seconds": math.nan}, "with seconds nan; wanted a finite number of at least 0"),
        ({"seconds": -5.0}, r"with seconds -5\.0; wanted a finite"),
    ],
)
def test_an_evaluators_values_are_checked(values: dict[str, Any], words: str) -> None:
    good = {"benchmark": "b", "question_id": "x", "attempt": 0, "text": "t", "correct": True}
    rows = pl.DataFrame(
        [{**good, "finish_reason": "stop", "tokens": 1, "seconds": 0.5, **values}], schema=dict(EVAL.columns)
    )
    made = registry()
    made.evaluator("odd", lambda _: SimpleNamespace(evaluate=lambda *_: iter([rows])))
    spec = EvalSpec("b", 1, 1.0, 1.0, 8, 0, 1, lambda _: None)
    asked = question([{"role": "user", "content": "hi"}])
    with pytest.raises(SchemaError, match=words):
        list(made.make_evaluator("odd").evaluate(Canned(), asked, spec))


@pytest.mark.parametrize(
    "ranks", [pl.Series([1.0]), pl.Series([1, 2]), [1.0, 2.0]], ids=["too few", "integers", "a list"]
)
def test_a_selectors_ranks_are_checked(ranks: Any) -> None:
    class Wrong:
        needs_student = False

        def rank(self, candidates: pl.DataFrame, student: Any) -> Any:
            return ranks

    made = registry()
    made.selector("wrong", lambda _, __: Wrong())
    selector = made.make_selector(SelectSettings(selector="wrong"), 0)
    with pytest.raises(SchemaError, match="wanted a series of 2 Float64"):
        selector.rank(pl.DataFrame({"sample_id": ["a", "b"]}), None)


def test_a_filter_judges_every_response() -> None:
    class Wrong:
        def judge(self, responses: pl.DataFrame) -> pl.DataFrame:
            return pl.DataFrame({"kept": [True], "reason": [""], "detail": [""]})

    made = registry()
    made.filter("wrong", lambda _, __: Wrong())
    judge = made.make_filter("wrong", FilterSettings(), 10).judge
    assert judge(frame(row("a"))).height == 1
    with pytest.raises(SchemaError, match="judged 1 of 2"):
        judge(frame(row("a"), row("b")))


def test_a_sources_options_and_split_are_checked() -> None:
    class Wrong:
        def load(self, source: QuestionSource, split: str, seed: int) -> pl.DataFrame:
            assert source.options == {"size": 3}
            values = {name: "x" for name in QUESTIONS.columns if name != "messages"}
            return pl.DataFrame(
                [{**values, "messages": [{"role": "user", "content": "hi"}], "split": "eval"}],
                schema=dict(QUESTIONS.columns),
            )

    made = registry()
    made.questions("wrong", Wrong, options=Options)
    questions = made.make_questions("wrong")
    assert questions.load(QuestionSource(source="wrong"), "eval", 0).rows.height == 1
    with pytest.raises(SchemaError, match="split 'eval'; wanted 'train'"):
        questions.load(QuestionSource(source="wrong"), "train", 0)
    with pytest.raises(RecipeError, match="did you mean 'size'"):
        questions.load(QuestionSource(source="wrong", options={"siez": 1}), "eval", 0)


ROWS = QUESTIONS.empty()


def question(messages: list[Any]) -> pl.DataFrame:
    values = dict.fromkeys(QUESTIONS.columns, "x")
    return pl.DataFrame([{**values, "split": "eval", "messages": messages}], schema=dict(QUESTIONS.columns))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (QuestionRows(ROWS, loaded="a file"), "'a file' as `loaded`: Input should be"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, loaded=LoadedQuestions("s", None, "", ())), r"None as `loaded\.files`"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, loaded=LoadedQuestions("s", ("f",), "", ())), r"'f' as `loaded\.files\.0`"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, places=["a"]), r"\['a'\] as `places`: Input should be a valid dictionary"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, places={"q": 5}), r"5 as `places\.q`: Input should be a valid string"),  # type: ignore[dict-item]
        (QuestionRows(ROWS, places={"q": "\ud800"}), "what can't be written .*wanted text"),
        (QuestionRows(ROWS, [BadRow(1, "x")]), "as `set_aside`: Input should be a valid tuple"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, (BadRow(1, "x"),)), r"as `set_aside\.0`: Input should be .*SetAside"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, (SetAside("f", None),)), r"None as `set_aside\.0\.rows`"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, (SetAside("f", [BadRow(1, "x")]),)), r"as `set_aside\.0\.rows`: .*tuple"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, (SetAside("f", (7,)),)), r"7 as `set_aside\.0\.rows\.0`: .*BadRow"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, (SetAside("f", (BadRow("x", "x"),)),)), r"'x' as `set_aside\.0\.rows\.0\.row`"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, (SetAside(7, ()),)), r"7 as `set_aside\.0\.path`"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, (SetAside("f", (BadRow(1, "\ud800"),)),)), "what can't be written"),
        (question([]), "question 'x' with no messages"),
        (question([None]), "one that lacks role or content"),
        (question([{"role": None, "content": "hi"}]), "one that lacks role or content"),
        (question([{"role": "user", "content": None}]), "one that lacks role or content"),
        (QuestionRows([1]), "returned a list"),  # type: ignore[arg-type]
        (None, "returned a NoneType"),
    ],
)
def test_what_a_source_says_of_its_rows_is_of_its_types(given: Any, words: str) -> None:
    made = registry()
    made.questions("odd", lambda: SimpleNamespace(load=lambda *_: given))
    with pytest.raises(SchemaError, match=words):
        made.make_questions("odd").load(QuestionSource(source="odd"), "eval", 0)


def test_a_source_that_returns_a_frame_alone_still_works() -> None:
    """As sources did before there was QuestionRows: a warning for bad rows, attributes for the rest."""
    read = LoadedQuestions("old", (), "", ())

    class Old:
        loaded = read
        places = MappingProxyType({"1": "row 1"})

        def load(self, source: QuestionSource, split: str, seed: int) -> pl.DataFrame:
            warnings.warn(RowsSetAside("old.csv", [BadRow(2, "empty")]), stacklevel=2)
            warnings.warn("something else", UserWarning, stacklevel=2)
            return ROWS

    made = registry()
    made.questions("old", Old)
    made.questions("plain", lambda: SimpleNamespace(load=lambda *_: ROWS))
    with pytest.warns(UserWarning, match="something else") as caught:
        found = made.make_questions("old").load(QuestionSource(source="old"), "eval", 0)
    assert len(caught) == 1
    assert found.set_aside == (SetAside("old.csv", (BadRow(2, "empty"),)),)
    assert (found.places, found.loaded) == ({"1": "row 1"}, read)
    plain = made.make_questions("plain").load(QuestionSource(source="plain"), "eval", 0)
    assert (plain.set_aside, plain.places, plain.loaded) == ((), {}, None)


def test_a_verifier_returns_a_grade() -> None:
    class Wrong:
        def grade(self, response: str, answer: str, argument: str) -> Any:
            return True

    made = registry()
    made.verifier("wrong", Wrong)
    with pytest.raises(SchemaError, match="returned a bool; wanted a Grade"):
        made.make_verifier("wrong").grade("1", "1", "")


@pytest.mark.parametrize(
    ("grade", "words"),
    [
        (Grade("no", None), r"correct='no' \(str\); wanted bool"),  # type: ignore[arg-type]
        (Grade(1.0, None), r"correct=1\.0 \(float\); wanted bool"),  # type: ignore[arg-type]
        (Grade(True, 7), r"extracted=7 \(int\); wanted str or NoneType"),  # type: ignore[arg-type]
        (Grade(False, None, b"x"), r"failure=b'x' \(bytes\); wanted str"),  # type: ignore[arg-type]
    ],
)
def test_a_grades_values_are_of_its_types(grade: Grade, words: str) -> None:
    class Wrong:
        def grade(self, response: str, answer: str, argument: str) -> Grade:
            return grade

    made = registry()
    made.verifier("wrong", Wrong)
    with pytest.raises(
        SchemaError, match=r"verifier 'wrong' \(plugin dasd-canned\) returned a Grade with " + words
    ):
        made.make_verifier("wrong").grade_many([("1", "1", "")])


@pytest.mark.parametrize("name", ["../outside.jsonl", "/etc/hostname", "link.jsonl"])
def test_an_exporter_names_files_of_its_own(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside.jsonl").write_text("{}")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "link.jsonl").symlink_to(tmp_path / "outside.jsonl")

    class Wrong:
        def export(self, run: Any, directory: Path) -> Exported:
            return Exported((ExportedFile(name, "low", 1),), ())

    made = registry()
    made.exporter("wrong", lambda _: Wrong())
    run = SimpleNamespace(stages=[SimpleNamespace(name="low")])
    with pytest.raises(SchemaError, match=r"exporter 'wrong'.*wanted a file of its own below"):
        made.make_exporter("wrong", {}).export(run, tmp_path / "export")  # type: ignore[arg-type]


def test_a_teachers_info_is_a_model_info() -> None:
    class Wrong(Canned):
        def __init__(self) -> None:
            self.info: Any = {"model": "m"}

    made = registry()
    made.teacher("canned", lambda _: Wrong())
    with pytest.raises(SchemaError, match=r"has a dict as `info`; wanted a ModelInfo"):
        made.make_teacher(settings()).info  # noqa: B018


class Broken:
    """Every method of every role raises, the streaming ones after their first frame."""

    needs_student = False

    def __init__(self, *_: object) -> None:
        self.info = ModelInfo("m", "r", "t", "broken", "1", "raw", 99)

    def sample(self, requests: Any, spec: Any) -> Iterator[pl.DataFrame]:
        yield frame(row("a"))
        raise KeyError("lost")

    def evaluate(self, *_: object) -> Iterator[pl.DataFrame]:
        yield EVAL.empty()
        raise KeyError("lost")

    def _fail(self, *_: object, **__: object) -> Any:
        raise KeyError("lost")

    continue_ = score = close = train = rank = judge = load = grade = export = _fail


USES: dict[str, Any] = {
    "teacher": lambda made: list(
        made.make_teacher(settings(backend="broken")).sample([SampleRequest("a", "q", MESSAGES, 0, 0)], SPEC)
    ),
    "trainer": lambda made: made.make_trainer(TrainerSettings(trainer="broken")).train([], None, False),
    "evaluator": lambda made: list(
        made.make_evaluator("broken").evaluate(
            Canned(), QUESTIONS.empty(), EvalSpec("b", 1, 1.0, 1.0, 8, 0, 1, lambda _: None)
        )
    ),
    "selector": lambda made: made.make_selector(SelectSettings(selector="broken"), 0).rank(frame(), None),
    "filter": lambda made: made.make_filter("broken", FilterSettings(), 9).judge(frame()),
    "questions": lambda made: made.make_questions("broken").load(QuestionSource(source="broken"), "eval", 0),
    "verifier": lambda made: made.make_verifier("broken").grade_many([("", "", "")]),
    "exporter": lambda made: made.make_exporter("broken", {}).export(None, None),
}


@pytest.mark.parametrize("role", list(USES))
def test_an_exception_of_a_plugin_names_it(role: str) -> None:
    made = registry()
    getattr(made, role)("broken", Broken)
    with pytest.raises(ComponentError) as caught:
        USES[role](made)
    assert caught.value.exit_code == 1 and isinstance(caught.value.__cause__, KeyError)
    message = str(caught.value)
    assert f"{role} 'broken' (plugin dasd-canned) failed: KeyError: 'lost' ({__file__}, line " in message
    assert "update plugin dasd-canned 2.0" in message
    # dasd's own are for its developers: as they are.
    own = Registry()
    getattr(own, role)("broken", Broken)
    with pytest.raises(KeyError):
        USES[role](own)


def test_a_factory_that_raises_names_its_plugin() -> None:
    made = registry()
    made.verifier("broken", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(
        ComponentError, match=r"verifier 'broken' \(plugin dasd-canned\) failed: ZeroDivisionError"
    ):
        made.make_verifier("broken")


def test_whoever_takes_a_frame_is_not_blamed_on_its_maker() -> None:
    made = registry()
    made.teacher("broken", Broken)
    rows = made.make_teacher(settings(backend="broken")).sample(
        [SampleRequest("a", "q", MESSAGES, 0, 0)], SPEC
    )
    with pytest.raises(ZeroDivisionError):
        for _ in rows:
            1 / 0  # noqa: B018


def test_the_pool_keeps_one_engine_open() -> None:
    opened: list[Canned] = []

    def factory(_: ModelSettings) -> Canned:
        opened.append(Canned())
        return opened[-1]

    made = registry()
    made.teacher("canned", factory)
    pool = ModelPool(made)
    first = pool.open(settings())
    assert pool.open(settings()) is first
    pool.open(settings(model="other"))
    assert [engine.closed for engine in opened] == [1, 0]
    pool.close()
    pool.close()
    assert [engine.closed for engine in opened] == [1, 1]


def test_errors_of_dasd_pass_through_a_factory() -> None:
    made = registry()

    def factory(_: ModelSettings) -> Any:
        raise InputError("no tokenizer")

    made.teacher("canned", factory)
    with pytest.raises(InputError, match="^no tokenizer$"):
        made.make_teacher(settings())
