"""Whether models, templates and lengths fit together, asked before anything is spent."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from dasd.base.frames import messages_of
from dasd.base.records import Message
from dasd.errors import DasdError, InputError
from dasd.models.files import check_model
from dasd.models.tokens.chat import ChatTokenizer
from dasd.pipeline.plan.lengths import PromptLengths
from dasd.pipeline.plan.models import ModelFacts, find_model, read_facts
from dasd.pipeline.plan.questions import BenchmarkFacts
from dasd.pipeline.plan.records import Finding, ModelRole
from dasd.pipeline.work.opened_teacher import logprobs_reader
from dasd.plugins.components import Role
from dasd.plugins.registry import Registry
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.stage_settings import MixedPolicyStage, OffPolicyStage, OnPolicyStage, TrainingStage

__all__ = ["RoleFacts", "check_environment", "check_lengths", "check_logprobs", "check_tokenizers", "look_at"]

LOOKED_AT = 512
"""Questions of a split that are rendered to see how long prompts are."""


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """All that the files of one role's model say."""

    facts: ModelFacts | None
    chat: ChatTokenizer | None
    lengths: PromptLengths | None


def look_at(
    role: ModelRole, settings: RecipeSettings, questions: pl.DataFrame, *, weights: bool
) -> tuple[RoleFacts, list[Finding]]:
    """Read what is on this machine of a role's model, and say what is wrong with it.

    ``weights``: whether they are needed here; a server's teacher needs its tokenizer alone.
    """
    of: ModelSettings = getattr(settings, role)
    key = f"{role}.model"
    nothing = RoleFacts(None, None, None)
    try:
        check_model(of, weights=weights)
        path = find_model(of)
        facts = read_facts(path) if path is not None else None
    except InputError as error:
        return nothing, [Finding("problem", key, str(error))]
    if facts is None:
        return nothing, [_elsewhere(of, key)]
    try:
        chat = ChatTokenizer.load(of.model_copy(update={"model": str(facts.path)}))
        found = _template(role, settings, chat)
        lengths = (
            _prompt_lengths(chat, settings, questions) if all(f.level != "problem" for f in found) else None
        )
    except ImportError:
        text = f"the tokenizer of {of.model} is not looked at, and its prompts are not counted: transformers isn't here"
        return RoleFacts(facts, None, None), [Finding("note", key, text, "pip install 'dasd[torch]'")]
    except InputError as error:
        return RoleFacts(facts, None, None), [Finding("problem", key, str(error))]
    return RoleFacts(facts, chat, lengths), found


def _elsewhere(of: ModelSettings, key: str) -> Finding:
    text = (
        f"{of.model} is not on this machine; it is fetched when the run starts. Its tokenizer, chat template, "
        "context length and size are not checked"
    )
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    advice = (
        "HF_HUB_OFFLINE is set here: where the run starts it must be unset, or the model be there"
        if offline
        else ""
    )
    return Finding("note", key, text, advice)


def _template(role: ModelRole, settings: RecipeSettings, chat: ChatTokenizer) -> list[Finding]:
    """Whether the chat template shows the user's message, and takes and shows the recipe's system prompt.

    Asked of the tokens: what leaves no trace in them is left out. Raises InputError where a user's message is refused.
    """
    model = getattr(settings, role).model
    system = settings.questions.system_prompt
    user = Message("user", "1 + 1 = ?")
    plain = chat.prompt_ids((user,))
    if plain == chat.prompt_ids((Message("user", "1 + 1 = ? And 1 + 1 + 1 = ?"),)):
        text = f"{model}: its chat template leaves the user's message out"
        return [Finding("problem", f"{role}.model", text, "use the template that the model was trained with")]
    if system is None:
        return []
    try:
        rendered = chat.prompt_ids((Message("system", system), user))
    except InputError as error:
        return [Finding("problem", "questions.system_prompt", str(error))]
    if system.strip() and rendered == plain:
        text = f"{model}: its chat template leaves the system prompt out"
        # Else it is the default, nobody's wish.
        asked = "system_prompt" in settings.questions.model_fields_set
        advice = "set it to null, or change the template" if asked else ""
        return [Finding("warning" if asked else "note", "questions.system_prompt", text, advice)]
    return []


def _prompt_lengths(
    chat: ChatTokenizer, settings: RecipeSettings, questions: pl.DataFrame
) -> PromptLengths | None:
    """Lengths over the longest and the first questions: the mean of a sample, the maximum of suspects."""
    if not questions.height:
        return None
    system = settings.questions.system_prompt
    size = pl.col("messages").list.eval(pl.element().struct.field("content").str.len_bytes()).list.sum()
    first = questions.head(LOOKED_AT)
    longest = questions.sort(size, descending=True).head(16)

    def count(rows: pl.DataFrame) -> list[int]:
        conversations = []
        for cell in rows.get_column("messages"):
            turns = messages_of(cell)
            has_system = system is None or any(turn.role == "system" for turn in turns)
            conversations.append(turns if has_system else (Message("system", system or ""), *turns))
        return [len(ids) for ids in chat.prompts_ids(conversations)]

    counted = count(first)
    return PromptLengths(sum(counted) / len(counted), max(max(counted), *count(longest)))


def check_tokenizers(teacher: RoleFacts, student: RoleFacts) -> tuple[bool | None, list[Finding]]:
    """Whether both models write a text in the same tokens; None where a tokenizer isn't here."""
    if teacher.chat is None or student.chat is None:
        return None, []
    if teacher.chat.vocabulary_hash == student.chat.vocabulary_hash:
        return True, []
    text = (
        "teacher and student have different tokenizers: their log-probabilities are compared on spans of text"
    )
    return False, [Finding("note", "student.model", text)]


def check_lengths(
    settings: RecipeSettings, teacher: RoleFacts, student: RoleFacts, benchmarks: Sequence[BenchmarkFacts]
) -> list[Finding]:
    """Caps on tokens against context lengths, with the longest prompt that was seen."""
    findings = []
    for index, stage in enumerate(settings.stages if settings.asks_teacher else ()):
        own = not isinstance(stage, MixedPolicyStage) and stage.max_tokens is not None
        key = f"stages.{index}.max_tokens" if own else "sampling.max_tokens"
        findings += _room("teacher", key, _most_tokens(settings, stage), teacher)
    caps = {each.max_tokens_key: each.how.max_tokens for each in benchmarks}
    for key, cap in (caps or {"evaluation.max_tokens": settings.evaluation.max_tokens}).items():
        findings += _room("student", key, cap, student)
    context = student.facts.context_length if student.facts is not None else None
    for index, stage in enumerate(settings.stages):
        trainer = settings.trainer_for(stage)
        own = "max_length" in stage.trainer
        key = f"stages.{index}.trainer.max_length" if own else "trainer.max_length"
        if (
            context is not None
            and trainer.max_length > context
            and settings.filters.length
            and settings.data is None
        ):
            text = (
                f"is {trainer.max_length}, and the student's context has {context} tokens: a response between "
                "the two would stop the student's scoring"
            )
            findings.append(
                Finding("warning", key, text, f"set it to at most {context} (packs may get smaller)")
            )
        prompt = student.lengths.longest if student.lengths is not None else 0
        wanted = prompt + _most_tokens(settings, stage)
        if wanted > trainer.max_length and settings.data is None:
            text = (
                f"is {trainer.max_length}; prompt and response may take {wanted} tokens, and longer responses "
                "are dropped (filters.length)"
            )
            findings.append(Finding("note", key, text))
    return list(dict.fromkeys(findings))


def _most_tokens(settings: RecipeSettings, stage: TrainingStage) -> int:
    """Cap on the new tokens of a response that a stage trains on."""
    if isinstance(stage, OnPolicyStage):
        return stage.max_tokens or settings.sampling.max_tokens
    own = settings.sampling_for(stage) if isinstance(stage, OffPolicyStage) else settings.sampling
    return own.max_tokens


def _room(role: ModelRole, key: str, wanted: int, of: RoleFacts) -> list[Finding]:
    context = of.facts.context_length if of.facts is not None else None
    if context is None:
        return []
    prompt = of.lengths.longest if of.lengths is not None else 0
    if prompt >= context:
        text = f"the longest prompt has {prompt} tokens, and the context of the {role} {context}: nothing fits after it"
        return [Finding("problem", "questions", text, "shorten or leave out such questions")]
    if prompt + wanted > context:
        text = (
            f"is {wanted}, and after a prompt of {prompt} tokens the context of the {role} ({context}) has room "
            f"for {context - prompt}: responses are cut off there"
        )
        return [Finding("warning", key, text, f"set it to at most {context - prompt}")]
    return []


def check_environment(
    settings: RecipeSettings, registry: Registry, loaded: Collection[ModelRole]
) -> list[Finding]:
    """Packages, devices and environment variables that the recipe's components rest on.

    ``loaded``: the models that are loaded onto this run's own devices.
    """
    findings = _packages(settings, registry)
    devices = [(f"{role}.device", getattr(settings, role)) for role in sorted(loaded, reverse=True)]
    devices.append(("trainer.device", settings.trainer))
    for key, section in devices:
        if section.device.startswith("cuda") and not _has_gpu():
            text = f"is {section.device!r}, and there is no NVIDIA GPU on this machine"
            findings.append(Finding("warning", key, text, "run it where there is one, or set it to auto"))
    options = {
        "teacher": settings.teacher.options,
        "student": settings.student.options,
        "trainer": settings.trainer.options,
    }
    for name, given in options.items():
        for option, value in given.items():
            if option.endswith("_env") and isinstance(value, str) and value not in os.environ:
                text = f"names the environment variable {value}, which is not set"
                findings.append(Finding("warning", f"{name}.options.{option}", text, "set it before the run"))
    return findings


def _packages(settings: RecipeSettings, registry: Registry) -> list[Finding]:
    """Packages that components say they need and that aren't installed, by the command that installs them."""
    used: dict[tuple[Role, str], str] = {}
    if settings.asks_teacher and settings.teacher.python is None:  # else only its tokenizer is read
        used.setdefault(("teacher", settings.teacher.backend), "teacher.backend")
    if settings.student.python is None:
        used.setdefault(("teacher", settings.student.backend), "student.backend")
    for stage in settings.stages:
        used.setdefault(("trainer", settings.trainer_for(stage).trainer), "trainer.trainer")
    lacks: dict[tuple[tuple[str, ...], str], list[tuple[str, str]]] = {}
    for (role, name), key in used.items():
        if name not in registry.names(role):
            continue  # told with the recipe
        component = registry.component(role, name)
        lacking = tuple(package for package in component.packages if find_spec(package) is None)
        if lacking:
            lacks.setdefault((lacking, component.install), []).append((component.label, key))
    findings = []
    for (lacking, install), who in lacks.items():
        labels = " and ".join(label for label, _ in who)
        text = f"{' and '.join(lacking)} can't be imported here; needed by {labels}"
        findings.append(Finding("problem", who[0][1], text, install))
    return findings


def check_logprobs(settings: RecipeSettings, registry: Registry) -> list[Finding]:
    """A teacher told to give no raw log-probabilities, beside a selector that compares them.

    Whether a backend gives them at all is asked with the recipe (``dasd.pipeline.compatibility``); here it is the
    option ``logprobs`` that backends of servers have.
    """
    given = settings.teacher.options.get("logprobs")
    if given not in ("none", "processed"):
        return []
    try:
        reader = logprobs_reader(registry, settings)
    except DasdError:
        return []  # told with the recipe
    sampled = settings.data is None and any(
        isinstance(s, OffPolicyStage) and not s.samples for s in settings.stages
    )
    if not sampled or reader is None:
        return []
    text = f"is {given!r}. {reader[0]}"
    return [Finding("problem", "teacher.options.logprobs", text, f"set it to raw or auto, or {reader[1]}")]


def _has_gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()
