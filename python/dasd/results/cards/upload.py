"""Sends what was shown. A push that was cut off goes on with the same command.

The large files go first, one by one, into the hub's store, which knows a file by its content: what arrived
in an earlier push is not sent again. Then one commit names all files, so that the repository never holds half a
model. The hub itself is the record of what is done; nothing is kept here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from dasd.base.files import human_bytes
from dasd.base.progress import Console
from dasd.errors import DasdError, HubError, InputError
from dasd.results.cards.push import Push, Target

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["Pushed", "send"]

_AGAIN = "What has arrived is kept: the same command goes on from there."
_TRANSPORT = ("httpx", "httpx2", "httpcore", "requests", "urllib3", "hf_xet")
_LARGE = 10_000_000
_LONGEST = 600
"""Characters of the hub's words in a message."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push left."""

    url: str
    commit: str
    """Of the branch now."""
    stale: tuple[str, ...]
    """Weights that were in the repository before and are no part of this push."""


def send(push: Push, console: Console) -> Pushed:
    """Make the repository if there is none, and send the files.

    The token comes from HF_TOKEN or the hub's login. Raises InputError without one and for a repository that is
    public where a private one is wanted; HubError for what the hub refuses and for a connection that is lost.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.utils import logging

    with _one_error(push, ""):
        token = get_token()
    if not token:
        raise InputError("pushing needs a token that may write: set HF_TOKEN, or log in with `hf auth login`")
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    api = HfApi(endpoint=push.endpoint, token=token)
    target = push.target
    with _one_error(push, token):
        url = api.create_repo(target.name, repo_type=push.kind, private=target.private, exist_ok=True)
        before = _before(api, push)
        if target.revision is not None:
            api.create_branch(target.name, branch=target.revision, repo_type=push.kind, exist_ok=True)
        operations = [
            CommitOperationAdd(
                piece.path, piece.content if isinstance(piece.content, bytes) else str(piece.content)
            )
            for piece in push.files
        ]
        with console.task(f"sending to {target.name}", push.bytes, "bytes") as task:
            for piece, operation in zip(push.files, operations, strict=True):
                if piece.bytes >= _LARGE:
                    console.info(f"  {piece.path} ({human_bytes(piece.bytes)})")
                api.preupload_lfs_files(
                    target.name,
                    [operation],
                    repo_type=push.kind,
                    revision=target.revision,
                    free_memory=False,
                    num_threads=1,
                )
                task.advance(piece.bytes)
        made = api.create_commit(
            target.name,
            operations,
            commit_message=f"Add {push.kind} with dasd",
            repo_type=push.kind,
            revision=target.revision,
        )
        sent = {piece.path for piece in push.files}
        _all_there(sent, api, target, push.kind)
    stale = tuple(name for name in before if fnmatchcase(name, "*.safetensors") and name not in sent)
    return Pushed(str(url), made.oid, stale)


def _before(api: HfApi, push: Push) -> list[str]:
    """Files of the repository. Raises InputError if others can read what was meant to be private."""
    info = api.repo_info(push.target.name, repo_type=push.kind)
    if push.target.private and info.private is not True:
        says = "is there already and public" if info.private is False else "isn't called private by the hub"
        raise InputError(
            f"{push.target.name} {says}; nothing was sent. Give --public to push to it all the "
            "same, another name, or make it private on the hub"
        )
    return _files(info)


def _files(info: object) -> list[str]:
    return [str(item.rfilename) for item in getattr(info, "siblings", None) or ()]


def _all_there(sent: set[str], api: HfApi, target: Target, kind: str) -> None:
    """Raises HubError where the hub took the commit and left files out, about which its library says nothing."""
    missing = sorted(sent - set(_files(api.repo_info(target.name, repo_type=kind, revision=target.revision))))
    if missing:
        raise HubError(
            f"the hub took the commit to {target.name} without {', '.join(missing)}; look whether a .gitignore there "
            "names them, take it out, and give the same command again"
        )


@contextmanager
def _one_error(push: Push, token: str) -> Iterator[None]:
    """Whatever the hub's library raises as one HubError, without the token and without signed addresses."""
    try:
        with warnings.catch_warnings():
            # The library's advice is for programmers; a card that the hub finds wrong is an error.
            warnings.simplefilter("ignore")
            yield
    except DasdError:
        raise
    except Exception as error:
        status, said = _cause(error)
        if status is None and said is None:
            raise
        raise HubError(_message(push, status, _without(said or "", token))) from error


def _without(said: str, token: str) -> str:
    return (said.replace(token, "(token)") if token else said)[:_LONGEST]


def _cause(error: BaseException) -> tuple[int | None, str | None]:
    """HTTP status and words of what went wrong; both None for what is no matter of the hub."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for item in chain:
        response = getattr(item, "response", None)
        if response is not None and isinstance(getattr(response, "status_code", None), int):
            said = getattr(item, "server_message", None)
            if not isinstance(item, OSError):  # a transport's own error has the address in its words
                said = None
            return response.status_code, said or ""
    for item in chain:
        if type(item).__module__.partition(".")[0] in _TRANSPORT or isinstance(item, ConnectionError):
            return None, f"{type(item).__name__}: {item}" if str(item) else type(item).__name__
    if isinstance(error, ValueError | OSError | RuntimeError):
        return None, str(error)
    if _raised_by(error).partition(".")[0] == "huggingface_hub":
        return None, f"an answer that the hub's library can't read: {type(error).__name__}: {error}"
    return None, None


def _raised_by(error: BaseException) -> str:
    """Module of the code that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))


def _message(push: Push, status: int | None, said: str) -> str:
    name, words = push.target.name, f" ({said.strip()})" if said.strip() else ""
    if status == 401:
        return (
            f"the hub doesn't accept the token{words}; log in with `hf auth login` or set HF_TOKEN. {_AGAIN}"
        )
    if status == 403:
        return f"the hub refuses to let this token write to {name}{words}; wanted one with write access. {_AGAIN}"
    if status == 404:
        return f"the hub finds no {push.kind} {name}{words}; look at the name, and if the token may see it. {_AGAIN}"
    if status is not None:
        return f"the hub answered {status}{words}. {_AGAIN}"
    return f"the push to {push.endpoint} was cut off{words}. {_AGAIN}"
