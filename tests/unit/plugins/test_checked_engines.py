"""What teachers and trainers return is checked: frames, continuations, checkpoints."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.canned_teacher import (
    MESSAGES,
    SPEC,
    Canned,
    frame,
    registry,
    row,
    sampled,
    settings,
)

from dasd.base.records import (
    ContinueRequest,
)
from dasd.base.schemas import SAMPLES
from dasd.errors import SchemaError
from dasd.models.files import resolve_model
from dasd.plugins.roles import Checkpoint, TrainSpec
from dasd.recipe.curation_settings import FilterSettings, SelectSettings
from dasd.recipe.training_settings import TrainerSettings


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


def test_a_teachers_info_is_a_model_info() -> None:
    class Wrong(Canned):
        def __init__(self) -> None:
            self.info: Any = {"model": "m"}

    made = registry()
    made.teacher("canned", lambda _: Wrong())
    with pytest.raises(SchemaError, match=r"has a dict as `info`; wanted a ModelInfo"):
        made.make_teacher(settings()).info  # noqa: B018
