"""A run directory with synthetic responses for the curation stages, built through the store's own writers.

Responses look like a reasoning teacher's: heavy-tailed lengths, Zipf words, sentences and paragraphs, think
tags, and a few that are cut off, loop, call tools or repeat another response to the same question. Their text
is what their tokens decode to. Stages ``questions``, ``sample-low`` and ``score-low`` are filled from a seed;
``filter-low``, ``dedup-low`` and ``select-low`` are the real ones and wait to be run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import JsonValue

from dasd.base.frames import kept_set, only
from dasd.base.progress import Console
from dasd.base.schemas import QUESTIONS, SAMPLES, SCORES
from dasd.models.tokens.chat import ChatTokenizer
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.stages.dedup import DedupStage
from dasd.pipeline.stages.filter import FilterStage
from dasd.pipeline.stages.select import SelectStage
from dasd.pipeline.work.stage import Stage, StageContext
from dasd.pipeline.work.units import finish_rows, units
from dasd.plugins.host import PluginHost
from dasd.plugins.recipe import Recipe
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.stage_settings import OffPolicyStage

__all__ = ["MEASURED", "Size", "make_model", "pipeline_of", "prepare"]

MEASURED = ("filter-low", "dedup-low", "select-low")
"""The stages under test."""

LONGEST = 65_536
WORDS = 20_000
STARTERS = 500
OPEN, CLOSE, END, EOS = "<think>", "</think>", ".", "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
U32s = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Size:
    """How much to build."""

    questions: int
    candidates: int = 4
    mean_tokens: int = 2000
    chunk: int = 256
    """Responses a Parquet file."""
    seed: int = 0


def words(seed: int) -> list[str]:
    """Different made-up words of two to nine letters, the frequent ones short."""
    rng = np.random.default_rng(seed)
    syllables = [a + b for a in "bdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "in", "or")]
    found: dict[str, None] = {}
    while len(found) < WORDS:
        count = 1 + int(len(found) > 80) + int(len(found) > 4000 and rng.random() < 0.7)
        found["".join(rng.choice(syllables, count))] = None
    return list(found)


def make_model(directory: Path, seed: int = 0, *, reverse: bool = False) -> Path:
    """A model directory with a byte-level BPE tokenizer that has every word as one token, and no weights.

    ``reverse`` numbers the tokens the other way round: another tokenizer, with another hash.
    """
    from safetensors.numpy import save_file
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary: dict[str, None] = dict.fromkeys(sorted(pre_tokenizers.ByteLevel.alphabet()))
    merges: dict[tuple[str, str], None] = {}
    plain = words(seed)
    for word in [f"Ġ{w}" for w in plain] + [f"Ġ{w.title()}" for w in plain[:STARTERS]] + plain:
        for cut in range(1, len(word)):
            merges[word[:cut], word[cut]] = None
            vocabulary[word[: cut + 1]] = None
    tokens = list(vocabulary)[:: -1 if reverse else 1]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in ("<|im_start|>", EOS)]
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in (OPEN, CLOSE)])
    wrapped: Any = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS)  # type: ignore[no-untyped-call]
    wrapped.chat_template = TEMPLATE
    wrapped.save_pretrained(directory)
    (directory / "config.json").write_text(json.dumps({"model_type": "llama"}))
    save_file({"none": np.zeros(1, np.float32)}, directory / "model.safetensors")
    return directory


class Writer:
    """Draws responses in a model's tokens."""

    def __init__(self, model: str, seed: int) -> None:
        self.chat = ChatTokenizer.load(ModelSettings(model=model))
        plain = words(seed)
        self.words = self._ids([f" {w}" for w in plain])
        self.starters = self._ids([f" {w.title()}" for w in plain[:STARTERS]])
        self.open, self.close, self.end, self.line = self._ids([OPEN, CLOSE, END, "\n"]).tolist()
        rng = np.random.default_rng(seed)
        draws = np.minimum(rng.zipf(1.25, 1 << 20) - 1, WORDS - 1)
        self.pool = self.words[draws]
        pieces = [self.chat.decode([n]).encode() for n in range(self.chat.vocab_size)]
        pieces[self.chat.eos_id] = b""
        self.bytes = np.frombuffer(b"".join(pieces), np.uint8)
        self.widths = np.fromiter(map(len, pieces), np.uint32, len(pieces))
        self.starts = np.cumsum(self.widths, dtype=np.uint32) - self.widths

    def _ids(self, texts: Sequence[str]) -> U32s:
        found = [self.chat.encode_response(text, ended=False)[0] for text in texts]
        assert all(len(ids) == 1 for ids in found)
        return np.array(found, np.uint32)[:, 0]

    def prose(self, rng: np.random.Generator, count: int) -> U32s:
        """``count`` tokens: sentences of about 20 words, a new paragraph after about eight of them."""
        ids = self.pool[rng.integers(0, len(self.pool), count)]
        ends = np.cumsum(rng.integers(8, 33, count // 8 + 1))
        ends = ends[ends < count - 3]
        ids[ends] = self.end
        breaks = ends[rng.random(len(ends)) < 0.125]
        ids[ends + 1] = self.starters[rng.integers(0, STARTERS, len(ends))]
        ids[breaks + 1] = ids[breaks + 2] = self.line
        return ids

    def response(self, rng: np.random.Generator, length: int) -> U32s:
        """Reasoning between think tags and an answer, the end token last; one in a hundred loops."""
        ids = self.prose(rng, length)
        if rng.random() < 0.01:
            part = length // 4
            ids[-part - 2 : -2] = np.resize(ids[:40], part)
        ids[0], ids[-1] = self.open, self.chat.eos_id
        ids[max(1, length - max(4, length // 10))] = self.close
        return ids

    def text(self, ids: U32s) -> tuple[str, U32s]:
        """What the tokens decode to, and the byte offsets at which they end."""
        widths = self.widths[ids]
        ends = np.cumsum(widths, dtype=np.uint32)
        places = np.repeat(self.starts[ids] - (ends - widths), widths) + np.arange(ends[-1], dtype=np.uint32)
        return self.bytes[places].tobytes().decode(), ends


def candidates_of(writer: Writer, rng: np.random.Generator, size: Size) -> list[tuple[U32s, str]]:
    """Token ids and finish reason of one question's responses."""
    found: list[tuple[U32s, str]] = []
    lengths = rng.lognormal(np.log(size.mean_tokens) - 0.5, 1.0, size.candidates)
    for length in np.clip(lengths, 32, LONGEST).astype(int):
        draw = rng.random()
        if found and draw < 0.02:
            found.append(found[0])
        elif found and draw < 0.04:
            near = found[0][0].copy()
            near[len(near) // 2] = writer.words[0]
            found.append((near, "stop"))
        elif draw < 0.09:
            found.append((writer.response(rng, length)[:-1], "length"))
        else:
            found.append((writer.response(rng, length), "stop"))
    return found


@dataclass(frozen=True, slots=True)
class MadeQuestions:
    """Stage ``questions``: distinct questions of some forty words, and a hundred for evaluation."""

    size: Size
    model: str
    name: str = "questions"
    kind: str = field(default="questions", init=False)
    needs: tuple[str, ...] = field(default=(), init=False)

    def settings(self) -> Mapping[str, JsonValue]:
        """The size."""
        return {"size": asdict(self.size)}

    def run(self, context: StageContext) -> None:
        """Write both splits."""
        writer = Writer(self.model, self.size.seed)
        rng = np.random.default_rng([self.size.seed, 1])
        for split, count in (("train", self.size.questions), ("eval", 100)):
            for unit in units(count, 4096, split):
                rows = []
                for n in range(unit.start, unit.stop):
                    text, _ = writer.text(writer.prose(rng, int(rng.integers(24, 64))))
                    messages = [
                        {"role": "system", "content": "You are a helpful assistant."},
                        {"role": "user", "content": text},
                    ]
                    rows.append((f"{split}-{n:09d}", messages, "made", None, None, "made", split))
                frame = pl.DataFrame(rows, schema=dict(QUESTIONS.columns), orient="row")
                finish_rows(context, "questions", frame, unit)


@dataclass(frozen=True, slots=True)
class MadeSamples:
    """Stage ``sample-low``."""

    size: Size
    model: str
    name: str = "sample-low"
    kind: str = field(default="sample", init=False)
    needs: tuple[str, ...] = field(default=("questions",), init=False)

    def settings(self) -> Mapping[str, JsonValue]:
        """The size."""
        return {"size": asdict(self.size)}

    def run(self, context: StageContext) -> None:
        """Write the responses, question by question."""
        writer = Writer(self.model, self.size.seed)
        for unit in units(self.size.questions * self.size.candidates, self.size.chunk):
            rows = list(self._rows(writer, unit.start, unit.stop))
            frame = pl.DataFrame(rows, schema=dict(SAMPLES.columns), orient="row")
            finish_rows(context, "samples", frame, unit)

    def _rows(self, writer: Writer, start: int, stop: int) -> Iterator[tuple[object, ...]]:
        every = self.size.candidates
        for question in range(start // every, -(-stop // every)):
            rng = np.random.default_rng([self.size.seed, 2, question])
            for candidate, (ids, finish) in enumerate(candidates_of(writer, rng, self.size)):
                row = question * every + candidate
                if start <= row < stop:
                    text, ends = writer.text(ids)
                    logprobs = -rng.exponential(0.4, len(ids)).astype(np.float32)
                    yield (
                        *(f"{row * 0x9E3779B97F4A7C15 % 2**128:032x}", f"train-{question:09d}", self.name),
                        *(candidate, text, pl.Series(ids), pl.Series(ends), pl.Series(logprobs), "raw"),
                        *(1.0, 1.0, row, finish, 0, self.model, "made", writer.chat.hash, "made", "1"),
                    )


@dataclass(frozen=True, slots=True)
class MadeScores:
    """Stage ``score-low``: the sampled tokens with other log-probabilities, of what ``dedup-low`` kept."""

    size: Size
    name: str = "score-low"
    kind: str = field(default="score", init=False)
    needs: tuple[str, ...] = field(default=("questions", "sample-low", "dedup-low"), init=False)

    def settings(self) -> Mapping[str, JsonValue]:
        """The size."""
        return {"size": asdict(self.size)}

    def run(self, context: StageContext) -> None:
        """Write one row a kept response."""
        samples = context.inputs.rows("sample-low", "samples")
        kept = kept_set(context.inputs.frame("dedup-low", "verdicts"))
        columns = samples.select(["sample_id", "token_ids", "token_ends"])
        total = self.size.questions * self.size.candidates
        for number, unit in enumerate(units(total, self.size.chunk)):
            rows = only(unit.rows(columns), kept).with_columns(model=pl.lit("made"))
            rng = np.random.default_rng([self.size.seed, 3, number])
            count = int(rows.get_column("token_ids").list.len().sum())
            numbered = rows.with_row_index("row").select("row", "token_ids").explode("token_ids")
            drawn = pl.Series("logprobs", -rng.exponential(0.5, count).astype(np.float32))
            lists = numbered.select("row", drawn).group_by("row", maintain_order=True).agg("logprobs")
            frame = rows.with_columns(lists.get_column("logprobs")).select(list(SCORES.columns))
            finish_rows(context, "scores", frame, unit)


def pipeline_of(directory: Path, size: Size, *, two_tokenizers: bool = False) -> Pipeline:
    """The pipeline whose stages are the made and the real ones; models are made beside the run directory."""
    directory.mkdir(parents=True, exist_ok=True)
    teacher = student = str((directory / "teacher").absolute())
    if not (directory / "teacher").exists():
        make_model(directory / "teacher", size.seed)
    if two_tokenizers:
        student = str((directory / "student").absolute())
        if not (directory / "student").exists():
            make_model(directory / "student", size.seed, reverse=True)
    recipe = Recipe.load(
        {
            "name": "curation",
            "seed": size.seed,
            "teacher": {"model": teacher},
            "student": {"model": student},
            "questions": {"train": [{"source": "miniature", "count": 1}]},
            "sampling": {"candidates": size.candidates, "max_tokens": LONGEST, "chunk": size.chunk},
            "stages": [{"name": "low", "kind": "off-policy", "temperature": 1.0}],
            "trainer": {"max_length": LONGEST},
        }
    )
    registry = PluginHost.load((), lambda _: None).registry
    low = {"samples": "sample-low"}
    (stage,) = recipe.settings.stages
    assert isinstance(stage, OffPolicyStage)
    stages: list[Stage] = [
        MadeQuestions(size, teacher),
        MadeSamples(size, teacher),
        FilterStage(recipe, registry, "filter-low", max_length=LONGEST, **low),
        DedupStage(recipe, registry, "dedup-low", filter="filter-low", **low),
        MadeScores(size),
        SelectStage(recipe, registry, "select-low", stage, dedup="dedup-low", scores="score-low", **low),
    ]
    return Pipeline(recipe, registry, stages, Console(quiet=True))


def prepare(directory: Path, size: Size, *, two_tokenizers: bool = False) -> Pipeline:
    """Build whatever isn't there yet, run every stage once, and return the pipeline."""
    pipeline = pipeline_of(directory, size, two_tokenizers=two_tokenizers)
    pipeline.run(directory / "run")
    return pipeline
