"""A student with the teacher's own weights, behind another chat template: through the real command."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import yaml
from tests.command import dasd
from tests.think_pairs import KINDS, thinking_model

from dasd.store import Run


def test_equal_weights_are_at_kl_0_where_only_the_teachers_template_opens_the_tag(tmp_path: Path) -> None:
    model = {"model": str(thinking_model(tmp_path / "thinker")), "precision": "fp32", "device": "cpu"}
    recipe = {
        "name": "pair",
        "teacher": {**model, "chat_template_options": KINDS["opens"]},
        "student": {**model, "chat_template_options": KINDS["no tag"]},
        "questions": {
            "train": [{"source": "miniature", "count": 4}],
            "eval": [{"source": "miniature", "count": 6}],
        },
        "sampling": {"candidates": 2, "max_tokens": 160},
        "stages": [{"name": "low", "kind": "off-policy", "temperature": 1.0}],
        "trainer": {"max_length": 512, "precision": "fp32", "device": "cpu"},
        "evaluation": {"attempts": 1, "max_tokens": 160, "heldout": 6},
    }
    (tmp_path / "pair.yaml").write_text(yaml.safe_dump(recipe))
    place = tmp_path / "run"
    done = dasd("pipeline", "pair.yaml", "--run", place, "--until", "evaluate-before", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = Run.open(place)
    assert not run.frame("samples", "sample-low").collect()["text"].str.contains("<think>").any()
    metrics = run.frame("metrics").collect().filter(metric="kl_nats_per_response", group="all")
    assert abs(metrics["value"].item()) < 1e-3, "nats a response"
    assert run.summary("filter-low")["dropped"] == {}
    assert (run.summary("select-low")["teacher_share"], run.summary("select-low")["student_share"]) == (0, 0)
    assert run.frame("sentences").select(pl.col("p_student").is_finite().all()).collect().item()
