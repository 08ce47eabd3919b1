"""The plans of the technical report's two runs beside what the report says of them: a section of docs/plan.md.

    python -m benchmarks.report_plan            # writes the section
    python -m benchmarks.report_plan --print    # prints it

Nothing is fetched or read but the recipe: questions, models and benchmarks are counted as on a machine that has
none of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from dasd.pipeline.plan import Amount, RunPlan, plan_recipe
from dasd.pipeline.plan.amounts import total
from dasd.pipeline.plan.records import NONE
from dasd.pipeline.stages.quotas import limits, question_limits
from dasd.plugins.recipe import Recipe
from dasd.recipe.stage_settings import OffPolicyStage

PAGE = Path(__file__).parents[1] / "docs" / "plan.md"
BEGIN = "<!-- the report's run: written by `python -m benchmarks.report_plan` -->\n"
END = "<!-- end of the report's run -->\n"
RECIPE = "dasd-4b"
EXPERTS = "dasd-30b-a3b"


@dataclass(frozen=True, slots=True)
class Domain:
    """Figure 8 of arXiv 2601.09088: responses in thousands and tokens in millions, at low and high temperature."""

    responses: tuple[float, float]
    tokens: tuple[float, float]


FIGURE_8 = {
    "math": Domain((45.4, 103.3), (873.5, 2400)),
    "code": Domain((20.1, 91.3), (371.2, 2500)),
    "science": Domain((19.8, 65.2), (147.2, 681)),
    "instruction": Domain((19.6, 70.0), (53.7, 186.6)),
}
TRAININGS = ("low", "high")
_HEAD = (
    "Beside it what the technical report (arXiv 2601.09088) says. What the counts rest on stands below the tables; "
    "where no mean is known, they are bounds."
)
_FIGURE_8 = (
    "Figure 8 of the report gives the responses of each domain; the recipe's `shares` are these numbers. Its tokens "
    "sum to 1.45 G at the low temperature and, as its two largest numbers have two digits, to 5.77 G at the high "
    "one: 13.8K and 17.5K a response. By whose tokenizer it counts isn't said."
)


@dataclass(frozen=True, slots=True)
class Said:
    """What the report says of a stage, where it gives a number (tokens over all epochs), and why the plan differs."""

    text: str
    why: str
    rows: int | None = None
    tokens: float | None = None


def said() -> dict[str, Said]:
    """By the stages' names; sections and figures are the report's."""
    kept = "lengths are those of the responses that the report kept, which selection makes longer than the sampled"
    sampled = f"open: 4 candidates a question, and a quarter more questions than responses; {kept}"
    evaluated = Said(
        "64 answers a question (7.3)",
        "the report's answers aren't told of; LiveCodeBench's rows are those of the whole files, of which the "
        "windows of dates leave fewer",
    )
    found = {
        "sample-low": Said("how many are sampled isn't said (6.2)", sampled),
        "sample-high": Said("how many are sampled isn't said (6.2)", sampled),
        "sample-heldout": Said("none", "ours, for the distance to the teacher"),
        "score-low": Said("isn't said", "every sampled response, as the filters' losses aren't known"),
        "score-high": Said("isn't said", "every sampled response, as the filters' losses aren't known"),
        "mix-mixed": Said(
            "50K answers, of which 15K drift and are continued (6.4.2)",
            "how many drift and how long answers are isn't known before a run: bounds",
        ),
        "train-mixed": Said(
            "12.7K mixed-policy responses (6.4.2) and off-policy ones, whose number isn't said; one epoch (5)",
            "2.6 off-policy responses for each mixed one, as 20K and 7.7K in the ablation (5)",
        ),
        "report": Said("none", "ours"),
    }
    for number, name in enumerate(TRAININGS):
        responses = sum(domain.responses[number] for domain in FIGURE_8.values()) * 1e3
        tokens = sum(domain.tokens[number] for domain in FIGURE_8.values()) * 1e6
        found[f"train-{name}"] = Said(
            f"{responses / 1e3:,.1f}K responses, {short(tokens)} tokens (figure 8), 6 epochs (6.4.1)",
            "the mean length of a response is rounded to hundreds; prompts aren't counted",
            rows=round(responses),
            tokens=6 * tokens,
        )
    return found | {f"evaluate-{name}": evaluated for name in ("before", "low", "high", "mixed")}


def said_of_experts() -> dict[str, Said]:
    """The same of the mixture of experts, which the report trains on the small student's first data (7.7)."""
    low = said()["train-low"]
    evaluated = Said(
        "AIME25, LiveCodeBench v6 and GPQA-Diamond alone (table 8)",
        "ours are the small student's five benchmarks; before training it tells of none",
    )
    trained = Said(
        "the small student's 105K responses, once more (7.7); epochs aren't said",
        f"{low.why}; as many epochs as for the small student",
        low.rows,
        low.tokens,
    )
    return {
        "train-low": trained,
        "evaluate-before": evaluated,
        "evaluate-low": evaluated,
    }


def short(count: float) -> str:
    """With three digits and k, M or G."""
    for unit in ("", "k", "M", "G"):
        if count < 1000 or unit == "G":
            return f"{count:.3g} {unit}".rstrip()
        count /= 1000
    raise AssertionError


def shown(amount: Amount) -> str:
    """What is expected, else the bound."""
    return f"at most {short(amount.most or 0)}" if amount.expected is None else short(amount.expected)


def beside(ours: Amount, theirs: float | None) -> str:
    """The difference in per cent, where there is something to compare with."""
    return "" if theirs is None or ours.expected is None else f"{ours.expected / theirs - 1:+.1%}"


def stages_table(plan: RunPlan, theirs: Mapping[str, Said]) -> Iterator[str]:
    """A line for each stage that writes, scores or trains on tokens."""
    yield "| stage | plan: rows | tokens | the report says | rows, difference | tokens, difference | why they differ |"
    yield "|---|---:|---:|---|---:|---:|---|"
    for stage in plan.stages:
        work = stage.work
        parts = [part.tokens for part in work.generates or work.scores]
        parts += [work.trains.tokens] if work.trains is not None else []
        tokens = reduce(total, parts, NONE)
        if tokens.most == 0:
            continue
        of, rows = theirs[stage.name], work.rows
        compared = f"{beside(rows, of.rows)} | {beside(tokens, of.tokens)}"
        yield f"| {stage.name} | {shown(rows)} | {shown(tokens)} | {of.text} | {compared} | {of.why} |"


def domains_table(recipe: Recipe) -> Iterator[str]:
    """Figure 8 and what the recipe makes of it."""
    yield "| stage | domain | report: responses | tokens | a response | recipe: responses | questions asked |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    settings = recipe.settings
    stages = [stage for stage in settings.stages if isinstance(stage, OffPolicyStage)]
    there = {source.domain: source.count or 0 for source in settings.questions.train}
    for number, stage in enumerate(stages):
        bounds = limits(stage) or {}
        asked = question_limits(stage, settings.select_for(stage).per_question) or {}
        for name, domain in FIGURE_8.items():
            responses, tokens = domain.responses[number] * 1e3, domain.tokens[number] * 1e6
            yield (
                f"| {stage.name} | {name} | {responses / 1e3:,.1f}K | {short(tokens)} | {tokens / responses:,.0f} | "
                f"{bounds[name]:,} | {min(asked[name], there[name]):,} of {there[name]:,} |"
            )


def section() -> str:
    """The whole section, markers included."""
    with _bare_machine():
        plan, experts = plan_recipe(RECIPE), plan_recipe(EXPERTS)
    lines = [
        f"`dasd plan {RECIPE}` on a machine without its models, questions and benchmarks. {_HEAD}",
        "",
        *stages_table(plan, said()),
        "",
        _FIGURE_8,
        "",
        *domains_table(Recipe.load(RECIPE)),
        "",
        "Taken for granted:",
        "",
        *(f"- {text}" for text in plan.assumptions),
        "",
        (
            f"`dasd plan {EXPERTS}`, the mixture of experts on the responses that the run of `{RECIPE}` selected: "
            "nothing is sampled, scored or selected again."
        ),
        "",
        *stages_table(experts, said_of_experts()),
    ]
    return BEGIN + "\n" + "\n".join(lines) + "\n\n" + END


def with_section(page: str) -> str:
    """``page`` with its section as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + section() + after


@contextlib.contextmanager
def _bare_machine() -> Iterator[None]:
    """No hub, no cache of it, no file in the working directory."""
    kept, cwd = {name: os.environ.get(name) for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE")}, Path.cwd()
    with tempfile.TemporaryDirectory() as place:
        os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_CACHE=place)
        os.chdir(place)
        try:
            yield
        finally:
            os.chdir(cwd)
            for name, value in kept.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def main() -> None:
    """Write or print the section."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--print", action="store_true", help="print the section and change nothing")
    if parser.parse_args().print:
        print(section(), end="")
    else:
        PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
