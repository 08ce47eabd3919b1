"""Questions from a file of the user's: JSON lines, Parquet or CSV.

A row that can't be used is set aside with its number and the reason. The file is refused when no row is left
or more than half of the rows are bad: then the file isn't what the recipe takes it for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from dasd.base.records import BadRow, QuestionRows, SetAside
from dasd.base.seeds import uniform
from dasd.curation.sources.rows import (
    QUESTION_COLUMNS,
    first_of,
    messages_of,
    question_id,
    question_row,
    questions_frame,
    text_of,
    verifier_of,
)
from dasd.curation.sources.values import ValueFile
from dasd.plugins.components import Options
from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.verifier_settings import VerifierSettings

__all__ = ["FileOptions", "FileQuestions"]

ID_COLUMNS = ("question_id", "id")


class FileOptions(Options):
    """Options of the source ``file``."""

    path: str = Field(description="A .jsonl, .parquet or .csv file.")
    question: str | None = Field(
        None,
        description="Column of the question, a text or a list of messages; when absent the first there is of "
        "messages, question, prompt, input, problem.",
    )
    answer: str = Field("answer", description="Column of the reference answer; it need not be there.")
    id: str | None = Field(
        None, description="Column of the id; when absent question_id or id, else a hash of the messages."
    )
    domain: str = Field("domain", description="Column of the domain; it need not be there.")
    verifier: VerifierSettings = Field(
        VerifierSettings(name="math"),
        description="Verifier of rows that have an answer and no `verifier` of their own: `name`, `name:argument`, or "
        "`{name: ..., options: {...}}`.",
    )
    holdout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the questions, by a hash of their text, that belongs to evaluation. With it, "
        "one file serves as a source of both splits; 0: every question belongs to the split that asks.",
    )
    repeats: bool = Field(
        False,
        description="Rows may repeat a question, as those of a file of responses do: the first counts and "
        "nothing is said of the others.",
    )


class FileQuestions:
    """Reads QUESTIONS rows from a JSONL, Parquet or CSV file."""

    def load(self, source: QuestionSource, split: str, seed: int) -> QuestionRows:
        """QUESTIONS rows of ``split``, in the file's order, at most ``source.count``.

        Raises InputError for a missing or unreadable file, for one without a good row,
        and for one of which more than half of the rows are bad.
        """
        del seed  # the file's order decides
        options = FileOptions.model_validate(source.options)
        path = Path(options.path)
        values = ValueFile(path, "question")
        reader = _Reader(options, source.domain or "general", path.stem, split)
        bad = values.read(reader.add, "; mend the file, or name its columns in the source's options")
        unusable = sorted([*bad, *reader.duplicates], key=lambda row: row.row)
        rows = reader.rows[: source.count]
        places = {
            str(row["question_id"]): f"{path.name}, row {number}"
            for row, number in zip(rows, reader.numbers, strict=False)
        }
        set_aside = (SetAside(path, tuple(unusable)),) if unusable else ()
        return QuestionRows(questions_frame(rows), set_aside, places)


class _Reader:
    """Turns a file's values into rows and keeps what it has seen, to set duplicates aside."""

    def __init__(self, options: FileOptions, domain: str, source: str, split: str) -> None:
        self.options, self.domain, self.source, self.split = options, domain, source, split
        self.rows: list[dict[str, object]] = []
        self.numbers: list[int] = []
        """In the file, of ``rows``."""
        self.duplicates: list[BadRow] = []
        self._first_by_content: dict[str, int] = {}
        self._first_by_id: dict[str, int] = {}

    def add(self, number: int, value: dict[str, object]) -> None:
        """Take one value; ValueError says why it can't be a question."""
        columns = (self.options.question,) if self.options.question else QUESTION_COLUMNS
        messages = messages_of(first_of(value, columns))
        answer = text_of(value.get(self.options.answer), self.options.answer)
        verifier = verifier_of(value.get("verifier"))
        if answer is not None and verifier is None:
            verifier = self.options.verifier.text
        identifier = self._identifier(value)
        domain = text_of(value.get(self.options.domain), self.options.domain) or self.domain
        content = question_id(messages)
        if not self._unseen(number, content, identifier or content):
            return
        if self.options.holdout and (uniform("holdout", content) < self.options.holdout) != (
            self.split == "eval"
        ):
            return
        self.numbers.append(number)
        self.rows.append(
            question_row(
                messages,
                identifier=identifier,
                domain=domain,
                answer=answer,
                verifier=verifier,
                source=self.source,
                split=self.split,
            )
        )

    def _identifier(self, value: Mapping[str, object]) -> str | None:
        for column in (self.options.id,) if self.options.id else ID_COLUMNS:
            identifier = text_of(value.get(column), column)
            if identifier:
                return identifier
        return None

    def _unseen(self, number: int, content: str, identifier: str) -> bool:
        if content in self._first_by_content:
            if self.options.repeats:
                return False
            self.duplicates.append(BadRow(number, f"same question as row {self._first_by_content[content]}"))
            return False
        if identifier in self._first_by_id:
            first = self._first_by_id[identifier]
            self.duplicates.append(BadRow(number, f"id {identifier!r} is taken by row {first}"))
            return False
        self._first_by_content[content] = number
        self._first_by_id[identifier] = number
        return True
