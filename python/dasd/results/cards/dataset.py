"""The dataset card of an exported directory: front matter that the hub reads, and text for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dasd.base.printable import printable
from dasd.results.cards.export_files import DataConfig, read_export
from dasd.results.cards.facts import Facts, gather_facts, shown_model
from dasd.results.cards.licences import Licences, find_licences
from dasd.results.cards.markdown import bullets, fenced, table
from dasd.results.cards.options import CardOptions
from dasd.results.cards.require import require_hub
from dasd.results.cards.text import (
    data_section,
    licence_lines,
    method_section,
    models_section,
    recipe_section,
)
from dasd.results.report.numbers import MISSING, count

if TYPE_CHECKING:
    from dasd.store import Run

__all__ = ["dataset_card", "size_category"]


def dataset_card(
    run: Run, directory: Path, options: CardOptions | None = None, name: str | None = None
) -> str:
    """The card of what was exported from ``run`` into ``directory``, under the data set's ``name``.

    Raises InputError for a directory without data files, PluginError without huggingface_hub.
    """
    require_hub()
    from huggingface_hub import DatasetCard, DatasetCardData

    options = options or CardOptions()
    configs = read_export(directory)
    facts = gather_facts(run)
    place = {stage: number for number, stage in enumerate(facts.stages)}
    configs = tuple(sorted(configs, key=lambda config: place.get(config.stage, len(place))))
    licences = find_licences(facts.settings, options)
    title = (name or f"{facts.name}-responses").rpartition("/")[2]
    data = DatasetCardData(
        license=licences.own.name,
        language=list(options.language) or None,
        pretty_name=title,
        size_categories=[size_category(sum(config.rows for config in configs))],
        task_categories=["text-generation"],
        tags=["dasd", "distillation", "synthetic", *dict.fromkeys(item.domain for item in facts.questions)],
        configs=[_front_matter(config) for config in configs],
    )
    body = "\n".join(_body(facts, configs, licences, title))
    return printable(str(DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{body}")))


def size_category(rows: int) -> str:
    """The hub's word for a number of rows, e.g. ``1K<n<10K``."""
    bounds = [10**power for power in range(3, 13)]
    words = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    if rows < bounds[0]:
        return "n<1K"
    for low, high, limit in zip(words, words[1:], bounds[1:], strict=False):
        if rows < limit:
            return f"{low}<n<{high}"
    return "n>1T"


def _front_matter(config: DataConfig) -> dict[str, Any]:
    return {"config_name": config.name, "data_files": [{"split": "train", "path": list(config.files)}]}


def _body(facts: Facts, configs: tuple[DataConfig, ...], licences: Licences, title: str) -> list[str]:
    settings = facts.settings
    temperatures = {stage.name: f"{stage.temperature:g}" for stage in settings.stages}
    rows = [
        (
            config.name,
            config.stage or MISSING,
            temperatures.get(config.stage, MISSING),
            count(config.rows),
            ", ".join(f"`{column}`" for column in config.columns),
        )
        for config in configs
    ]
    return [
        f"# {title}",
        "",
        (
            f"Responses of `{shown_model(settings.teacher.model)}`, chosen for `{facts.chosen_for}` "
            f"by the dasd run `{facts.name if facts.origin is None else facts.origin.selected_in}`."
        ),
        "",
        "## Contents",
        "",
        *table(("configuration", "training", "temperature", "rows", "columns"), rows),
        *fenced(
            f'from datasets import load_dataset\n\nrows = load_dataset("{title}", "{configs[0].name}", split="train")',
            "python",
        ),
        *method_section(facts),
        *data_section(facts),
        *models_section(facts, licences),
        "## Known limits",
        "",
        *bullets(_limits(facts)),
        *licence_lines(facts, licences, "this data set"),
        *recipe_section(facts),
    ]


def _limits(facts: Facts) -> list[str]:
    known = [
        "The responses are a model's: they may be wrong, and no person has read them one by one."
        + (
            " Those that their question's verifier finds wrong were dropped."
            if facts.answers_filtered
            else " Wrong answers were not filtered out."
        ),
        "They were chosen for one student; for another model another choice may serve better.",
        "Filters are rules: what they let through is not free of repetition, private or offensive text.",
    ]
    return [*known, *facts.data.warnings]
