"""Where the sentences of a distilled student's own answers come from: kinds by position, for right and wrong answers.

The report's figures 5 and 6 (arXiv 2512.20908): every sentence of an answer has a probability under the teacher, under
the student before distillation and under the distilled one. Teacher and student score the answers through the
pipeline, which takes them as given responses.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from benchmarks.evidence.calibration import calibration
from benchmarks.evidence.places import Place
from benchmarks.evidence.recipes import LABEL, answers_recipe
from benchmarks.evidence.running import QuietConsole, forget, link_stages, run_recipe
from benchmarks.evidence.scale import Scale
from benchmarks.evidence.worlds import World
from dasd.pipeline.stages.candidates import compared, sentences_frame
from dasd.results.report.distilled import ALPHA, distilled_sentences
from dasd.store import Run

__all__ = ["BETA", "KINDS", "PARTS", "answer_kinds", "shares_of_kinds"]

BETA = 0.1
KINDS = ("teacher", "student", "shared", "boosted", "common")
PARTS = ("first", "middle", "last")
"""Thirds of a response, by the number of the sentence."""
_STAGE = "answers"


def answer_kinds(
    world: World, place: Place, scale: Scale, run: Run, stage: str, checkpoint: Path, cell: Path
) -> dict[str, float]:
    """Shares of kinds on the first answer at temperature 1 to every question, right ones and wrong ones; calibration.

    ``run``: of the cell, with the evaluation ``stage`` of ``checkpoint``; ``cell``: where to work. Names:
    ``answers.right.teacher`` (of all sentences of right answers), ``answers.wrong.boosted.last`` and so on.
    """
    console = QuietConsole()
    rows = (
        run.frame("eval", stage)
        .filter((pl.col("benchmark") == LABEL) & (pl.col("attempt") == 0))
        .select("question_id", "text", "correct")
        .collect()
    )
    given = cell / "answers.parquet"
    rows.select("question_id", "text").write_parquet(given)
    before, after = cell / "answers-before", cell / "answers-after"
    one = run_recipe(answers_recipe(place, scale, given), before, world, console, until=f"score-{_STAGE}")
    link_stages(before, after, lambda name: not name.startswith("score-"))
    recipe = answers_recipe(place, scale, given, str(checkpoint))
    two = run_recipe(recipe, after, world, console, until=f"score-{_STAGE}")
    scores = one.frame("scores", f"score-{_STAGE}").collect()
    samples = scores.select("sample_id").join(
        one.frame("samples", f"sample-{_STAGE}").collect(), on="sample_id", maintain_order="left"
    )
    sentences = sentences_frame(compared(samples, scores, BETA), BETA)
    distilled = two.frame("scores", f"score-{_STAGE}").collect()
    kinds = distilled_sentences(sentences, distilled, ALPHA, BETA).join(
        samples.select("sample_id", "question_id").join(
            rows.select("question_id", "correct"), on="question_id"
        ),
        on="sample_id",
        maintain_order="left",
    )
    own = scores.select("sample_id").join(distilled, on="sample_id", maintain_order="left")
    judged = samples.select("sample_id", "question_id").join(rows, on="question_id", maintain_order="left")
    known = own.select("sample_id", mean=pl.col("logprobs").list.mean().cast(pl.Float64)).join(
        judged.select("sample_id", "correct"), on="sample_id", maintain_order="left"
    )
    known = known.drop_nulls()
    found = calibration(known["mean"].to_list(), known["correct"].to_list())
    for name, right in (("right", True), ("wrong", False)):
        found |= shares_of_kinds(kinds.filter(pl.col("correct") == right), f"answers.{name}.")
    for path in (before, after):
        forget(path)
    return found


def shares_of_kinds(sentences: pl.DataFrame, prefix: str) -> dict[str, float]:
    """Share of each kind among SENTENCES rows, of all and by third of the response; nothing where there are none."""
    third = (pl.col("sentence") * len(PARTS) // pl.len().over("sample_id")).cast(pl.Int64)
    rows = sentences.with_columns(third=third)
    found: dict[str, float] = {}
    for part, chosen in (
        ("", rows),
        *((f".{p}", rows.filter(pl.col("third") == n)) for n, p in enumerate(PARTS)),
    ):
        if chosen.height:
            counts = dict(chosen.group_by("kind").len().iter_rows())
            found |= {f"{prefix}{kind}{part}": counts.get(kind, 0) / chosen.height for kind in KINDS}
    return found
