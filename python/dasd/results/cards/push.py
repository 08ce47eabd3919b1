"""What would be sent to a hub: decided and shown before anything leaves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dasd.base.checksums import file_checksum
from dasd.base.files import human_bytes
from dasd.base.progress import Console
from dasd.base.small_files import read_small
from dasd.errors import InputError, StoreError
from dasd.results.cards.contents import LeftOut, Piece, dataset_files, model_files, warnings_about
from dasd.results.cards.facts import find_checkpoint
from dasd.results.cards.names import leaks
from dasd.results.cards.of_dataset import dataset_card
from dasd.results.cards.of_model import CARD, model_card
from dasd.results.cards.options import CardOptions
from dasd.results.cards.require import require_hub

if TYPE_CHECKING:
    from dasd.store import Run

__all__ = ["Push", "Target", "dataset_push", "model_push"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where it goes."""

    name: str
    """``OWNER/NAME``."""
    private: bool
    revision: str | None = None
    """Branch; None: the main one."""


@dataclass(frozen=True, slots=True)
class Push:
    """A repository's files, and what stays at home."""

    kind: Literal["model", "dataset"]
    target: Target
    endpoint: str
    source: Path
    files: tuple[Piece, ...]
    left_out: tuple[LeftOut, ...]
    card: str
    warnings: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(piece.bytes for piece in self.files)

    @property
    def front_matter(self) -> str:
        """The card's YAML block."""
        found = re.match(r"---\n(.*?)\n---\n", self.card, re.DOTALL)
        return found[1] if found else ""

    def record(self) -> dict[str, object]:
        """For programs: the same as ``lines``, as JSON."""
        return {
            "kind": self.kind,
            "name": self.target.name,
            "endpoint": self.endpoint,
            "private": self.target.private,
            "revision": self.target.revision,
            "bytes": self.bytes,
            "files": [{"path": piece.path, "bytes": piece.bytes} for piece in self.files],
            "left_out": [{"path": item.path, "why": item.why} for item in self.left_out],
            "card": self.card,
            "warnings": list(self.warnings),
        }

    def lines(self) -> Iterator[str]:
        """For people: where to, every file with its size, what stays, the card's head."""
        branch = "" if self.target.revision is None else f", branch {self.target.revision}"
        who = "private" if self.target.private else "PUBLIC"
        yield f"{self.kind} {self.target.name} at {self.endpoint}{branch}, {who}"
        yield f"{len(self.files)} files, {human_bytes(self.bytes)}, from {self.source}:"
        width = max(len(piece.path) for piece in self.files)
        for piece in self.files:
            made = " (made by dasd)" if isinstance(piece.content, bytes) else ""
            yield f"  {piece.path.ljust(width)}  {human_bytes(piece.bytes).rjust(11)}{made}"
        if self.left_out:
            yield "left out:"
            yield from (f"  {item.path}: {item.why}" for item in self.left_out)
        yield f"{CARD} begins with:"
        yield from (f"  {line}" for line in self.front_matter.splitlines())
        yield from (f"warning: {warning}" for warning in self.warnings)


def model_push(
    run: Run,
    target: Target,
    checkpoint: str | None = None,
    options: CardOptions | None = None,
    card: Path | None = None,
    console: Console | None = None,
) -> Push:
    """What a push of a checkpoint (None: of the last training) would send.

    ``card``: a file to send as README.md in place of the one that dasd would make. Raises InputError, and
    StoreError for a checkpoint that is torn or was altered since its training.
    """
    _check(target)
    stage = find_checkpoint(run, checkpoint)
    made = model_card(run, stage.name, options, target.name)
    directory = run.artifact(stage.name)
    pieces, left_out = model_files(directory)
    _verify(run, stage.name, pieces, console or Console(quiet=True))
    texts = {**made.files(), CARD: _own(card) or made.readme}
    return _push("model", run, target, directory, pieces, left_out, texts)


def dataset_push(
    run: Run, target: Target, directory: Path, options: CardOptions | None = None, card: Path | None = None
) -> Push:
    """What a push of an export of ``run`` would send. ``card``: see ``model_push``. Raises InputError."""
    _check(target)
    made = dataset_card(run, directory, options, target.name)
    pieces, left_out = dataset_files(directory)
    return _push("dataset", run, target, directory, pieces, left_out, {CARD: _own(card) or made})


def _push(
    kind: Literal["model", "dataset"],
    run: Run,
    target: Target,
    directory: Path,
    pieces: list[Piece],
    left_out: list[LeftOut],
    texts: dict[str, str],
) -> Push:
    from huggingface_hub import constants

    private = (run.directory, directory)
    for text in texts.values():
        if found := leaks(text, private):
            raise InputError(
                f"the card holds {' and '.join(found)}, which is nobody's business; take it out of the recipe, "
                "or give a card of your own with --card"
            )
    made = [Piece(path, text.encode(), len(text.encode())) for path, text in texts.items()]
    return Push(
        kind=kind,
        target=target,
        endpoint=constants.ENDPOINT,
        source=directory,
        files=(*made, *pieces),
        left_out=tuple(left_out),
        card=texts[CARD],
        warnings=tuple(warnings_about(pieces, private)),
    )


def _check(target: Target) -> None:
    """Raises InputError for what can't be the name of a repository or of a branch."""
    require_hub()
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # not in its __all__

    try:
        validate_repo_id(target.name)
    except HFValidationError as error:
        raise InputError(f"--to {target.name}: wanted OWNER/NAME; {error}") from error
    if target.name.count("/") != 1:
        raise InputError(f"--to {target.name}: wanted OWNER/NAME, got no owner")
    branch = target.revision
    if branch is not None and (not re.fullmatch(r"\w[\w./-]*", branch) or ".." in branch):
        raise InputError(f"--revision {branch}: wanted a branch's name")


def _own(card: Path | None) -> str:
    """The user's card; "" where there is none. Raises InputError."""
    if card is None:
        return ""
    try:
        text = read_small(card).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--card {card} can't be read ({error}); wanted a Markdown file") from error
    if not text.startswith("---\n"):
        raise InputError(f"--card {card} begins without the hub's block of YAML (---); `dasd card` makes one")
    return text


def _verify(run: Run, stage: str, pieces: list[Piece], console: Console) -> None:
    """The files are those that the training wrote, byte by byte."""
    manifest = next(item for item in run.stages() if item.name == stage)
    wanted = {file.path: file for artifact in manifest.artifacts for file in artifact.files}
    with console.task("checking the files", sum(piece.bytes for piece in pieces), "bytes") as task:
        for piece in pieces:
            assert isinstance(piece.content, Path)
            known = wanted.get(piece.content.relative_to(run.directory).as_posix())
            if known is None:
                raise StoreError(
                    f"{piece.content} was not written by stage {stage}; take it out", piece.content
                )
            if known.bytes != piece.bytes or known.checksum != file_checksum(piece.content):
                raise StoreError(
                    f"{piece.content} was altered since stage {stage} wrote it, or is torn; restore it from a copy, "
                    "or train again",
                    piece.content,
                )
            task.advance(piece.bytes)
