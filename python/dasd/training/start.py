"""The directory that a first training starts from: a named student becomes the snapshot of its revision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dasd.base.progress import no_bars
from dasd.errors import InputError
from dasd.models.files import check_model, resolve_model
from dasd.recipe.model_settings import ModelSettings

__all__ = ["StartModel", "start_model"]

_WANTED = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py")
"""What a trainer reads and what belongs beside the trained weights; never pickled weights."""
_UNWANTED = ("*/*", "consolidated*")
"""The same weights in formats that transformers doesn't read."""


@dataclass(frozen=True, slots=True)
class StartModel:
    """Weights, config and tokenizer on this disk."""

    directory: Path
    revision: str | None
    """The commit that a named model's revision means; None for a directory, which has none."""


def start_model(settings: ModelSettings) -> StartModel:
    """The model of ``settings`` as a directory, fetched into the hub's cache if it isn't there.

    Trainers get a directory, so that tokenizer and weights are of one commit and none of them has to know of
    revisions. A directory's ``revision`` is ignored, as transformers does. Raises InputError.
    """
    check_model(settings)
    reference = resolve_model(settings.model)
    if Path(reference).is_dir():
        return StartModel(Path(reference), None)
    from huggingface_hub import snapshot_download

    try:
        with no_bars():
            found = snapshot_download(
                reference,
                revision=settings.revision,
                allow_patterns=list(_WANTED),
                ignore_patterns=list(_UNWANTED),
            )
    except (OSError, ValueError) as error:
        raise InputError(
            f"model {settings.model}: revision {settings.revision or 'main'} can't be fetched: {error}"
        ) from error
    check_model(settings.model_copy(update={"model": found}))
    return StartModel(Path(found), Path(found).name)
