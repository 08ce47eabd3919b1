"""The source of questions of one benchmark: finds its files, holds them to what they should be, reads them."""

from __future__ import annotations

import polars as pl

from dasd.api import (
    QUESTIONS,
    BadRow,
    InputError,
    LoadedFile,
    LoadedQuestions,
    QuestionRows,
    QuestionSource,
    SetAside,
)
from dasd_benchmarks.benchmark import Benchmark, BenchmarkOptions, Reader, Task
from dasd_benchmarks.files import read_rows, sha256_of
from dasd_benchmarks.locate import Found, locate
from dasd_benchmarks.prompts import fill

__all__ = ["BenchmarkQuestions"]


class BenchmarkQuestions:
    """Reads one benchmark, and says what it was read from."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark = benchmark

    def load(self, source: QuestionSource, split: str, seed: int) -> QuestionRows:
        """QUESTIONS rows in the files' order, at most ``source.count``; the split has to be "eval".

        Raises InputError for files that can't be had, whose checksum or number of questions is
        another than it should be, or of which more than half of the rows can't be used.
        """
        name = self.benchmark.name
        if split != "eval":
            raise InputError(
                f"{name}: a benchmark is evaluated on, not trained on; name it under questions.eval (its file can be "
                "trained on through the source `file`)"
            )
        options = self.benchmark.options.model_validate(source.options)
        found = locate(self.benchmark, options)
        sums = _checked_sums(name, found, options)
        reader = self.benchmark.reader(options, seed)
        tasks, rows_of, set_aside = self._read(found, reader, source, options)
        loaded = LoadedQuestions(
            source=name,
            files=tuple(
                LoadedFile(each.name, digest, rows, each.repository, each.revision)
                for each, digest, rows in zip(found, sums, rows_of, strict=True)
            ),
            selection=reader.selection,
            questions=tuple((task.question_id, task.remark) for task in tasks),
        )
        template = options.prompt or self.benchmark.prompt
        rows = pl.DataFrame(
            [
                {
                    "question_id": task.question_id,
                    "messages": [{"role": "user", "content": fill(template, task.fields)}],
                    "domain": source.domain or self.benchmark.domain,
                    "answer": task.answer,
                    "verifier": task.verifier,
                    "source": name,
                    "split": split,
                }
                for task in tasks
            ],
            schema=dict(QUESTIONS.columns),
        )
        return QuestionRows(rows, tuple(set_aside), loaded=loaded)

    def _read(
        self, found: list[Found], reader: Reader, source: QuestionSource, options: BenchmarkOptions
    ) -> tuple[list[Task], list[int], list[SetAside]]:
        """Tasks, at most ``source.count``, each file's number of rows, and the rows that can't be used."""
        tasks: list[Task] = []
        rows_of: list[int] = []
        unusable: list[SetAside] = []
        seen: dict[str, str] = {}
        bad = 0
        first = ""
        for file in found:
            rows = 0
            set_aside: list[BadRow] = []
            for number, row in read_rows(file.path):
                rows += 1
                if source.count is not None and len(tasks) >= source.count:
                    continue
                try:
                    if isinstance(row, ValueError):
                        raise row
                    task = reader.task(row)
                    if task is None:
                        continue
                    if task.question_id in seen:
                        raise ValueError(f"id {task.question_id!r} is taken by {seen[task.question_id]}")
                    seen[task.question_id] = f"row {number} of {file.name}"
                    tasks.append(task)
                except ValueError as error:
                    set_aside.append(BadRow(number, str(error)))
            rows_of.append(rows)
            bad += len(set_aside)
            if set_aside:
                first = first or f"{file.path}, row {set_aside[0].row}: {set_aside[0].reason}"
                unusable.append(SetAside(file.path, tuple(set_aside)))
        self._check(found, tasks, rows_of, bad, first, reader)
        if source.count is None:
            self._check_count(found, len(tasks) + bad, sum(rows_of), options)
        return tasks, rows_of, unusable

    def _check(
        self, found: list[Found], tasks: list[Task], rows_of: list[int], bad: int, first: str, reader: Reader
    ) -> None:
        files, rows = " and ".join(str(each.path) for each in found), sum(rows_of)
        if bad * 2 > rows:
            raise InputError(
                f"{self.benchmark.name}: {bad} of {rows} rows of {files} can't be used ({first}); is it the right file?"
            )
        if not tasks:
            asked = f" ({reader.selection})" if reader.selection else ""
            raise InputError(
                f"{self.benchmark.name}: none of the {rows} rows of {files} is a question of {self.benchmark.title}"
                f"{asked}; is it the right file?"
            )

    def _check_count(self, found: list[Found], questions: int, rows: int, options: BenchmarkOptions) -> None:
        wanted = self.benchmark.counts if options.expected is None else (options.expected,)
        came = rows if self.benchmark.counts_files and options.expected is None else questions
        if options.expected == 0 or came in wanted:
            return
        files = " and ".join(str(each.path) for each in found)
        raise InputError(
            f"{self.benchmark.name}: {files} holds {came} questions; wanted {' or '.join(map(str, wanted))}. If that "
            "is what you want to evaluate on, set the source's option `expected` to that number (0: any number)"
        )


def _checked_sums(name: str, found: list[Found], options: BenchmarkOptions) -> list[str]:
    """SHA-256 of each file; InputError for one that is another than the options say."""
    sums = [sha256_of(each.path) for each in found]
    if not options.sha256:
        return sums
    if len(options.sha256) != len(found):
        raise InputError(
            f"{name}: option `sha256` has {len(options.sha256)} sums for {len(found)} files "
            f"({', '.join(each.name for each in found)}); wanted one a file, in this order"
        )
    for each, got, wanted in zip(found, sums, options.sha256, strict=True):
        if got != wanted:
            raise InputError(
                f"{name}: {each.path} has the SHA-256 {got}; wanted {wanted} (the source's option `sha256`). It is "
                "another file than the one that was pinned, or a damaged one: fetch it again, or pin this one"
            )
    return sums
