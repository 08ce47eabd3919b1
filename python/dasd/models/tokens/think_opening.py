"""What a response of one model looks like to another: the one place where chat templates that differ meet.

Templates of some reasoning models end the prompt with an opened ``<think>``, so their responses begin behind it;
others leave the tag to the model. A response is stored as its author wrote it. Whoever reads it (the student that
scores it or trains on it, the teacher that goes on from it, an export) gets the text that follows that reader's own
prompt, and what the reader says of it is given back in the author's bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import polars as pl

from dasd.base.records import Message, SampledTokens, ScoreRequest, ScoringSpec
from dasd.errors import InputError
from dasd.models.tokens.chat import ChatTokenizer
from dasd.recipe.model_settings import ModelSettings

if TYPE_CHECKING:
    from dasd.plugins.roles import OpenedTeacher

__all__ = [
    "CLOSE",
    "OPEN",
    "USUAL",
    "Reading",
    "ToScore",
    "View",
    "Vocabulary",
    "behind_tag",
    "prompt_opening",
    "teacher_opening",
]

OPEN, CLOSE = "<think>", "</think>"
USUAL = f"{OPEN}\n"
"""What a prompt that isn't known is taken to have ended with, where a response begins behind the tag."""

_NEEDED = ("sample_id", "question_id", "text", "finish_reason", "token_ids", "token_ends", "tokenizer_hash")
"""Columns of SAMPLES that are read to score them."""


def prompt_opening(chat: ChatTokenizer) -> str:
    """What the model's prompts end with from their opened think tag on, e.g. ``"<think>\\n"``; "" without one."""
    prompt = chat.decode(chat.prompt_ids((Message("user", "?"),)))
    return prompt[prompt.rindex(OPEN) :] if prompt.rstrip().endswith(OPEN) else ""


def teacher_opening(settings: ModelSettings) -> str | None:
    """The same of a teacher; None where its tokenizer isn't here, so that its prompts aren't known."""
    try:
        return prompt_opening(ChatTokenizer.load(settings))
    except InputError:
        return None


def behind_tag(text: str, opening: str) -> str:
    """``text`` without the think tag that it begins with and that a prompt which ends with ``opening`` holds.

    Of the white space behind the tag only what the prompt holds too goes. A text that begins otherwise comes back
    as it is, and so does every text where ``opening`` is ""; one that breaks off inside the tag is nothing yet.
    """
    begun = text.lstrip()
    if not opening or not begun:
        return text
    if not begun.startswith(OPEN):
        return "" if OPEN.startswith(begun) else text
    rest = begun.removeprefix(OPEN)
    for mark in opening.removeprefix(OPEN):
        if not rest.startswith(mark):
            break
        rest = rest.removeprefix(mark)
    return rest


@dataclass(frozen=True, slots=True)
class View:
    """One response as its reader sees it."""

    text: str
    added: int
    """Bytes at the beginning of ``text`` that the author's text lacks: its prompt held them."""
    held: int
    """Bytes at the beginning of the author's text that ``text`` lacks: the reader's prompt holds them."""

    def offset(self, end: int) -> int:
        """Where byte ``end`` of the author's text lies in ``text``; 0 stays 0."""
        return max(0, end - self.held) + self.added if end else 0


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Of an author and a reader whose token ids mean the same, whatever their templates are."""

    author_hash: str
    """``ChatTokenizer.hash`` of the author."""
    reader: ChatTokenizer


def _tokenizer_of(settings: ModelSettings) -> tuple[object, ...]:
    """What decides which tokenizer is loaded, and how it renders."""
    return settings.model, settings.revision, settings.trust_remote_code, settings.chat_template_options


@dataclass(frozen=True, slots=True)
class ToScore:
    """A response to score as its reader sees it, and what ``View`` says of it."""

    request: ScoreRequest
    added: int
    held: int

    @property
    def sample_id(self) -> str:
        """Of the response."""
        return self.request.sample_id


@dataclass(frozen=True, slots=True)
class Reading:
    """How the responses of an author look to a reader."""

    author: str | None
    """``prompt_opening`` of the author; None: not known, each response tells by itself."""
    reader: str
    """``prompt_opening`` of the reader."""
    vocabulary: Vocabulary | None = None
    """Set where templates differ and tokens don't, so that tokens as sampled can be scored by the reader."""

    @classmethod
    def of(
        cls, teacher: ModelSettings, student: ModelSettings, reader: ChatTokenizer | None = None
    ) -> Reading:
        """The teacher's responses as the student reads them. InputError where the student's tokenizer isn't here.

        ``reader``: the student's tokenizer, where it is loaded; a large vocabulary takes seconds.
        """
        reader = reader or ChatTokenizer.load(student)
        opened = prompt_opening(reader)
        if _tokenizer_of(teacher) == _tokenizer_of(student):
            return cls(opened, opened)
        try:
            author = ChatTokenizer.load(teacher)
        except InputError:
            return cls(None, opened)
        same = author.hash != reader.hash and author.vocabulary_hash == reader.vocabulary_hash
        return cls(prompt_opening(author), opened, Vocabulary(author.hash, reader) if same else None)

    def back(self) -> Reading:
        """The reader's responses as the author reads them."""
        return Reading(self.reader, self.author or "")

    @property
    def changes(self) -> bool:
        """Whether any response may look different to its reader."""
        return self.author != self.reader

    def opened(self, text: str) -> str:
        """What the author's prompt ended with before this response.

        Where that isn't known: a response that closes a thought and opens none began behind the tag.
        """
        if self.author is not None:
            return self.author
        return USUAL if CLOSE in text and OPEN not in text else ""

    def view(self, text: str) -> View:
        """A response, whole or broken off, as the reader sees it.

        Where the author's prompt opens the thought and the reader's doesn't, the text begins with the tag; the
        other way round it begins behind it. A response without any thought is, behind a prompt that opens one, an
        empty thought and then the response.
        """
        if not self.changes or not (text or self.author):
            return View(text, 0, 0)
        whole = self.opened(text) + text
        if not self.reader or OPEN in whole or CLOSE in whole or OPEN.startswith(whole.strip()):
            seen = behind_tag(whole, self.reader)
        else:
            seen = f"{'' if self.reader.endswith(chr(10)) else chr(10)}\n{CLOSE}\n\n{whole}"
        size, own = len(seen.encode()), len(text.encode())
        return View(seen, max(0, size - own), max(0, own - size))

    def texts(self, texts: pl.Series) -> pl.Series:
        """The author's texts as the reader sees them."""
        if not self.changes:
            return texts
        return pl.Series(texts.name, [self.view(text).text for text in texts], dtype=pl.String)

    def to_score(self, samples: pl.DataFrame, messages: Mapping[str, Sequence[Message]]) -> list[ToScore]:
        """SAMPLES rows as what to ask the reader; a written end is scored too. ``messages`` by question_id."""
        return [
            ToScore(
                ScoreRequest(
                    sample_id,
                    tuple(messages[question]),
                    (view := self.view(text)).text,
                    ended=reason == "stop",
                    sampled=self._tokens(view, SampledTokens(ids, ends, tokenizer), reason == "stop"),
                ),
                view.added,
                view.held,
            )
            for sample_id, question, text, reason, ids, ends, tokenizer in samples.select(_NEEDED).iter_rows()
        ]

    def scored(
        self, reader: OpenedTeacher, asked: Iterable[ToScore], spec: ScoringSpec
    ) -> Iterator[pl.DataFrame]:
        """SCORES or TOP_SCORES rows of responses under ``reader``, with ``token_ends`` in the author's text.

        Tokens of what the author's prompt held are left out: the author had no part in them, they are context.
        """
        under_way: dict[str, ToScore] = {}

        def refused(sample_id: str, reason: str) -> None:
            under_way.pop(sample_id)
            spec.on_refused(sample_id, reason)

        def requests() -> Iterator[ScoreRequest]:
            for each in asked:
                under_way[each.sample_id] = each
                yield each.request

        for rows in reader.score(requests(), replace(spec, on_refused=refused)):
            yield self._returned(rows, [under_way.pop(sample_id) for sample_id in rows["sample_id"]])

    def shared(self, samples: pl.DataFrame) -> pl.DataFrame:
        """SAMPLES rows without the author's tokens of what the reader's prompt holds.

        What is left is what both models wrote or would have to write, so their log-probabilities can be compared.
        ``samples`` holds text, finish_reason and token_ends; of token_ids and logprobs those that are there are cut.
        """
        if not self.reader or not self.changes:
            return samples
        held = [self.view(text).held for text in samples["text"]]
        return _without(samples, held, samples["finish_reason"] == "stop") if any(held) else samples

    def _tokens(self, view: View, sampled: SampledTokens, ended: bool) -> SampledTokens | None:
        """The tokens as sampled where the reader can score them: of all of its text, or behind those of the tag."""
        known = self.vocabulary
        if known is None or sampled.tokenizer_hash != known.author_hash:
            return None if view.added or view.held else sampled
        ids, ends = known.reader.encode_response(view.text.encode()[: view.added].decode(), ended=False)
        body = sampled.token_ends[: len(sampled.token_ends) - ended]
        skip = sum(end <= view.held for end in body) if view.held else 0
        if view.held and (not skip or body[skip - 1] != view.held):
            return None  # a token reaches out of the prompt into the response
        return SampledTokens(
            [*ids, *sampled.token_ids[skip:]],
            [*ends, *(end - view.held + view.added for end in sampled.token_ends[skip:])],
            known.reader.hash,
        )

    def _returned(self, scores: pl.DataFrame, asked: Sequence[ToScore]) -> pl.DataFrame:
        if not self.changes:
            return scores
        cut = _without(scores, [each.added for each in asked], [each.request.ended for each in asked])
        shift = pl.lit(pl.Series([each.held - each.added for each in asked], dtype=pl.Int64))
        moved = pl.col("token_ends").cast(pl.List(pl.Int64)) + shift
        return cut.with_columns(token_ends=moved.cast(scores.schema["token_ends"]))


def _without(rows: pl.DataFrame, sizes: Sequence[int], ended: Iterable[bool]) -> pl.DataFrame:
    """``rows`` without the tokens that end within the first ``sizes`` bytes; a written end stays in any case.

    With the tokens go their likeliest ones of TOP_SCORES: as many a token as the row has of them.
    """
    skipped = [
        min(int(ends.search_sorted(size, side="right")), len(ends) - end) if size else 0
        for ends, size, end in zip(rows["token_ends"], sizes, ended, strict=True)
    ]
    skip = pl.lit(pl.Series(skipped, dtype=pl.Int64))
    each = [name for name in ("token_ids", "token_ends", "logprobs") if name in rows.columns]
    several = [name for name in ("top_ids", "top_logprobs") if name in rows.columns]
    tokens = pl.col("token_ends").list.len().cast(pl.Int64).clip(1)
    return rows.with_columns(
        *(pl.col(name).list.slice(skip, None) for name in each),
        *(pl.col(name).list.slice(skip * pl.col(name).list.len() // tokens, None) for name in several),
    )
