"""Models on disk: where a reference points to, whether a directory can be used, and what its content is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from dasd.base.checksums import checksum, file_checksum
from dasd.base.model_config import CONTEXT, check_sizes, first_size, read_config
from dasd.base.progress import no_bars
from dasd.base.small_files import read_json
from dasd.errors import InputError
from dasd.models.miniature import ROLES, model_path
from dasd.recipe.model_settings import ModelSettings

__all__ = [
    "check_model",
    "context_length",
    "declared_context",
    "load_config",
    "loading",
    "model_fingerprint",
    "model_identity",
    "resolve_model",
]

_BUNDLED = {f"dasd:mini-{role}": role for role in ROLES}
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
_CONTENT = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "*.model",
    "*.safetensors",
    "*.safetensors.index.json",
    "*.py",
)
_PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth")


def resolve_model(ref: str) -> str:
    """Where ``from_pretrained`` finds a model: a bundled one's or a directory's absolute path, else its name.

    Raises InputError for an unknown bundled model and for a path that isn't there.
    """
    if ref.startswith("dasd:"):
        if ref not in _BUNDLED:
            raise InputError(f"model {ref!r} doesn't ship with dasd; there are {', '.join(sorted(_BUNDLED))}")
        return str(model_path(_BUNDLED[ref]).absolute())
    path = Path(ref).expanduser()
    if path.is_dir():
        return str(path.absolute())
    if path.exists():
        raise InputError(f"model {ref!r}: wanted a directory, got a file")
    if not _HUB_NAME.fullmatch(ref):
        raise InputError(f"model {ref!r}: no such directory, and it is no model's name (OWNER/NAME) either")
    return ref


def check_model(settings: ModelSettings, *, weights: bool = True) -> None:
    """Refuse a model directory that can't be used, before anything is spent. A named model isn't checked.

    ``weights``: whether they are needed; a model behind a server needs its tokenizer and config alone. Raises
    InputError for a directory without config, tokenizer or safetensors weights, naming what it lacks, and for
    weights that are damaged or not of the config's sizes.
    """
    path = Path(resolve_model(settings.model))
    if not path.is_dir():
        if settings.model.startswith("dasd:"):
            raise InputError(f"model {settings.model}: its files are missing; install dasd again")
        return
    where = f"model directory {path}"
    if not (path / "config.json").is_file():
        raise InputError(f"{where} has no config.json; wanted a Hugging Face model directory")
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        raise InputError(f"{where} has no tokenizer (tokenizer.json); save the model's tokenizer into it")
    described = path / "tokenizer_config.json"
    if described.is_file():  # transformers reads it without a bound
        try:
            read_json(described)
        except (OSError, ValueError) as error:
            raise InputError(f"{described} can't be read: {error}; save the tokenizer again") from error
    if not weights:
        return
    index = path / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = sorted(set(read_json(index)["weight_map"].values()))
            missing = [name for name in shards if not (path / name).is_file()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{index} is damaged ({error}); fetch or save the model again") from error
        if missing:
            raise InputError(f"{where} lacks {len(missing)} of its {len(shards)} shards, e.g. {missing[0]}")
    elif not any(path.glob("*.safetensors")):
        if any(True for pattern in _PICKLED for _ in path.glob(pattern)):
            raise InputError(
                f"{where} has pickle weights only, which can run code when loaded; convert them to "
                "safetensors (load them in a place that you trust and call save_pretrained)"
            )
        raise InputError(f"{where} has no weights (*.safetensors)")
    check_sizes(path)


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Load a model's files without bars: InputError that names ``what`` for whatever comes of damaged ones.

    Libraries and a model's own code raise errors of any type there.
    """
    try:
        with no_bars():
            yield
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise InputError(
                f"{what} can't be loaded without running code that came with it; if you trust that code, set "
                "trust_remote_code: true beside the model in the recipe"
            ) from error
        raise InputError(f"{what} can't be loaded: {error}") from error


def load_config(
    model: str, revision: str | None = None, *, trust_remote_code: bool = False, here: bool = False
) -> Any:
    """The model's config as transformers loads it, defaults of its architecture filled in. Raises InputError.

    ``here``: nothing is fetched.
    """
    from transformers import AutoConfig

    with loading(f"model {model}: its config"):
        return AutoConfig.from_pretrained(
            resolve_model(model),
            revision=revision,
            trust_remote_code=trust_remote_code,
            local_files_only=here,
        )


def model_fingerprint(settings: ModelSettings) -> dict[str, JsonValue]:
    """What decides a model's outputs: a directory's content hash, a named model's revision."""
    path = Path(resolve_model(settings.model))
    if not path.is_dir():
        return {"name": settings.model, "revision": settings.revision}
    return {"content": _directory_digest(path)}


def model_identity(settings: ModelSettings) -> str:
    """The model's part of a response's identity: the same wherever it lies, so that the same draws are made.

    A directory's content hash; of any other model, the bundled ones too, its name.
    """
    path = Path(settings.model).expanduser()
    return f"content {_directory_digest(path)}" if path.is_dir() else settings.model


def context_length(config: Any) -> int:
    """Longest sequence in tokens that a transformers config declares.

    Raises InputError for a config that declares none.
    """
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    for name in CONTEXT:
        value = getattr(text, name, None)
        if isinstance(value, int) and value > 0:
            return value
    raise InputError(
        f"the config of this {getattr(config, 'model_type', 'model')} declares no context length; "
        "add max_position_embeddings to its config.json"
    )


def declared_context(settings: ModelSettings) -> int | None:
    """Tokens of context by the model's config.json, and no more than an option ``max_model_len`` of its backend.

    None where there is no such file, or it declares none: a model behind a server. Raises InputError for a file that
    can't be read.
    """
    path = Path(resolve_model(settings.model))
    if not path.is_dir():
        from transformers.utils.hub import cached_file

        try:
            with no_bars():
                found = cached_file(settings.model, "config.json", revision=settings.revision)
        except (OSError, ValueError):
            return None
        path = Path(found or "").parent
    if not (path / "config.json").is_file():
        return None
    declared = first_size(read_config(path), CONTEXT)
    limit = settings.options.get("max_model_len")
    return min(declared, limit) if declared is not None and isinstance(limit, int) else declared


def _directory_digest(path: Path) -> str:
    files = sorted({file for pattern in _CONTENT for file in path.glob(pattern) if file.is_file()})
    lines = []
    for file in files:
        stat = file.stat()
        lines.append(f"{file.name}\0{_file_digest(file, stat.st_size, stat.st_mtime_ns)}\n")
    return checksum("".join(lines).encode())


@lru_cache(maxsize=4096)
def _file_digest(file: Path, size: int, mtime_ns: int) -> str:  # noqa: ARG001 - size and time are the cache's key
    return file_checksum(file)
