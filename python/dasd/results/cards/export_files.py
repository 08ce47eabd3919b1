"""The data files of an export directory: which there are, which training each belongs to, its rows and columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from dasd.base.small_files import read_small
from dasd.errors import InputError
from dasd.results.cards.licences import front_matter

__all__ = ["DATA", "DataConfig", "read_export"]

DATA = (".parquet", ".jsonl")
"""Endings of data files."""

MANIFEST = "export.json"
_PART = re.compile(r"[-_.]?(part)?[-_]?\d+([-_]of[-_]\d+)?$")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """One configuration of a data set: the files that belong together."""

    name: str
    stage: str
    """Training of the run; "" where nothing says which."""
    files: tuple[str, ...]
    """Relative to the directory."""
    rows: int
    columns: tuple[str, ...]


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")

    path: str
    stage: str | None = None


class _Manifest(BaseModel):
    """What is read of an export's manifest; there need not be one."""

    model_config = ConfigDict(extra="ignore")

    files: tuple[_File, ...] = ()


def read_export(directory: Path) -> tuple[DataConfig, ...]:
    """The configurations in ``directory``, in the order of their first files' names.

    The README that an export brought names them; else its manifest says which training a file belongs to; else
    a directory or a file's name without its number is a configuration. Raises InputError for a directory without
    Parquet or JSONL files and for a file that can't be read.
    """
    if not directory.is_dir():
        raise InputError(f"{directory} is not a directory; wanted one that `dasd export` wrote")
    paths = sorted(path.relative_to(directory).as_posix() for path in _data_files(directory))
    if not paths:
        raise InputError(
            f"{directory} has no data files ({', '.join(DATA)}); wanted a directory that `dasd export` wrote"
        )
    stages = _stages(directory)
    named = _named(directory)
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(named.get(path) or stages.get(path) or _stem(path), []).append(path)
    return tuple(
        DataConfig(
            name=name,
            stage=next((stages[path] for path in files if path in stages), ""),
            files=tuple(files),
            rows=sum(_rows(directory / path) for path in files),
            columns=_columns(directory / files[0]),
        )
        for name, files in groups.items()
    )


def _data_files(directory: Path) -> Iterator[Path]:
    for path in directory.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)
        if path.suffix in DATA and path.is_file() and not path.is_symlink() and not hidden:
            yield path


def _stages(directory: Path) -> dict[str, str]:
    """Training by file, from the manifest; empty without one that can be read."""
    try:
        manifest = _Manifest.model_validate_json(read_small(directory / MANIFEST))
    except (OSError, ValidationError):
        return {}
    return {file.path: file.stage for file in manifest.files if file.stage}


def _named(directory: Path) -> dict[str, str]:
    """Configuration by file, from the README of the export."""
    try:
        configs = front_matter(read_small(directory / "README.md").decode("utf-8")).get("configs")
    except (OSError, UnicodeDecodeError):
        return {}
    found: dict[str, str] = {}
    for config in configs if isinstance(configs, list) else ():
        if isinstance(config, dict) and isinstance(config.get("config_name"), str):
            for path in _paths(config.get("data_files")):
                found[path] = config["config_name"]
    return found


def _paths(data_files: object) -> Iterator[str]:
    """``data_files`` of a front matter: a path, a list, or items with ``path``; patterns are left out."""
    if isinstance(data_files, str):
        yield data_files
    elif isinstance(data_files, list):
        for item in data_files:
            yield from _paths(item)
    elif isinstance(data_files, dict):
        yield from _paths(data_files.get("path"))


def _stem(path: str) -> str:
    first, _, rest = path.partition("/")
    return first if rest else _PART.sub("", Path(first).stem) or Path(first).stem


def _rows(path: Path) -> int:
    if path.suffix == ".parquet":
        try:
            return int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
        except pl.exceptions.PolarsError as error:
            raise InputError(f"{path} can't be read as Parquet ({error}); export it again") from error
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


def _columns(path: Path) -> tuple[str, ...]:
    if path.suffix == ".parquet":
        return tuple(pl.scan_parquet(path, glob=False).collect_schema().names())
    with path.open("rb") as file:
        line = next((line for line in file if line.strip()), b"{}")
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{path}: its first row is not JSON ({error}); export it again") from error
    return tuple(row) if isinstance(row, dict) else ()
