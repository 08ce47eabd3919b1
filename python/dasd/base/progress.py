"""Progress and messages for people, on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from dasd.base.printable import echo, printable

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.progress import Progress, TaskID

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


class Task(Protocol):
    """One long step that is under way."""

    def advance(self, n: int = 1, **figures: Figure) -> None:
        """``n`` more units are done; ``figures`` are shown from now on, e.g. ``loss=0.71``."""
        ...


class _Count:
    """Units, figures and rate of one task. ``completed`` units were there before it began."""

    def __init__(self, total: int | None, unit: str, completed: int, clock: Callable[[], float]) -> None:
        self.total = total
        self.unit = unit
        self.done = completed
        self.figures: dict[str, Figure] = {}
        self._before = completed
        self._clock = clock
        self._start = clock()

    def add(self, n: int, figures: dict[str, Figure]) -> None:
        self.done += n
        self.figures.update(figures)

    @property
    def seconds(self) -> float:
        return self._clock() - self._start

    @property
    def rate(self) -> float | None:
        """Units a second since the task began; None before the first."""
        new, seconds = self.done - self._before, self.seconds
        return new / seconds if new > 0 and seconds > 0 else None

    def counted(self) -> str:
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


class _PlainTask:
    """A first line, then at most one every few seconds."""

    def __init__(self, console: Console, description: str, count: _Count, clock: Callable[[], float]) -> None:
        self._console = console
        self._description = description
        self._count = count
        self._clock = clock
        self._last = clock()
        self._say()

    def advance(self, n: int = 1, **figures: Figure) -> None:
        self._count.add(n, figures)
        if self._clock() - self._last >= INTERVAL_SECONDS:
            self._last = self._clock()
            self._say()

    def _say(self) -> None:
        tail = self._count.tail()
        self._console.info(f"{self._description}: {self._count.counted()}" + (f", {tail}" if tail else ""))


class _BarTask:
    """A line of the shared bar."""

    def __init__(self, progress: Progress, task: TaskID, count: _Count) -> None:
        self._progress = progress
        self._task = task
        self._count = count

    def advance(self, n: int = 1, **figures: Figure) -> None:
        self._count.add(n, figures)
        self._progress.update(
            self._task, completed=self._count.done, counted=self._count.counted(), tail=self._count.tail()
        )


class _QuietTask:
    def advance(self, n: int = 1, **figures: Figure) -> None:
        del n, figures


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
        count = _Count(total, unit, completed, self._clock)
        if self.quiet:
            yield _QuietTask()
            return
        stopped = True
        try:
            if self._rich.is_terminal:
                with self._bar(description, count) as task:
                    yield task
            else:
                yield _PlainTask(self, description, count, self._clock)
            stopped = False
        finally:
            rate = f" ({human_figure(count.rate)}/s)" if count.rate is not None else ""
            figures = "".join(f", {name}={human_figure(value)}" for name, value in count.figures.items())
            verb = "stopped at " if stopped else ""
            took = human_seconds(count.seconds)
            self.info(f"{description}: {verb}{count.counted()} in {took}{rate}{figures}")

    @contextmanager
    def _bar(self, description: str, count: _Count) -> Iterator[Task]:
        owner = self._progress is None
        progress = self._progress or self._start_bar()
        task = progress.add_task(
            printable(description),
            total=count.total,
            completed=count.done,
            counted=count.counted(),
            tail=count.tail(),
        )
        try:
            yield _BarTask(progress, task, count)
        finally:
            progress.remove_task(task)
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
