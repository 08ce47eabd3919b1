"""What can't be asked, refused in words before anything is spent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lm_eval_asking import questions

from dasd.api import InputError, PluginError, QuestionSource
from dasd.plugins.registry import Registry


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        ("text", "bare text"),
        ("voted", "asks 8 times"),
        ("beams", "num_beams: 4"),
        ("bare", "has no prompt"),
        ("no-such-task", "there is none of this name"),
    ],
)
def test_tasks_that_cannot_be_asked(registry: Registry, tasks: Path, task: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        questions(registry, tasks, task)


def test_wrong_options(registry: Registry, tasks: Path) -> None:
    with pytest.raises(InputError, match="no split 'validation'; wanted one of test, train"):
        questions(registry, tasks, "sums", split="validation")
    with pytest.raises(InputError, match="no metric 'acc'; wanted one of exact_match"):
        questions(registry, tasks, "sums", metric="acc")
    with pytest.raises(InputError, match="is no directory"):
        questions(registry, tasks / "nowhere", "sums")
    with pytest.raises(InputError, match="can be evaluated only"):
        registry.make_questions("lm-eval").load(
            QuestionSource(source="lm-eval", options={"task": "sums"}), "train", 0
        )


def test_a_data_set_out_of_reach_says_what_to_bring(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "far.yaml").write_text(
        "task: far\ndataset_path: nobody/nothing-of-this-name\ntest_split: test\noutput_type: generate_until\n"
        "doc_to_text: q\ndoc_to_target: a\n"
    )
    with pytest.raises(InputError, match="bring the file"):
        questions(registry, tmp_path, "far")


def test_a_keys_null_takes_it_away(registry: Registry, tasks: Path) -> None:
    assert questions(registry, tasks, "beams", generation_kwargs={"num_beams": None}).height


def test_without_lm_eval_the_command_to_install_it_is_told(
    monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.api.task", None)
    for make in (registry.make_questions, registry.make_evaluator, registry.make_verifier):
        with pytest.raises(PluginError, match="pip install 'lm-eval"):
            make("lm-eval")


def test_the_command_wants_a_run_with_tasks(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dasd", "lm-eval", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no questions of source 'lm-eval'" in done.stderr
    assert "Traceback" not in done.stderr
