"""Wrong use ends with exit code 2, one clear message, no traceback, and nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests.command import dasd

GOOD = {
    "name": "own",
    "teacher": {"model": "dasd:mini-teacher", "precision": "fp32"},
    "student": {"model": "dasd:mini-student", "precision": "fp32"},
    "questions": {
        "train": [{"source": "miniature", "count": 8}],
        "eval": [{"source": "miniature", "count": 8}],
    },
    "stages": [{"name": "low", "kind": "off-policy", "temperature": 0.6}],
    "sampling": {"max_tokens": 32, "candidates": 2},
    "trainer": {"max_length": 512},
}


def run_recipe(tmp_path: Path, *extra: str, **changes: object) -> tuple[int, str, Path]:
    """Write a recipe with ``changes`` at its top level and run it; exit code, stderr, run directory."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**GOOD, **changes}))
    directory = tmp_path / "run"
    done = dasd("pipeline", str(recipe), "--run", str(directory), *extra, cwd=tmp_path)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr, directory


def nothing_done(directory: Path) -> bool:
    """No stage has finished in the run directory."""
    return not list(directory.glob("stages/*/manifest.json"))


def test_a_typo_in_a_recipe_gets_a_suggestion(tmp_path: Path) -> None:
    code, stderr, directory = run_recipe(tmp_path, sampling={"candidats": 4})
    assert code == 2
    assert "candidats" in stderr and "candidates" in stderr and "recipe.yaml" in stderr
    assert nothing_done(directory)


def test_an_unknown_plugin_gets_the_install_command(tmp_path: Path) -> None:
    code, stderr, directory = run_recipe(tmp_path, "--plugins", "nonesuch")
    assert code == 2
    assert "nonesuch" in stderr and "pip install" in stderr
    assert nothing_done(directory)


def test_torn_lines_are_set_aside_and_counted(tmp_path: Path) -> None:
    rows = [json.dumps({"question": f"{i}+{i}=?", "answer": str(2 * i)}) for i in range(6)]
    (tmp_path / "questions.jsonl").write_text("\n".join(rows) + '\n{"question": "7+')
    source = {"source": "file", "options": {"path": "questions.jsonl"}}
    code, stderr, directory = run_recipe(tmp_path, "--until", "questions", questions={"train": [source]})
    assert code == 0, stderr
    assert "questions.jsonl" in stderr and "7" in stderr
    assert not nothing_done(directory)


@pytest.mark.parametrize("content", ["", "\n\n", '{"question": "7+'])
def test_an_empty_or_wholly_torn_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "questions.jsonl").write_text(content)
    source = {"source": "file", "options": {"path": "questions.jsonl"}}
    code, stderr, directory = run_recipe(tmp_path, questions={"train": [source]})
    assert code == 2
    assert "questions.jsonl" in stderr
    assert nothing_done(directory)


def test_a_model_directory_without_tokenizer_is_refused(tmp_path: Path) -> None:
    import shutil

    from dasd.models.files import resolve_model

    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(Path(resolve_model("dasd:mini-student")) / name, broken / name)
    code, stderr, directory = run_recipe(tmp_path, student={"model": str(broken)})
    assert code == 2
    assert "tokenizer" in stderr and "broken" in stderr
    assert nothing_done(directory)


def test_a_missing_model_directory_is_refused(tmp_path: Path) -> None:
    code, stderr, directory = run_recipe(tmp_path, teacher={"model": "./no/such/model"})
    assert code == 2
    assert "no/such/model" in stderr
    assert nothing_done(directory)
