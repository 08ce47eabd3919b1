"""The model card of a checkpoint: front matter that the hub reads, and text for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dasd.base.printable import printable
from dasd.base.records import ADAPTER
from dasd.results.cards.card_words import card_text
from dasd.results.cards.eval_results import eval_results, eval_results_file, score_tables, teacher_accuracies
from dasd.results.cards.facts import Facts, find_checkpoint, gather_facts, shown_model
from dasd.results.cards.licences import Licences, find_licences
from dasd.results.cards.names import hub_name
from dasd.results.cards.options import CardOptions
from dasd.results.cards.require import require_hub

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

    from dasd.store import Run

__all__ = ["CARD", "EVAL_RESULTS", "ModelCardText", "model_card"]

CARD = "README.md"
EVAL_RESULTS = ".eval_results/dasd.yaml"
"""Where the hub looks for scores on registered benchmarks, in the repository."""


@dataclass(frozen=True, slots=True)
class ModelCardText:
    """What is written of one checkpoint."""

    checkpoint: str
    readme: str
    eval_results: str | None
    """Content of ``EVAL_RESULTS``; None where no benchmark is registered on the hub."""

    def files(self) -> dict[str, str]:
        """Content by path in the repository."""
        found = {CARD: self.readme}
        return found if self.eval_results is None else {**found, EVAL_RESULTS: self.eval_results}


def model_card(
    run: Run, checkpoint: str | None = None, options: CardOptions | None = None, name: str | None = None
) -> ModelCardText:
    """The card of a checkpoint (None: of the last training), under the model's ``name`` (None: the run's).

    Raises InputError for a checkpoint or benchmark that isn't there, PluginError without huggingface_hub.
    """
    require_hub()
    from huggingface_hub import ModelCard

    options = options or CardOptions()
    stage = find_checkpoint(run, checkpoint).name.removeprefix("train-")
    facts = gather_facts(run, stage)
    licences = find_licences(facts.settings, options)
    title = (name or f"{facts.name}-{stage}").rpartition("/")[2]
    data = _front_matter(facts, stage, licences, options, title)
    trainer = facts.settings.trainer_for(next(item for item in facts.settings.stages if item.name == stage))
    body = card_text(
        facts,
        licences,
        title,
        stage=stage,
        scores=score_tables(facts, stage),
        teachers=teacher_accuracies(facts),
        start=_start(facts, stage),
        adapter=ADAPTER,
        longest=trainer.max_length,
        evaluated=stage in facts.scores["checkpoint"],
        has_kl=any(item.metric("kl_nats_per_response") for item in facts.data.checkpoints),
    )
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")
    return ModelCardText(stage, printable(str(card)), eval_results_file(facts, stage, options.benchmarks))


def _front_matter(
    facts: Facts, stage: str, licences: Licences, options: CardOptions, title: str
) -> ModelCardData:
    from huggingface_hub import ModelCardData

    base = options.base_model or hub_name(facts.settings.student.model)
    found = eval_results(facts, stage, options)
    return ModelCardData(
        license=licences.own.name,
        base_model=base,
        base_model_relation="finetune" if base else None,
        language=list(options.language) or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["dasd", "distillation", "sft"],
        datasets=list(options.trained_on) or None,
        metrics=["accuracy"] if found else None,
        model_name=title if found else None,
        eval_results=found or None,
    )


def _start(facts: Facts, stage: str) -> str:
    """The weights that the adapter of this training belongs to; "" where it has none."""
    stages = facts.settings.stages
    number = [item.name for item in stages].index(stage)
    # Without a training of its own its weights are the ones before.
    trained = any(item.stage == stage for item in facts.data.trainings)
    if not trained or facts.settings.trainer_for(stages[number]).adapter is None:
        return ""
    return (
        f"the weights after training `{stages[number - 1].name}`"
        if number
        else f"`{shown_model(facts.settings.student.model)}`"
    )
