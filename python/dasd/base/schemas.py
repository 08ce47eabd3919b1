"""Schemas of every frame that a stage writes or a plugin returns, and the check that holds them.

Lists of token data: ``token_ids`` u32, ``token_ends`` u32 byte offsets into ``text`` at which each token
ends, ``logprobs`` f32 natural logarithms at temperature 1.
A token that ends where the one before it does stands for no part of the text: the end token, the headers of a chat
format. Tokens that write one character together each cover some of its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from dasd.errors import SchemaError

_MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
_U32S = pl.List(pl.UInt32)
_F32S = pl.List(pl.Float32)


@dataclass(frozen=True, slots=True)
class Schema:
    """Columns of a frame in order, and which of them may hold nulls."""

    name: str
    columns: Mapping[str, pl.DataType | type[pl.DataType]]
    nullable: frozenset[str] = frozenset()

    def empty(self) -> pl.DataFrame:
        """A frame of no rows."""
        return pl.DataFrame(schema=dict(self.columns))


QUESTIONS = Schema(
    "questions",
    {
        "question_id": pl.String,
        "messages": _MESSAGES,
        "domain": pl.String,
        "answer": pl.String,
        "verifier": pl.String,
        "source": pl.String,
        "split": pl.String,  # "train" or "eval"
    },
    frozenset({"answer", "verifier"}),
)

ASKED = Schema("asked", {"stage": pl.String, "question_id": pl.String})
"""Questions of an off-policy training, by its name; written where one has sources of its own."""

PLACES = Schema("places", {"question_id": pl.String, "place": pl.String})
"""Where a question is from, e.g. "mine.jsonl, row 41", of those whose source says it."""

SET_ASIDE = Schema(
    "set_aside",
    {
        "question_id": pl.String,  # as its source calls it: a question that stays may have the same id
        "messages": _MESSAGES,
        "source": pl.String,
        "split": pl.String,
        "place": pl.String,  # where it is from, e.g. "mine.jsonl, row 41"
        "reason": pl.String,
        "detail": pl.String,
    },
    frozenset({"place"}),
)

SAMPLES = Schema(
    "samples",
    {
        "sample_id": pl.String,
        "question_id": pl.String,
        "stage": pl.String,
        "candidate": pl.UInt32,
        "text": pl.String,
        "token_ids": _U32S,
        "token_ends": _U32S,
        "logprobs": _F32S,
        "logprobs_mode": pl.String,  # "raw" (temperature 1, unprocessed), "processed" or "none"
        "temperature": pl.Float32,
        "top_p": pl.Float32,
        "seed": pl.UInt64,
        "finish_reason": pl.String,  # "stop" or "length"
        "prefix_end": pl.UInt32,  # bytes of text that were given to the model, 0 for a plain sample
        "model": pl.String,
        "model_revision": pl.String,
        "tokenizer_hash": pl.String,
        "engine": pl.String,
        "engine_version": pl.String,
    },
    frozenset({"logprobs"}),
)

DRAW = (
    "candidate",
    "temperature",
    "top_p",
    "seed",
    "finish_reason",
    "model",
    "model_revision",
    "engine",
    "engine_version",
)
"""Columns of SAMPLES that say how a response was drawn; exports carry them, and imports take them back."""

SCORES = Schema(
    "scores",
    {
        "sample_id": pl.String,
        "model": pl.String,
        "token_ids": _U32S,
        "token_ends": _U32S,
        "logprobs": _F32S,
    },
)

TOP_SCORES = Schema(
    "top_scores",
    {
        **SCORES.columns,
        "top_ids": _U32S,  # K likeliest tokens at each position, likeliest first: K ids a token, one behind the other
        "top_logprobs": _F32S,  # of these, in the same order
    },
)
"""Scores with the likeliest tokens of each position. K is the same for all tokens of a row."""

SENTENCES = Schema(
    "sentences",
    {
        "sample_id": pl.String,
        "sentence": pl.UInt32,
        "start": pl.UInt32,
        "end": pl.UInt32,
        "p_teacher": pl.Float32,
        "p_student": pl.Float32,
        "p_distilled": pl.Float32,
        "kind": pl.String,  # teacher, student, common; shared and boosted once a distilled model has scored
    },
    frozenset({"p_distilled"}),
)

ANSWER_SENTENCES = Schema(
    "answer_sentences",
    {
        "sample_id": pl.String,  # of the answer: BENCHMARK/QUESTION_ID/ATTEMPT
        "correct": pl.Boolean,
        **{name: kind for name, kind in SENTENCES.columns.items() if name != "sample_id"},
    },
)
"""Sentences of a few of the distilled student's own answers, for the report; kinds by three models."""

VERDICTS = Schema(
    "verdicts",
    {
        "sample_id": pl.String,
        "stage": pl.String,
        "kept": pl.Boolean,
        "reason": pl.String,
        "detail": pl.String,
    },
)

TRAIN = Schema(
    "train",
    {
        "sample_id": pl.String,
        "token_ids": _U32S,
        "loss_mask": _U32S,  # run lengths: masked, trained, masked, trained, ...
        "weight": pl.Float32,
        "stage": pl.String,
    },
)

ON_POLICY_TRAIN = Schema(
    "on_policy_train",
    {
        **TRAIN.columns,
        # One value a trained token; null in the rows that the teacher wrote, which are trained by cross-entropy.
        "sampled_logprobs": _F32S,  # of the student that sampled them
        "token_weights": _F32S,  # log q - log p of the token's span, in nats: how much better the teacher likes it
        # K a trained token, one behind the other; null in the sampled form of the loss, and in the teacher's rows.
        "top_ids": _U32S,
        "top_logprobs": _F32S,
    },
    frozenset({"sampled_logprobs", "token_weights", "top_ids", "top_logprobs"}),
)
"""TRAIN rows of an on-policy round: the student's own responses with what the teacher says of each of their tokens."""

EVAL = Schema(
    "eval",
    {
        "benchmark": pl.String,
        "question_id": pl.String,
        "attempt": pl.UInt32,
        "text": pl.String,
        "extracted": pl.String,
        "correct": pl.Boolean,
        "finish_reason": pl.String,
        "tokens": pl.UInt32,
        "seconds": pl.Float32,
    },
    frozenset({"extracted"}),
)

METRICS = Schema(
    "metrics",
    {
        "checkpoint": pl.String,  # "before", then the name of the training stage
        "benchmark": pl.String,
        "metric": pl.String,  # accuracy, length_tokens, cut_off_rate, kl_nats_per_response, ...
        "group": pl.String,  # "all", or one domain
        "value": pl.Float64,
        "standard_error": pl.Float64,
        "n": pl.UInt32,  # questions (or held-out samples) that the standard error is over
    },
    frozenset({"standard_error"}),
)

REFUSED = Schema(
    "refused",
    {
        "sample_id": pl.String,  # of an answer in an evaluation: BENCHMARK/QUESTION_ID/ATTEMPT
        "question_id": pl.String,
        "reason": pl.String,
    },
)
"""Requests that an engine refused while it served others; they have no row in the stage's other frames."""

LOSSES = Schema(
    "losses",
    {
        "stage": pl.String,
        "step": pl.UInt32,
        "epoch": pl.Float32,
        "loss": pl.Float64,
        "learning_rate": pl.Float64,
        "grad_norm": pl.Float64,
        "tokens": pl.UInt64,
        "seconds": pl.Float64,
    },
)

ON_POLICY_LOSSES = Schema(
    "on_policy_losses",
    {
        **LOSSES.columns,
        # Means over the step's tokens that the student sampled, before it changes; nats a token; null without any.
        "kl_from_start": pl.Float64,  # KL( student of the round's start || student )
        "entropy": pl.Float64,  # of the student
        "reverse_kl": pl.Float64,  # KL( student of the round's start || teacher )
        "forward_kl": pl.Float64,  # KL( teacher || student ) there; null in the sampled form too
    },
    frozenset({"kl_from_start", "entropy", "reverse_kl", "forward_kl"}),
)
"""LOSSES of an on-policy training."""

ALL: Mapping[str, Schema] = {
    schema.name: schema
    for schema in (
        QUESTIONS,
        ASKED,
        PLACES,
        SET_ASIDE,
        SAMPLES,
        SCORES,
        TOP_SCORES,
        SENTENCES,
        ANSWER_SENTENCES,
        VERDICTS,
        TRAIN,
        ON_POLICY_TRAIN,
        EVAL,
        METRICS,
        REFUSED,
        LOSSES,
        ON_POLICY_LOSSES,
    )
}


def check(frame: pl.DataFrame, schema: Schema, origin: str) -> pl.DataFrame:
    """Hold ``frame`` against ``schema`` and return it with its columns in the schema's order.

    ``origin`` names who made the frame (``"teacher 'echo' (plugin dasd-echo)"``) for the message.
    Raises SchemaError naming origin, column, the type wanted and the type that came.
    """
    missing = [name for name in schema.columns if name not in frame.columns]
    extra = [name for name in frame.columns if name not in schema.columns]
    if missing or extra:
        raise SchemaError(
            f"{origin} returned {schema.name} rows with "
            + " and ".join(
                part
                for part in (
                    f"missing columns {missing}" if missing else "",
                    f"unknown columns {extra}" if extra else "",
                )
                if part
            )
            + f"; wanted exactly {list(schema.columns)}"
        )
    for name, wanted in schema.columns.items():
        got = frame.schema[name]
        if got != wanted:
            raise SchemaError(f"{origin} returned {schema.name}.{name} as {got}; wanted {wanted}")
        if name not in schema.nullable and frame.get_column(name).null_count():
            row = frame.get_column(name).is_null().arg_max()
            raise SchemaError(
                f"{origin} returned {schema.name}.{name} with a null in row {row}; this column can't be null"
            )
    return frame.select(list(schema.columns))


CANDIDATES = Schema(
    "candidates",
    {
        "sample_id": pl.String,
        "question_id": pl.String,
        "candidate": pl.UInt32,
        "text": pl.String,
        "teacher_tokens": pl.UInt32,  # as the teacher sampled them, what `dasd inspect` shows
        "student_tokens": pl.UInt32,  # of the same text by the student's tokenizer
        "sentences": pl.UInt32,
        "teacher": pl.UInt32,  # number of Teacher sentences at the recipe's beta
        "student": pl.UInt32,  # number of Student sentences
        "common": pl.UInt32,  # number of the others
        "mean_delta": pl.Float32,  # mean over sentences of p_teacher - p_student
        "teacher_mean_logprob": pl.Float32,  # nats a token, over teacher_tokens; NaN where unknown
        "student_mean_logprob": pl.Float32,  # nats a token, over student_tokens, before any training
    },
    frozenset({"mean_delta"}),
)
"""A question's candidates as a selector sees them, a row a response. Both numbers of tokens count the end token. A sum
of log-probabilities is a mean times the same model's tokens; a mean over the other's tokens means nothing."""
