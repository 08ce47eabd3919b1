"""The plan of the technical report's run beside what the report says of it: a section of docs/plan.md.

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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dasd.pipeline.plan import RunPlan, plan_recipe
from dasd.pipeline.stages.quotas import limits, question_limits
from dasd.plugins.recipe import Recipe
from dasd.recipe.stage_settings import OffPolicyStage

PAGE = Path(__file__).parents[1] / "docs" / "plan.md"
BEGIN = "<!-- the report's run: written by `python -m benchmarks.report_plan` -->\n"
END = "<!-- end of the report's run -->\n"
RECIPE = "dasd-4b"


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
    "The report (arXiv 2601.09088) counts the responses of two trainings; their mean lengths are rounded to hundreds "
    "in the recipe, and prompts aren't counted. How many responses it sampled it doesn't say: 4 candidates a question, "
    "and a quarter more questions than responses, are open. Of the mixed-policy stage it says that of 50K answers 15K "
    "drifted and 12.7K were trained on: only a run tells that of yours, so the plan gives bounds."
)
_FIGURE_8 = (
    "Figure 8 of the report gives the responses of each domain; the recipe's `shares` are these numbers. Its tokens "
    "sum to 1.45 G at the low temperature and, as its two largest numbers have two digits, to 5.77 G at the high "
    "one: 13.8K and 17.5K a response. By whose tokenizer it counts isn't said."
)


def short(count: float) -> str:
    """With three digits and k, M or G."""
    for unit in ("", "k", "M", "G"):
        if count < 1000 or unit == "G":
            return f"{count:.3g} {unit}".rstrip()
        count /= 1000
    raise AssertionError


def trainings_table(plan: RunPlan) -> Iterator[str]:
    """The trainings of which the report gives responses and tokens."""
    yield "| training | plan: responses | tokens, 6 epochs | the report: responses | tokens, 6 epochs | difference |"
    yield "|---|---:|---:|---:|---:|---:|"
    stages = {stage.name: stage.work.trains for stage in plan.stages}
    for number, name in enumerate(TRAININGS):
        trains = stages[f"train-{name}"]
        assert trains is not None and trains.rows.expected is not None and trains.tokens.expected is not None
        rows = sum(domain.responses[number] for domain in FIGURE_8.values()) * 1e3
        tokens = sum(domain.tokens[number] for domain in FIGURE_8.values()) * 6e6
        ours = f"{trains.rows.expected:,} | {short(trains.tokens.expected)}"
        yield f"| {name} | {ours} | {rows:,.0f} | {short(tokens)} | {trains.tokens.expected / tokens - 1:+.1%} |"


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
        plan = plan_recipe(RECIPE)
    lines = [
        f"`dasd plan {RECIPE}` on a machine without its models, questions and benchmarks. {_HEAD}",
        "",
        *trainings_table(plan),
        "",
        _FIGURE_8,
        "",
        *domains_table(Recipe.load(RECIPE)),
        "",
        "Taken for granted:",
        "",
        *(f"- {text}" for text in plan.assumptions),
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
