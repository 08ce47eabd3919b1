"""Which files of a directory are sent to a hub. What is not on the list stays at home."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from dasd.base.records import ADAPTER
from dasd.base.small_files import read_json
from dasd.errors import InputError
from dasd.results.cards.export_files import DATA
from dasd.results.cards.names import leaks, public
from dasd.results.cards.of_model import CARD

__all__ = ["CARD", "LeftOut", "Piece", "dataset_files", "model_files", "warnings_about"]

MODEL_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "spiece.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "LICENSE*",
    "NOTICE*",
)
DATASET_FILES = (*(f"*{ending}" for ending in DATA), "dataset_info.json", "LICENSE*", "NOTICE*")

_REASONS = (
    ("*.py", "code"),
    ("*optimizer*", "optimiser state"),
    ("*scheduler*", "trainer's state"),
    ("*rng_state*", "trainer's state"),
    ("*trainer_state*", "trainer's state"),
)
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy")
_LOOKED_AT = (".json", ".jsonl", ".jinja", ".txt")
_BLOCK = 1 << 22
_OVERLAP = 4096


@dataclass(frozen=True, slots=True)
class Piece:
    """One file to be sent."""

    path: str
    """In the repository."""
    content: Path | bytes
    bytes: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file, or a directory with all that is in it, that stays at home."""

    path: str
    why: str


def model_files(directory: Path) -> tuple[list[Piece], list[LeftOut]]:
    """What of a checkpoint is sent: weights as safetensors, configuration, tokenizer, chat template.

    Raises InputError for a directory without one of the first three.
    """
    pieces, left_out = _choose(directory, MODEL_FILES, nested=False)
    if (adapter := _adapter(directory)) is not None:
        pieces += adapter
        left_out = [item for item in left_out if item.path != f"{ADAPTER}/"]
    names = [piece.path for piece in pieces]
    for pattern, what in (
        ("*.safetensors", "weights"),
        ("config.json", "config.json"),
        ("*token*", "tokenizer"),
    ):
        if not any(fnmatchcase(name, pattern) for name in names) and not (
            what == "tokenizer" and any(name.startswith(("vocab.", "spiece.")) for name in names)
        ):
            raise InputError(
                f"{directory} has no {what}; wanted a checkpoint that loads with from_pretrained"
            )
    return pieces, left_out


def _adapter(directory: Path) -> list[Piece] | None:
    """The adapter beside the weights, if there is one; what it belongs to without its place on this machine."""
    place = directory / ADAPTER
    config, weights = place / "adapter_config.json", place / "adapter_model.safetensors"
    if not (config.is_file() and weights.is_file()):
        return None
    try:
        record = read_json(config)
    except (OSError, ValueError) as error:
        raise InputError(f"{config} can't be read: {error}; train the stage again") from error
    if not isinstance(record, dict):
        raise InputError(f"{config}: wanted an object, got {type(record).__name__}")
    record["base_model_name_or_path"] = public(record.get("base_model_name_or_path"))
    text = json.dumps(record, indent=2, sort_keys=True).encode() + b"\n"
    return [
        Piece(f"{ADAPTER}/{config.name}", text, len(text)),
        Piece(f"{ADAPTER}/{weights.name}", weights, weights.stat().st_size),
    ]


def dataset_files(directory: Path) -> tuple[list[Piece], list[LeftOut]]:
    """What of an export is sent: Parquet and JSONL files, and LLaMA-Factory's description of them."""
    return _choose(directory, DATASET_FILES, nested=True)


def _choose(directory: Path, patterns: tuple[str, ...], *, nested: bool) -> tuple[list[Piece], list[LeftOut]]:
    pieces: list[Piece] = []
    left_out: list[LeftOut] = []
    for path in sorted(directory.iterdir()):
        name = path.name
        if path.is_symlink() and not path.resolve().is_relative_to(directory.resolve()):
            left_out.append(LeftOut(name, "a link out of the directory"))
        elif path.is_dir():
            if not nested or name.startswith("."):
                left_out.append(LeftOut(f"{name}/", "a directory"))
                continue
            inside, others = _choose(path, patterns, nested=True)
            pieces += [Piece(f"{name}/{item.path}", item.content, item.bytes) for item in inside]
            left_out += [LeftOut(f"{name}/{item.path}", item.why) for item in others]
        elif name == CARD:
            left_out.append(LeftOut(name, "a new card goes in its place"))
        elif (reason := _reason(name, patterns)) is not None:
            left_out.append(LeftOut(name, reason))
        else:
            pieces.append(Piece(name, path, path.stat().st_size))
    return pieces, left_out


def _reason(name: str, patterns: tuple[str, ...]) -> str | None:
    """Why a file stays at home; None: it is sent."""
    if Path(name).suffix in _PICKLES:
        return "a pickle, which can run code when loaded"
    for pattern, why in _REASONS:
        if fnmatchcase(name, pattern):
            return why
    if name.startswith(".") or not any(fnmatchcase(name, pattern) for pattern in patterns):
        return "no part of a model or data set"
    return None


def warnings_about(pieces: list[Piece], private: tuple[Path, ...]) -> list[str]:
    """What a reader should look at before these files are published: paths of this machine and tokens in text."""
    found = []
    for piece in pieces:
        if not isinstance(piece.content, Path) or piece.content.suffix not in _LOOKED_AT:
            continue
        held: dict[str, None] = {}
        with piece.content.open("rb") as file:
            tail = b""
            while block := file.read(_BLOCK):
                # JSON may write a stroke as \/.
                text = re.sub(rb"\\/", b"/", tail + block).decode("utf-8", "replace")
                held |= dict.fromkeys(leaks(text, private))
                tail = block[-_OVERLAP:]
        found += [f"{piece.path} holds {what}" for what in held]
    return found
