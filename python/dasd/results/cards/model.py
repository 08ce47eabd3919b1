"""The model card of a checkpoint: front matter that the hub reads, and text for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dasd.base.printable import printable
from dasd.base.records import ADAPTER
from dasd.results.cards.eval_results import eval_results, eval_results_file, score_tables
from dasd.results.cards.facts import Facts, find_checkpoint, gather_facts, shown_model
from dasd.results.cards.licences import Licences, find_licences
from dasd.results.cards.markdown import bullets, fenced
from dasd.results.cards.names import hub_name
from dasd.results.cards.options import CardOptions
from dasd.results.cards.require import require_hub
from dasd.results.cards.text import (
    data_section,
    licence_lines,
    method_section,
    models_section,
    recipe_section,
)

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
    body = "\n".join(_body(facts, stage, licences, title))
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


def _body(facts: Facts, stage: str, licences: Licences, title: str) -> list[str]:
    settings = facts.settings
    student, teacher = shown_model(settings.student.model), shown_model(settings.teacher.model)
    scores = score_tables(facts, stage)
    return [
        f"# {title}",
        "",
        (
            f"`{student}` after fine-tuning on responses of `{teacher}`: training stage `{stage}` of the dasd run "
            f"`{facts.name}`."
        ),
        "",
        "## Scores",
        "",
        *(scores or ["Neither this checkpoint nor any other of its run was evaluated.", ""]),
        *_use(facts, stage, title),
        *method_section(facts),
        *data_section(facts),
        *models_section(facts, licences),
        *_limits(facts, stage),
        *licence_lines(facts, licences, "this model"),
        *recipe_section(facts),
    ]


def _use(facts: Facts, stage: str, title: str) -> list[str]:
    settings = facts.settings
    prompt = settings.questions.system_prompt
    system = [] if prompt is None else [f'    {{"role": "system", "content": {json.dumps(prompt)}}},']
    return [
        "## Use",
        "",
        *fenced(
            "\n".join(
                [
                    "from transformers import AutoModelForCausalLM, AutoTokenizer",
                    "",
                    f'name = "{title}"  # its name on the hub, or its directory',
                    "tokenizer = AutoTokenizer.from_pretrained(name)",
                    "model = AutoModelForCausalLM.from_pretrained(name)",
                    "messages = [",
                    *system,
                    '    {"role": "user", "content": "..."},',
                    "]",
                    "inputs = tokenizer.apply_chat_template(",
                    '    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True',
                    ")",
                    (
                        f"output = model.generate(**inputs, do_sample=True, "
                        f"temperature={settings.evaluation.temperature}, top_p={settings.evaluation.top_p}, "
                        f"max_new_tokens={settings.evaluation.max_tokens})"
                    ),
                    'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :]))',
                ]
            ),
            "python",
        ),
        "It was trained and evaluated with this system prompt and these sampling settings."
        if prompt is not None
        else "It was trained and evaluated without a system prompt, with these sampling settings.",
        "",
        *_adapter(facts, stage),
    ]


def _adapter(facts: Facts, stage: str) -> list[str]:
    """Where the adapter is that was merged into the weights, and which weights it belongs to."""
    stages = facts.settings.stages
    number = [item.name for item in stages].index(stage)
    trained = any(
        item.stage == stage for item in facts.data.trainings
    )  # else its weights are the ones before
    if not trained or facts.settings.trainer_for(stages[number]).adapter is None:
        return []
    start = (
        f"the weights after training `{stages[number - 1].name}`"
        if number
        else f"`{shown_model(facts.settings.student.model)}`"
    )
    return [
        (
            f"The weights are those that training started from, {start}, with the adapter in `{ADAPTER}/` merged into "
            f'them. `PeftModel.from_pretrained(start, name, subfolder="{ADAPTER}")` takes it alone.'
        ),
        "",
    ]


def _limits(facts: Facts, stage: str) -> list[str]:
    settings = facts.settings
    trainer = settings.trainer_for(next(item for item in settings.stages if item.name == stage))
    known = [
        "It has learned from text that another model wrote, errors and habits of that model included."
        + ("" if facts.answers_filtered else " Wrong answers were not filtered out of it."),
        f"It was trained on texts of at most {trainer.max_length} tokens; beyond that nothing is known.",
        "One run with one seed: the standard errors are over questions and do not cover another training.",
        "Nothing was done, or measured, about safety, bias or languages beyond those of the questions.",
    ]
    if not facts.scores.filter(facts.scores["checkpoint"] == stage).height:
        known.append("This checkpoint itself was not evaluated.")
    if any(item.metric("kl_nats_per_response") for item in facts.data.checkpoints):
        known.append(
            "Where teacher and student tokenize differently, each counts with its own tokenization of the same "
            "text in the KL, so differences between checkpoints are cleaner than its level."
        )
    return ["## Known limits", "", *bullets([*known, *facts.data.warnings])]
