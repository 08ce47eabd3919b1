"""``dasd card``: the card of a checkpoint, or of exported data."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from dasd.base.printable import echo

_OPTIONS: tuple[tuple[str, bool, str, str], ...] = (
    ("--license", False, "ID", "Licence of what the card is of, by the hub's identifier, e.g. apache-2.0."),
    (
        "--base-license",
        False,
        "ID",
        "Licence of the student before training; its model card says it when absent.",
    ),
    ("--teacher-license", False, "ID", "Licence of the teacher; its model card says it when absent."),
    ("--data-license", False, "ID", "Licence of the questions."),
    ("--base-model", False, "OWNER/NAME", "The student's name on the hub, where the recipe has a directory."),
    ("--trained-on", True, "OWNER/NAME", "The training data's name on the hub. May be repeated."),
    ("--language", True, "CODE", "Language of the text, e.g. en. May be repeated."),
    (
        "--hub-benchmark",
        True,
        "NAME=DATASET:TASK",
        (
            "Which registered benchmark of the hub a benchmark of the run is, e.g. "
            "gpqa-diamond=Idavidrein/gpqa:gpqa_diamond; with :percent at the end if its scores go to 100. "
            "May be repeated."
        ),
    ),
)


def card_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What only the user can know, as ``options`` (a ``dasd.results.cards.CardOptions``)."""

    @wraps(command)
    def with_options(**given: Any) -> Any:
        from dasd.results.cards import CardOptions, HubBenchmark

        own = {key: given.pop(key) for key in (name[2:].replace("-", "_") for name, *_ in _OPTIONS)}
        benchmarks = tuple(map(HubBenchmark.parse, own.pop("hub_benchmark")))
        return command(**given, options=CardOptions(**own, benchmarks=benchmarks))

    decorated: Callable[..., Any] = with_options
    for name, multiple, metavar, text in reversed(_OPTIONS):
        decorated = click.option(name, multiple=multiple, metavar=metavar, help=text)(decorated)
    return decorated


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--checkpoint", metavar="NAME", help="Training whose checkpoint it is; the last one when absent."
)
@click.option(
    "--dataset",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Write the card of the data that `dasd export` wrote into DIR instead.",
)
@click.option(
    "--to", metavar="DIR", default="-", help="Directory to write README.md into; printed when absent, or -."
)
@click.option(
    "--name", metavar="NAME", help="What the model or data set is called; from the run's name when absent."
)
@card_options
def card(
    run: Path, checkpoint: str | None, dataset: Path | None, to: str, name: str | None, options: Any
) -> None:
    """Print the model card of a checkpoint of RUN, or the dataset card of its exported data.

    It begins with the metadata that the hub reads, scores with it. Licences that nothing states are called unknown.
    `dasd push` makes the same card by itself; one that you have changed goes along with `dasd push --card FILE`.

    \b
    Example:
      dasd card runs/demo --license apache-2.0 > card.md
      dasd card runs/demo --dataset exports/demo-text
    """
    from dasd.base.files import write_whole
    from dasd.results.cards import dataset_card, model_card
    from dasd.results.cards.contents import CARD
    from dasd.store import Run

    if dataset is not None and checkpoint is not None:
        raise click.UsageError("--dataset and --checkpoint exclude one another")
    opened = Run.open(run)
    if dataset is not None:
        files = {CARD: dataset_card(opened, dataset, options, name)}
    else:
        made = model_card(opened, checkpoint, options, name)
        files = made.files()
    if to == "-":
        echo(files[CARD], nl=False)
        return
    for path, text in files.items():
        target = Path(to) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, text.encode())
        echo(target)
