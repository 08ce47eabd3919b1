"""What enters a stage's fingerprint: all that changes its result, and nothing that only changes its speed.

Device, batch size and token budget of an engine are left out: the draw of a response is seeded by its own
request, so they change results by rounding alone, and nobody wants to sample again for another machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from dasd.base.checksums import file_checksum
from dasd.base.seeds import digest
from dasd.errors import InputError
from dasd.models.files import model_fingerprint
from dasd.models.pool import backend_of
from dasd.plugins.registry import Registry
from dasd.recipe.curation_settings import FilterSettings
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.training_settings import TrainerSettings

__all__ = [
    "engine_settings",
    "files_settings",
    "filters_settings",
    "model_settings",
    "source_settings",
    "trainer_settings",
    "verifier_versions",
]

Settings = dict[str, JsonValue]


def model_settings(settings: ModelSettings) -> Settings:
    """A model alone (its tokenizer, chat template and weights), whatever runs it and wherever it lies."""
    return {"model": model_fingerprint(settings), **_template_options(settings)}


def engine_settings(settings: ModelSettings, registry: Registry) -> Settings:
    """A model and the backend that runs it."""
    return {**backend_settings(settings, registry), **model_settings(settings)}


def backend_settings(settings: ModelSettings, registry: Registry) -> Settings:
    """How a backend runs a model that another stage makes (a checkpoint)."""
    backend = backend_of(registry, settings)
    found: Settings = {
        "backend": settings.backend,
        "versions": backend.versions,
        "precision": settings.precision,
        "options": {
            name: value for name, value in settings.options.items() if name not in backend.speed_options
        },
        **_template_options(settings),
    }
    path = settings.options.get("path")
    if isinstance(path, str):
        # A backend that reads a file (recorded responses) answers as the file does.
        found["file"] = _file_digest(Path(path), f"backend {settings.backend!r}")
    return found


def _template_options(settings: ModelSettings) -> Settings:
    """Those of the chat template, where there are any."""
    options = settings.chat_template_options
    return {"chat_template_options": options} if options else {}


def source_settings(source: QuestionSource, registry: Registry) -> Settings:
    """A source of questions; of a file its content too, so that an edited file is noticed.

    How often its questions are answered and with which cap is the evaluation's part, not the questions'.
    """
    unnamed = {"name"} if source.name is None else set()
    settings: Settings = {
        **source.model_dump(mode="json", exclude={"attempts", "max_tokens", *unnamed}),
        "versions": registry.versions("questions", source.source),
    }
    path = source.options.get("path")
    if isinstance(path, str):
        settings["content"] = _content_digest(Path(path), f"questions from {source.source!r}")
    return settings


def files_settings(paths: Sequence[str], reader: str) -> list[JsonValue]:
    """Files by their content, wherever they lie. ``reader`` names in a message who wants them."""
    return [{"content": _file_digest(Path(path), reader), "suffix": Path(path).suffix} for path in paths]


def filters_settings(settings: FilterSettings, registry: Registry) -> Settings:
    """Section ``filters`` and who owns the filters that plugins bring."""
    return {
        **settings.model_dump(mode="json"),
        "versions": {name: registry.versions("filter", name) for name in settings.extra},
    }


def trainer_settings(settings: TrainerSettings, registry: Registry) -> Settings:
    """Section ``trainer`` of one stage, less where it runs and how often it saves."""
    faster = registry.component("trainer", settings.trainer).speed_options
    return {
        **settings.result_keys(),
        "options": {name: value for name, value in settings.options.items() if name not in faster},
        "versions": registry.versions("trainer", settings.trainer),
    }


def verifier_versions(
    registry: Registry, summaries: Mapping[str, Mapping[str, JsonValue]], *splits: str
) -> Settings:
    """Who owns each verifier that questions of these splits name, by the summaries of the stages that read them.

    Questions that an earlier version read tell of none: every registered verifier counts then.
    """
    named = [summary["verifiers"] for summary in summaries.values() if "verifiers" in summary]
    names = [
        str(name)
        for by_split in named
        if isinstance(by_split, Mapping)
        for split in splits
        for name in _list(by_split.get(split))
    ]
    return {
        name: registry.versions("verifier", name)
        for name in (sorted(set(names)) if named else registry.names("verifier"))
    }


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _content_digest(path: Path, reader: str) -> str:
    """Of a file, or of all files below a directory by their names and contents."""
    if not path.is_dir():
        return _file_digest(path, reader)
    files = sorted(each for each in path.rglob("*") if each.is_file())
    return digest(*(part for each in files for part in (each.relative_to(path), _file_digest(each, reader))))


def _file_digest(path: Path, reader: str) -> str:
    try:
        return file_checksum(path, size=64)
    except OSError as error:
        raise InputError(f"{reader}: {path} can't be read: {error.strerror}; wanted a file") from error
