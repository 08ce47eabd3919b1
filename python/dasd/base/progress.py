"""Progress and messages for people, on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dasd.base.printable import echo, printable

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.progress import Progress

Figure = float | int | str
INTERVAL_SECONDS = 5.0


def human_seconds(seconds: float) -> str:
    """A duration in words, e.g. ``"4.2 s"``, ``"1 min 13 s"``, ``"2 h 05 min"``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def human_figure(value: object) -> str:
    """A figure short enough for a progress line: floats to four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextmanager
def no_bars() -> Iterator[None]:
    """Without the bars of transformers while it loads or writes a model: progress is told here alone."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


class Task:
    """One long step that is under way: its units, figures and rate. ``completed`` units were there before it began."""

    def __init__(self, total: int | None, unit: str, completed: int, clock: Callable[[], float]) -> None:
        self.total = total
        self.unit = unit
        self.done = completed
        self.figures: dict[str, Figure] = {}
        self.show: Callable[[], None] = lambda: None
        """Called whenever units are done."""
        self._before = completed
        self._clock = clock
        self._start = clock()

    def advance(self, n: int = 1, **figures: Figure) -> None:
        """``n`` more units are done; ``figures`` are shown from now on, e.g. ``loss=0.71``."""
        self.done += n
        self.figures.update(figures)
        self.show()

    @property
    def seconds(self) -> float:
        """Since the task began."""
        return self._clock() - self._start

    @property
    def rate(self) -> float | None:
        """Units a second since the task began; None before the first."""
        new, seconds = self.done - self._before, self.seconds
        return new / seconds if new > 0 and seconds > 0 else None

    def counted(self) -> str:
        """Units done, and of how many."""
        total = "" if self.total is None else f"/{self.total}"
        return f"{self.done}{total}" + (f" {self.unit}" if self.unit else "")

    def tail(self) -> str:
        """Rate, time left and figures."""
        parts = []
        if self.rate is not None:
            parts.append(f"{human_figure(self.rate)}/s")
            if self.total is not None and self.total > self.done:
                parts.append(f"{human_seconds((self.total - self.done) / self.rate)} left")
        parts.extend(f"{name}={human_figure(value)}" for name, value in self.figures.items())
        return printable(", ".join(parts))


class Console:
    """Says what is going on, on stderr. ``quiet``: warnings only; ``verbose``: details and tables too.

    ``NO_COLOR`` is respected. ``clock`` gives seconds; a test may hand in its own.
    """

    def __init__(
        self, quiet: bool = False, verbose: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self._clock = clock
        self._made: RichConsole | None = None
        self._progress: Progress | None = None

    @property
    def _rich(self) -> RichConsole:
        if self._made is None:
            from rich.console import Console as RichConsole

            self._made = RichConsole(stderr=True, highlight=False)
        return self._made

    def info(self, text: str) -> None:
        """One line, unless quiet. Not interpreted as markup."""
        if not self.quiet:
            self._print(text, None)

    def detail(self, text: str) -> None:
        """What few want to read, if verbose: the run directory holds it too."""
        if self.verbose:
            self.info(text)

    def warn(self, text: str) -> None:
        """One line that is shown even when quiet, with ``warning:`` before it."""
        self._print(f"warning: {text}", "yellow")

    def _print(self, text: str, style: str | None) -> None:
        if self._rich.is_terminal:
            if self._progress is not None:
                self._progress.refresh()  # so that the line and the bar below it tell the same
            self._rich.print(printable(text), style=style, markup=False, soft_wrap=True)
        else:
            echo(text, err=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A small table, if verbose; the first column is text, the others are aligned as figures."""
        if self.quiet or not self.verbose:
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(printable(title)), box=box.SIMPLE_HEAD, title_justify="left")
        for index, column in enumerate(columns):
            table.add_column(
                Text(printable(column)), justify="left" if index == 0 else "right", overflow="fold"
            )
        for row in rows:
            table.add_row(*(Text(printable(human_figure(v))) for v in row))
        self._rich.print(table)

    @contextmanager
    def task(
        self, description: str, total: int | None = None, unit: str = "", completed: int = 0
    ) -> Iterator[Task]:
        """Show the progress of one long step until the block ends; the last line has count, rate and time.

        ``total``: units in all, None if nobody knows; ``completed``: units that an earlier start has done.
        Tasks may be nested.
        """
        task = Task(total, unit, completed, self._clock)
        if self.quiet:
            yield task
            return
        stopped = True
        try:
            with self._bar(description, task) if self._rich.is_terminal else self._lines(description, task):
                yield task
            stopped = False
        finally:
            rate = f" ({human_figure(task.rate)}/s)" if task.rate is not None else ""
            figures = "".join(f", {name}={human_figure(value)}" for name, value in task.figures.items())
            verb = "stopped at " if stopped else ""
            took = human_seconds(task.seconds)
            self.info(f"{description}: {verb}{task.counted()} in {took}{rate}{figures}")

    @contextmanager
    def _lines(self, description: str, task: Task) -> Iterator[None]:
        """A first line, then at most one every few seconds."""
        last = float("-inf")

        def show() -> None:
            nonlocal last
            if self._clock() - last >= INTERVAL_SECONDS:
                last = self._clock()
                tail = task.tail()
                self.info(f"{description}: {task.counted()}" + (f", {tail}" if tail else ""))

        task.show = show
        show()
        yield

    @contextmanager
    def _bar(self, description: str, task: Task) -> Iterator[None]:
        """A line of the shared bar."""
        owner = self._progress is None
        progress = self._progress or self._start_bar()
        line = progress.add_task(
            printable(description),
            total=task.total,
            completed=task.done,
            counted=task.counted(),
            tail=task.tail(),
        )
        task.show = lambda: progress.update(
            line, completed=task.done, counted=task.counted(), tail=task.tail()
        )
        try:
            yield
        finally:
            progress.remove_task(line)
            if owner:
                progress.stop()
                self._progress = None

    def _start_bar(self) -> Progress:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[counted]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[tail]}", markup=False),
            console=self._rich,
            transient=True,
        )
        progress.start()
        self._progress = progress
        return progress
