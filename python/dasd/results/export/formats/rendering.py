"""Whether a chat template renders conversations into the tokens that dasd trains."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from dasd.base.progress import no_bars
from dasd.errors import InputError
from dasd.models.files import resolve_model
from dasd.plugins.exports import ExportRun

__all__ = ["rendering_problem"]

ROWS_TRIED = 32
"""Rows of each training that are rendered: templates treat them alike."""


def rendering_problem(run: ExportRun, advice: str) -> str | None:
    """A sentence where the template gives other tokens than those that dasd trains; None where it doesn't.

    What follows the end token and is blank (templates put a line break there) is no difference to the model.
    ``advice`` ends the sentence.
    """
    tried = differ = 0
    example = ""
    try:
        tokenizer = _tokenizer(run)
        for stage in run.stages:
            for frame in islice(stage.frames(trained_tokens=True), 1):
                rows = frame.head(ROWS_TRIED).select("messages", "response", "train_token_ids")
                for messages, response, wanted in rows.iter_rows():
                    tried += 1
                    got = _by_template(tokenizer, run, messages, response)
                    if got[: len(wanted)] == wanted and not tokenizer.decode(got[len(wanted) :]).strip():
                        continue
                    differ += 1
                    example = example or _difference(tokenizer, got, wanted)
    except InputError as error:
        return f"it isn't known how the student's chat template is rendered there: {error}{advice}"
    if not differ:
        return None
    return (
        f"the student's chat template is rendered otherwise there than dasd trains it, in {differ} of the first "
        f"{tried} rows ({example}){advice}"
    )


def _by_template(
    tokenizer: Any, run: ExportRun, messages: Sequence[dict[str, str]], response: str
) -> list[int]:
    """The conversation as a whole by the chat template, with the recipe's options of it."""
    from jinja2 import TemplateError

    options: dict[str, Any] = dict(run.student.chat_template_options)
    turns = [*messages, {"role": "assistant", "content": response}]
    try:
        return list(tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False, **options))
    except TemplateError as error:
        raise InputError(f"it refuses a conversation that ends with an answer ({error})") from error


def _tokenizer(run: ExportRun) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise InputError(f"that needs transformers ({error}): pip install 'dasd[torch]'") from error
    try:
        with no_bars():
            return AutoTokenizer.from_pretrained(
                resolve_model(run.student.model),
                revision=run.student.revision,
                trust_remote_code=run.student.trust_remote_code,
            )
    except (OSError, ValueError) as error:
        raise InputError(f"its tokenizer can't be loaded ({error})") from error


def _difference(tokenizer: Any, got: Sequence[int], wanted: Sequence[int]) -> str:
    pairs = enumerate(zip(got, wanted, strict=False))
    place = next((i for i, (a, b) in pairs if a != b), min(len(got), len(wanted)))
    there, here = tokenizer.decode(got[place : place + 8]), tokenizer.decode(wanted[place : place + 8])
    return f"at token {place} {there!r} for {here!r}"
