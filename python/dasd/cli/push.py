"""``dasd push``: send a checkpoint or exported data to a hub, after showing what would be sent."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from dasd.base.printable import echo
from dasd.cli.card import card_options
from dasd.cli.guard import INTERRUPTED
from dasd.cli.options import json_option, print_json, quiet_option

_PATIENCE_SECONDS = 1.0
"""After Ctrl-C, for the hub's library to let go of the request that is open."""


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--to", "name", metavar="OWNER/NAME", required=True, help="Repository; made if there is none.")
@click.option(
    "--checkpoint", metavar="NAME", help="Training whose checkpoint is sent; the last one when absent."
)
@click.option(
    "--dataset",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Send the data that `dasd export` wrote into DIR instead.",
)
@click.option("--private/--public", default=True, show_default=True, help="Who may see the repository.")
@click.option("--revision", metavar="BRANCH", help="Branch to push to; made if there is none.")
@click.option(
    "--card",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Send this card in place of the one that `dasd card` would print.",
)
@click.option("--dry-run", is_flag=True, help="Stop after showing what would be sent.")
@click.option("--yes", is_flag=True, help="Don't ask; needed where there is no terminal to ask on.")
@card_options
@json_option
@quiet_option
def push(
    run: Path,
    name: str,
    checkpoint: str | None,
    dataset: Path | None,
    private: bool,
    revision: str | None,
    card: Path | None,
    dry_run: bool,
    yes: bool,
    options: Any,
    as_json: bool,
    quiet: bool,
) -> None:
    """Send a checkpoint of RUN, or its exported data, to the Hugging Face hub.

    Shows every file, its size and the card's metadata, then asks. Sent are weights (safetensors), configuration,
    tokenizer, chat template and card; never optimiser state, pickles or the run's rows and logs. A push that was
    cut off goes on with the same command. The token comes from HF_TOKEN or `hf auth login`; HF_ENDPOINT names
    another hub.

    \b
    Example:
      dasd push runs/demo --to me/demo-student --license apache-2.0 --dry-run
      dasd push runs/demo --to me/demo-responses --dataset exports/demo-text
    """
    from dasd.base.progress import Console
    from dasd.results.cards import Target, dataset_push, model_push, send
    from dasd.store import Run

    if dataset is not None and checkpoint is not None:
        raise click.UsageError("--dataset and --checkpoint exclude one another")
    console = Console(quiet)
    opened = Run.open(run)
    target = Target(name, private, revision)
    if dataset is not None:
        wanted = dataset_push(opened, target, dataset, options, card)
    else:
        wanted = model_push(opened, target, checkpoint, options, card, console)
    if as_json:
        print_json(wanted.record())
    else:
        for line in wanted.lines():
            echo(line)
    if dry_run:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(
                "there is no terminal to ask on; look at it with --dry-run, then give --yes"
            )
        if not click.confirm("Send this?", err=True):
            echo("nothing was sent", err=True)
            raise click.exceptions.Exit(1)
    with _ended_soon():
        done = send(wanted, console)
    if done.stale:
        console.warn(
            f"{name} holds weights of an earlier push that are no part of this one: {', '.join(done.stale)}; "
            "remove them on the hub"
        )
    echo(done.url, err=as_json)


@contextmanager
def _ended_soon() -> Iterator[None]:
    """Ctrl-C inside ends the process soon: the hub's library would wait until a request that is open has ended.

    Nothing has to be put away: the hub keeps what has arrived.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or (
        threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    over = threading.Timer(_PATIENCE_SECONDS, _leave)
    over.daemon = True

    def interrupted(_number: int, _frame: FrameType | None) -> None:
        if not over.is_alive():
            over.start()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        over.cancel()
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h\n")  # a progress bar had hidden the cursor
    echo("interrupted; what has arrived is kept: the same command goes on from there", err=True)
    os._exit(INTERRUPTED)
