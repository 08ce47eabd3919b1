"""A file of a data set on the Hugging Face Hub, or what to bring where the hub can't be reached."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import cast

from dasd.api import NotHereError
from dasd_benchmarks.benchmark import Home

__all__ = ["fetch"]

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT_SECONDS = 10


def fetch(benchmark: str, home: Home, revision: str | None, hint: str) -> list[Path]:
    """Where the files lie in the hub's cache on this machine; downloads what isn't there.

    Without a connection, files that an earlier download left are used. Raises NotHereError with the file to bring,
    and ``hint`` at its end.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    # The HTTP library of huggingface_hub changes between its releases; its errors are the first base of this one.
    transport = cast(type[Exception], HfHubHTTPError.__bases__[0])
    problems: tuple[type[Exception], ...] = (OSError, ValueError, transport)

    def all_files(at: str | None, *, here: bool) -> list[Path]:
        return [
            Path(
                hf_hub_download(
                    home.repository, file, repo_type="dataset", revision=at, local_files_only=here
                )
            )
            for file in home.files
        ]

    if revision is not None and _COMMIT.fullmatch(revision):
        with suppress(*problems):
            return all_files(revision, here=True)
    try:
        # One question with a time limit: a download would ask again and again for half a minute.
        HfApi().dataset_info(home.repository, revision=revision, timeout=_TIMEOUT_SECONDS)
        return all_files(revision, here=False)
    except problems as error:
        with suppress(*problems):
            return all_files(revision, here=True)
        gated = home.gated or isinstance(error, GatedRepoError)
        raise NotHereError(_to_bring(benchmark, home, revision, error, gated) + hint) from error


def _to_bring(benchmark: str, home: Home, revision: str | None, error: Exception, gated: bool) -> str:
    lines = str(error).strip().splitlines() or [""]
    terms = (
        "The data set is gated: accept its terms on its page with your account, then log in with `hf auth login` or "
        "set HF_TOKEN. "
    )
    at = f" --revision {revision}" if revision else ""
    return (
        f"{benchmark}: can't get {' and '.join(home.files)} of the data set {home.repository} from the Hugging Face "
        f"Hub ({type(error).__name__}: {lines[-1].strip().rstrip('.')}). {terms if gated else ''}Or bring it: on a "
        f"machine with access run `hf download --repo-type dataset {home.repository} {' '.join(home.files)}{at} "
        f"--local-dir {benchmark}`, copy that directory here and set the source's option `path` to it"
    )
