"""Documentation out of the settings themselves: a reference of all keys, and a commented recipe to adapt."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dasd.recipe.curation_settings import DedupSettings, FilterSettings, SamplingSettings, SelectSettings
from dasd.recipe.draft import BUNDLED, find
from dasd.recipe.evaluation_settings import EvaluationSettings
from dasd.recipe.executor_settings import ExecutorSettings
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.question_settings import DataSettings, QuestionSource, QuestionsSettings
from dasd.recipe.settings import EngineTimes, PlanSettings, RecipeSettings
from dasd.recipe.stage_settings import MixedPolicyStage, OffPolicyStage, OnPolicyStage
from dasd.recipe.training_settings import LoraSettings, TrainerSettings
from dasd.recipe.verifier_settings import VerifierSettings
from dasd.recipe.yaml import parse

_SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The recipe itself", RecipeSettings),
    ("`teacher`, `student`", ModelSettings),
    ("`questions`", QuestionsSettings),
    ("`questions.train.N`, `questions.eval.N`, `stages.N.sources.N`", QuestionSource),
    ("`verifier` of a source or a question", VerifierSettings),
    ("`data`", DataSettings),
    ("`sampling`", SamplingSettings),
    ("`filters`", FilterSettings),
    ("`dedup`", DedupSettings),
    ("`select`", SelectSettings),
    ("`stages.N` of kind `off-policy`", OffPolicyStage),
    ("`stages.N` of kind `mixed-policy`", MixedPolicyStage),
    ("`stages.N` of kind `on-policy`", OnPolicyStage),
    ("`trainer`", TrainerSettings),
    ("`trainer.lora`", LoraSettings),
    ("`evaluation`", EvaluationSettings),
    ("`executor`", ExecutorSettings),
    ("`plan`", PlanSettings),
    ("`plan.teacher_engine`, `plan.student_engine`", EngineTimes),
)

_HEAD = """\
# Recipe reference

Generated from the settings by `dasd recipes keys`; change them in `python/dasd/recipe/` instead of this page.

A recipe is a YAML file (1.2: `1e-5` is a number, `no` is a word). Unknown keys are refused. `-o key=value`
changes a key from the command line; items of a list go by their index or their `name`:

    dasd pipeline demo -o trainer.epochs=2 -o stages.high.temperature=0.9 -o questions.train.0.count=500

Relative paths (`model` directories, `python`, options called `path` or ending in `_path`) are looked for beside
the recipe file first and in the working directory second; with `-o` it is the other way round, and a bundled
recipe's are looked for in the working directory. The recipe that a run keeps holds absolute paths.

A recipe with `questions.eval` and neither `questions.train` nor `stages` evaluates the student as it is; it needs no
`teacher` (`docs/evaluation.md`). One with `data` trains on the responses that another run selected
(`docs/walkthrough.md`) and has no `questions.train`.

Keys and passwords don't belong into a recipe, which is copied into every run; plugins take them from the
environment. Requested plugins (`plugins`, or `--plugins`) become the default of `teacher.backend`,
`student.backend`, `trainer.trainer`, `evaluation.evaluator` and `select.selector` for the roles that they
bring, and their filters that of `filters.extra`; a key that the recipe sets stays as it is.
"""


def keys_markdown() -> str:
    """``docs/recipe.md``: every key with its type, default, bounds and meaning."""
    parts = [_HEAD]
    for title, section in _SECTIONS:
        doc = " ".join((section.__doc__ or "").split())
        parts += [f"\n## {title}\n\n{doc}\n", "\n| Key | Type | Default | Meaning |\n|---|---|---|---|\n"]
        for name, field in section.model_fields.items():
            meaning = (field.description or "").replace("|", "\\|")
            parts.append(f"| `{name}` | {_type(field)} | {_default(field)} | {meaning} |\n")
    return "".join(parts)


def template(name: str, settings: RecipeSettings, run_name: str | None = None) -> str:
    """Recipe ``name`` with every other key added as a comment: its default and its meaning.

    ``run_name`` becomes the name of its run directory.
    """
    path = find(name)
    source = path.read_text(encoding="utf-8")
    data, _ = parse(source, name)
    if run_name:
        data["name"] = run_name
    head = [line for line in source.splitlines() if line.startswith("#")] if path.parent == BUNDLED else []
    lines = [
        f"# A recipe to adapt, from {name}. Keys that are commented out show their defaults.",
        *(["#", *head] if head else []),
        "",
    ]
    for key, field in RecipeSettings.model_fields.items():
        section = getattr(settings, key)
        value = data.get(key)
        lines += [f"# {line}" for line in textwrap.wrap(field.description or "", 105)]
        if isinstance(section, BaseModel) and not isinstance(value, str):  # `data: RUN` is a section in short
            lines.append(f"{key}:")
            lines += _section(section, value if isinstance(value, Mapping) else {}, 1)
        elif isinstance(section, tuple) and section and isinstance(section[0], BaseModel):
            lines.append(f"{key}:")
            lines += _items(section, value, 1)
        elif section is None and (absent := _optional(field)) is not None:
            lines += _absent(key, absent)
        else:
            lines += _key(key, value, field, key in data, 0)
        lines.append("")
    return "\n".join(lines)


def _optional(field: FieldInfo) -> type[BaseModel] | None:
    """The section that may stand there, of a field that is a section or null."""
    for part in get_args(field.annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _absent(key: str, section: type[BaseModel]) -> list[str]:
    """A section that isn't there, commented out as a whole."""
    lines = [f"# {key}:"]
    for name, field in section.model_fields.items():
        lines += [f"#   # {line}" for line in textwrap.wrap(field.description or "", 101)]
        value = None if field.is_required() else field.get_default(call_default_factory=True)
        lines.append("#   " + yaml.safe_dump({name: value}, default_flow_style=False).rstrip())
    return lines


def _section(section: BaseModel, data: Mapping[str, Any], depth: int) -> list[str]:
    """Keys of one section: those that ``data`` sets as they are, the others commented out."""
    lines: list[str] = []
    pad = "  " * depth
    for name, field in type(section).model_fields.items():
        lines += [f"{pad}# {line}" for line in textwrap.wrap(field.description or "", 105 - 2 * depth)]
        value = getattr(section, name)
        if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            lines.append(f"{pad}{name}:")
            lines += _items(value, data.get(name), depth + 1)
        elif value is None and (absent := _optional(field)) is not None:
            lines += [f"{pad}{line}" for line in _absent(name, absent)]
        else:
            lines += _key(name, data.get(name), field, name in data, depth)
    return lines


def _items(sections: tuple[BaseModel, ...], data: Any, depth: int) -> list[str]:
    lines: list[str] = []
    for section, item in zip(sections, data, strict=True):
        inner = _section(section, item, depth + 1)
        first = next(i for i, line in enumerate(inner) if not line.lstrip().startswith("#"))
        comments, rest = inner[:first], inner[first:]
        # The dash opens the first key that is set; comments before it stay above.
        lines += [line[2:] for line in comments]
        lines += ["  " * depth + "- " + rest[0].lstrip(), *rest[1:]]
    return lines


def _key(name: str, value: Any, field: FieldInfo, is_set: bool, depth: int) -> list[str]:
    shown = value if is_set else field.get_default(call_default_factory=True)
    if isinstance(shown, tuple):
        shown = list(shown)
    if isinstance(shown, BaseModel):
        shown = shown.model_dump(mode="json")
    if isinstance(shown, list):
        text = f"{name}: " + yaml.safe_dump(shown, default_flow_style=True, width=1000).rstrip()
    else:
        text = yaml.safe_dump({name: shown}, sort_keys=False, default_flow_style=False, width=1000).rstrip()
    pad = "  " * depth
    return [f"{pad}{line}" if is_set else f"{pad}# {line}" for line in text.splitlines()]


def _type(field: FieldInfo) -> str:
    words = _annotation(field.annotation)
    bounds = []
    for item in field.metadata:
        for kind, sign in (
            (annotated_types.Ge, "≥"),
            (annotated_types.Gt, ">"),
            (annotated_types.Le, "≤"),
            (annotated_types.Lt, "<"),
        ):
            if isinstance(item, kind):
                limit = getattr(item, kind.__name__.lower())
                bounds.append(f"{sign} {'2^63' if limit == 2**63 else limit}")
    return words + (f", {', '.join(bounds)}" if bounds else "")


def _annotation(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin is Annotated:
        return _annotation(arguments[0])
    if origin in (Union, UnionType):
        if all(isinstance(part, type) and issubclass(part, BaseModel) for part in arguments):
            return "section"
        return " or ".join("null" if part is NoneType else _annotation(part) for part in arguments)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"list of {_annotation(arguments[0])}s"
        return f"list of {len(arguments)} {_annotation(arguments[0])}s"
    if origin is dict:
        return "keys and values"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return {str: "text", int: "integer", float: "number", bool: "true or false"}[annotation]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        value = list(value)
    return f"`{value}`" if value != "" else '`""`'
