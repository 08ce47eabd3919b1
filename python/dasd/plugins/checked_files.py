"""What a trainer or an exporter left on the disk, held against what is read, copied and sent on from there."""

from __future__ import annotations

from pathlib import Path

from dasd.base.model_config import check_sizes, read_config
from dasd.errors import InputError, SchemaError
from dasd.plugins.roles import TrainSpec

__all__ = ["check_checkpoint", "check_exported"]


def check_checkpoint(spec: TrainSpec, origin: str) -> None:
    """Files alone in ``spec.output``, safetensors among them, of a model of the kind that was to be trained.

    Raises SchemaError that names ``origin``.
    """
    for path in sorted(spec.output.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise SchemaError(f"{origin} left {path}, a link, pipe or device; wanted files of its own")
    if not any(spec.output.glob("*.safetensors")):
        raise SchemaError(f"{origin} left no weights (*.safetensors) in {spec.output}")
    try:
        check_sizes(spec.output)
        given, left = (read_config(path).get("model_type") for path in (spec.model, spec.output))
    except InputError as error:
        raise SchemaError(f"{origin} left a checkpoint that can't be used: {error}") from error
    if given != left:
        raise SchemaError(
            f"{origin} left a model of model_type {left!r} in {spec.output}; wanted {given!r}, as it was given"
        )


def check_exported(directory: Path, name: str, origin: str) -> None:
    """Raise SchemaError that names ``origin`` unless ``name`` is of a file below ``directory`` and of no link."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or (directory / path).is_symlink():
        raise SchemaError(
            f"{origin} names a file {name!r}; wanted a file of its own below the export's directory"
        )
