"""Bounds of an off-policy stage: shares of domains in a total, what is asked for them, what is drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.stage_run import RECIPE, ListConsole, ScriptedModel, run_recipe

from dasd.curation.sources.mini import MiniatureQuestions
from dasd.errors import BackendError, InputError, RecipeError
from dasd.pipeline.plan import Amount, plan_recipe
from dasd.pipeline.stages import quotas
from dasd.pipeline.stages.selection_figures import selection_words
from dasd.plugins.recipe import Recipe
from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.stage_settings import OffPolicyStage
from dasd.store import Run

SHARES = {"sums": 2, "totals": 1}


def stage(**keys: Any) -> OffPolicyStage:
    return OffPolicyStage(name="low", temperature=1.0, **keys)


def questions_file(path: Path, domains: dict[str, int], first: int = 0) -> dict[str, Any]:
    """Miniature questions, so many of each domain, as a source of a recipe."""
    count = sum(domains.values())
    source = QuestionSource(source="miniature", count=first + count)
    cells = MiniatureQuestions().load(source, "train", 0).rows["messages"].to_list()[first:]
    names = [name for name, size in domains.items() for _ in range(size)]
    path.write_text(
        "".join(
            json.dumps({"id": f"{name}{n}", "question": cell[-1]["content"], "domain": name}) + "\n"
            for n, (cell, name) in enumerate(zip(cells, names, strict=True), first)
        )
    )
    return {"source": "file", "options": {"path": str(path)}}


def run(directory: Path, source: dict[str, Any], until: str = "select-low", **keys: Any) -> Run:
    console = keys.pop("console", None)
    stages = [{"name": "low", "temperature": 0.6, **keys}, *RECIPE["stages"][1:]]
    sections = {"questions": {"train": [source]}, "filters": {"answer": False}, "stages": stages}
    return run_recipe(directory, until, console, **sections)


def kept(run: Run, name: str = "low") -> list[tuple[str, str]]:
    """Domain and question of each response that is trained on."""
    verdicts = run.frame("verdicts", f"select-{name}").filter(pl.col("kept"))
    samples = run.frame("samples", f"sample-{name}").select("sample_id", "question_id")
    questions = run.frame("questions").select("question_id", "domain")
    rows = verdicts.join(samples, on="sample_id").join(questions, on="question_id").collect()
    return rows.select("domain", "question_id").rows()


def test_a_total_is_parted_into_whole_numbers_that_sum_to_it() -> None:
    report = stage(total=104_900, shares={"math": 45.4, "code": 20.1, "science": 19.8, "instruction": 19.6})
    assert quotas.limits(report) == {"math": 45400, "code": 20100, "science": 19800, "instruction": 19600}
    assert quotas.limits(stage(total=10, shares={"a": 1, "b": 1, "c": 1})) == {"a": 4, "b": 3, "c": 3}
    assert quotas.limits(stage(total=7)) == {quotas.ANY: 7}
    assert quotas.limits(stage()) is None
    assert quotas.question_limits(report, 1)["math"] == 56_750  # type: ignore[index]
    assert quotas.question_limits(stage(total=10, spare=0), 4) == {quotas.ANY: 3}


def test_a_larger_bound_draws_what_a_smaller_one_drew() -> None:
    names = pl.Series([f"q{n}" for n in range(200)])
    rows = pl.DataFrame({"domain": ["a", "b"] * 100, "draw": quotas.draws(names, "total", 5)})
    few = quotas.within(rows, quotas.cutoffs([rows], {"a": 10, "b": 3}))
    many = quotas.within(rows, quotas.cutoffs([rows], {"a": 40, "b": 3}))
    assert rows.filter(few)["domain"].value_counts(sort=True).rows() == [("a", 10), ("b", 3)]
    assert (many | ~few).all() and many.sum() == 43
    assert quotas.within(rows, quotas.cutoffs([rows], {"c": 4})).sum() == 0
    assert quotas.within(rows, quotas.cutoffs([rows], {quotas.ANY: 4})).sum() == 4


def test_a_stage_asks_and_trains_on_its_shares_alone(tmp_path: Path) -> None:
    source = questions_file(tmp_path / "q.jsonl", {"sums": 12, "totals": 10, "other": 6})
    keys = {"total": 9, "shares": SHARES, "spare": 0.5, "candidates": 2, "max_tokens": 300}
    made = run(tmp_path / "run", source, **keys)
    asked = made.frame("samples", "sample-low").select("question_id", "candidate").collect()
    # 6 and 3 responses, half as many questions again, and two candidates of each.
    domains = asked["question_id"].str.extract("^([a-z]+)")
    assert dict(domains.value_counts().rows()) == {"sums": 18, "totals": 10}
    assert sorted(domain for domain, _ in kept(made)) == ["sums"] * 6 + ["totals"] * 3
    summary = made.summary("select-low")
    assert (summary["selected"], summary["over_total"]) == (9, 5)
    assert "(5 more are over the stage's total)" in selection_words(dict(summary))[0]
    reasons = made.frame("verdicts", "select-low").collect()["reason"].value_counts().rows()
    assert dict(reasons) == {"selected": 9, "over_total": 5, "not_selected": 14}
    # The other stage asks every question, in the recipe's own number of candidates.
    again = run(tmp_path / "run", source, until="select-high", **keys)
    assert again.summary("sample-high")["responses"] == 28 * 3
    assert (
        again.frame("verdicts", "select-low").collect().equals(made.frame("verdicts", "select-low").collect())
    )
    train = run(tmp_path / "run", source, until="train-low", **keys)
    assert train.summary("train-low")["rows"] == 9


def test_the_selection_is_the_same_whatever_else_is_in_the_recipe_or_happened(tmp_path: Path) -> None:
    source = questions_file(tmp_path / "q.jsonl", {"sums": 12, "totals": 10})
    keys = {"total": 9, "shares": SHARES}
    alone = run_recipe(
        tmp_path / "alone",
        "select-low",
        questions={"train": [source], "eval": []},
        filters={"answer": False},
        stages=[{"name": "low", "temperature": 0.6, **keys}],
    )
    with pytest.MonkeyPatch.context() as patch, pytest.raises(BackendError):
        patch.setattr(ScriptedModel, "calls", 0)
        patch.setattr(ScriptedModel, "fail_after", 25)
        run(tmp_path / "stopped", source, **keys)
    resumed = run(tmp_path / "stopped", source, **keys)
    assert sorted(kept(resumed)) == sorted(kept(alone))
    assert len(kept(resumed)) == 9


def test_a_domain_that_falls_short_is_told(tmp_path: Path) -> None:
    console = ListConsole()
    source = questions_file(tmp_path / "q.jsonl", {"sums": 12, "totals": 2})
    made = run(tmp_path / "run", source, total=9, shares=SHARES, console=console)
    assert made.summary("select-low")["selected"] == 8
    told = [
        text for text in console.warned if "domain 'totals' has 2 responses to train on, of 3 wanted" in text
    ]
    assert told and "per_question" in told[0]
    several = run(tmp_path / "run", source, total=9, shares=SHARES, per_question=2)
    assert sorted(domain for domain, _ in kept(several)) == ["sums"] * 6 + ["totals"] * 3


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("shares={math: 1}", "stages.0.shares: are parts of `total`"),
        ("shares={math: 0}", "stages.0.shares.math: wanted more than 0"),
        ("total=0", "stages.0.total: wanted at least 1"),
        ("samples=low.jsonl;candidates=3", "stages.0.candidates: has no meaning beside `samples`"),
    ],
)
def test_bounds_that_mean_nothing_are_refused(keys: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Recipe.load("demo", [f"stages.low.{key}" for key in keys.split(";")])


def test_the_plan_counts_shares_and_refuses_a_domain_that_no_question_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = questions_file(tmp_path / "q.jsonl", {"sums": 12, "totals": 10})
    overrides = [f"questions.train=[{json.dumps(source)}]", "stages.low.total=9", "filters.answer=false"]
    made = plan_recipe(
        "demo", [*overrides, "stages.low.shares={sums: 2, totals: 1}", "stages.low.candidates=2"]
    )
    low, high = (next(s for s in made.stages if s.name == f"sample-{name}") for name in ("low", "high"))
    assert low.work.rows == Amount.exactly((8 + 4) * 2) and high.work.rows == Amount.exactly(22 * 4)
    train = next(s for s in made.stages if s.name == "train-low")
    assert train.work.rows == Amount(9, 9) and not made.problems
    wrong = plan_recipe("demo", [*overrides, "stages.low.shares={sums: 2, total: 1}"])
    assert {finding.key for finding in wrong.problems} == {"stages.0.shares.total"}
    assert "did you mean 'totals'" in wrong.problems[0].text


def test_a_domain_that_no_question_has_ends_the_run_before_anything_is_sampled(tmp_path: Path) -> None:
    source = questions_file(tmp_path / "q.jsonl", {"sums": 12})
    with pytest.raises(InputError, match=r"stages\.0\.shares\.totals: no question"):
        run(tmp_path / "run", source, until="questions", total=9, shares=SHARES)


def test_a_stage_asks_its_own_sources_and_a_shared_question_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = questions_file(tmp_path / "common.jsonl", {"sums": 6})
    shared = (tmp_path / "common.jsonl").read_text().splitlines()[:2]
    own = questions_file(tmp_path / "own.jsonl", {"totals": 5}, first=6)
    with (tmp_path / "own.jsonl").open("a") as file:
        file.write("\n".join(shared) + "\n")
    low, high, _ = RECIPE["stages"]
    stages = [
        low,
        {**high, "sources": [own], "candidates": 2, "total": 4, "shares": {"totals": 3, "sums": 1}},
    ]
    sections = {"questions": {"train": [common]}, "filters": {"answer": False}}
    made = run_recipe(tmp_path / "run", "select-high", stages=stages, **sections)
    asked = made.frame("asked").collect()
    assert dict(asked["stage"].value_counts().rows()) == {"low": 6, "high": 7}
    assert made.frame("questions").filter(pl.col("split") == "train").collect().height == 11
    assert made.frame("set_aside").collect().height == 0
    sampled = {
        name: set(made.frame("samples", f"sample-{name}").collect()["question_id"])
        for name in ("low", "high")
    }
    assert sampled["low"] == {f"sums{n}" for n in range(6)}
    # 3 and 1 responses, a quarter more questions.
    assert len(sampled["high"]) == 6 and len(sampled["high"] & {"sums0", "sums1"}) == 2
    assert sorted(domain for domain, _ in kept(made, "high")) == ["sums", "totals", "totals", "totals"]
    # What one stage asks is nothing to the responses of the other.
    alone = run_recipe(tmp_path / "alone", "sample-low", stages=[low], **sections)
    ids = "sample_id", "text"
    assert (
        alone.frame("samples", "sample-low")
        .select(ids)
        .collect()
        .equals(made.frame("samples", "sample-low").select(ids).collect())
    )
    # The plan counts the same, with the file and without it.
    monkeypatch.chdir(tmp_path)
    overrides = [f"questions.train=[{json.dumps(common)}]", "filters.answer=false", "stages.high.total=4"]
    overrides += ["stages.high.candidates=2", "stages.high.shares={totals: 3, sums: 1}"]
    for source in (own, {**own, "options": {"path": "later.jsonl"}, "count": 7}):
        plan = plan_recipe("demo", [*overrides, f"stages.high.sources=[{json.dumps(source)}]"])
        rows = {each.name: each.work.rows.expected for each in plan.stages}
        assert (rows["sample-low"], rows["sample-high"], rows["train-high"]) == (6 * 4, 6 * 2, 4)
        assert not plan.problems
        keys = {finding.key for finding in plan.findings if finding.level == "warning"}
        assert keys == (set() if source is own else {"stages.1.sources.0.options.path"})


def test_own_sources_are_checked_as_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.jsonl").write_text("")
    monkeypatch.chdir(tmp_path)
    source = "stages.high.sources=[{source: file, options: {path: own.jsonl}}]"
    loaded = Recipe.load("demo", [source]).settings.stages[1]
    assert isinstance(loaded, OffPolicyStage)
    assert loaded.sources[0].options["path"] == str(tmp_path / "own.jsonl")
    with pytest.raises(
        RecipeError, match=r"stages\.1\.sources\.0\.attempts: belongs to a source of questions"
    ):
        Recipe.load("demo", [source.replace("options", "attempts: 2, options")])
    wrong = plan_recipe("demo", [source.replace("path:", "pat: 1, path:")])
    assert "stages.1.sources.0.options.pat" in {finding.key for finding in wrong.problems}
