"""The dataset card of an exported directory: front matter that the hub reads, and text for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dasd.base.printable import printable
from dasd.results.cards.card_words import card_text
from dasd.results.cards.export_files import DataConfig, read_export
from dasd.results.cards.facts import Facts, gather_facts
from dasd.results.cards.licences import find_licences
from dasd.results.cards.options import CardOptions
from dasd.results.cards.require import require_hub
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
    body = card_text(facts, licences, title, stage=None, configs=_rows(facts, configs))
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


def _rows(facts: Facts, configs: tuple[DataConfig, ...]) -> list[tuple[str, ...]]:
    temperatures = {stage.name: f"{stage.temperature:g}" for stage in facts.settings.stages}
    return [
        (
            config.name,
            config.stage or MISSING,
            temperatures.get(config.stage, MISSING),
            count(config.rows),
            ", ".join(f"`{column}`" for column in config.columns),
        )
        for config in configs
    ]
