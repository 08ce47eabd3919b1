"""What a response looks like to a reader: one model behind templates that differ about the think tag is at KL 0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.stage_run import make_recipe, make_registry
from tests.think_pairs import KINDS, thinking_model
from tests.tiny_models import chat

from dasd.base.records import ContinueRequest, Message, SampleRequest, SamplingSpec, ScoreRequest, ScoringSpec
from dasd.base.schemas import QUESTIONS, SET_ASIDE, TOP_SCORES
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.think_opening import (
    CLOSE,
    OPEN,
    Reading,
    ToScore,
    Vocabulary,
    behind_tag,
    prompt_opening,
)
from dasd.models.transformers.engine import TransformersTeacher
from dasd.pipeline.stages.candidates import compared
from dasd.pipeline.stages.from_files_rows import GivenReader
from dasd.pipeline.stages.metrics import kl_metrics
from dasd.pipeline.work.judging import Judge
from dasd.plugins.recipe import Recipe
from dasd.store.question_lookup import QuestionLookup
from dasd.training.row_maker import RowMaker

ASKED = {
    f"q{n}": (Message("user", text),)
    for n, text in enumerate(("9+3-5+1-2+4=?", "1+8-6+5+2-7=?", "3-1+4+1-5+9=?"))
}
SPEC = SamplingSpec("low", 1.0, 1.0, 160)
PAIRS = list(product(KINDS, KINDS))


def questions() -> pl.DataFrame:
    """QUESTIONS rows of ASKED."""
    rows = [
        (q, [{"role": "user", "content": m[0].content}], "d", None, None, "s", "train")
        for q, m in ASKED.items()
    ]
    return pl.DataFrame(rows, schema=dict(QUESTIONS.columns), orient="row")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(slots=True)
class Engine:
    """A model behind one kind of template, that remembers the texts which it has scored."""

    teacher: TransformersTeacher
    texts: dict[str, str]

    def score(self, requests: Iterable[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        asked = list(requests)
        self.texts.update((request.sample_id, request.text) for request in asked)
        return self.teacher.score(asked, spec)


@dataclass(frozen=True, slots=True)
class Models:
    directory: Path
    engines: dict[str, Engine]
    written: dict[str, pl.DataFrame]
    """SAMPLES of each kind."""

    def recipe(self, author: str, reader: str) -> Recipe:
        options = [
            f"{role}.chat_template_options.{name}={value}"
            for role, kind in (("teacher", author), ("student", reader))
            for name, value in KINDS[kind].items()
        ]
        models = [f"{role}.model={self.directory}" for role in ("teacher", "student")]
        return Recipe.load("demo", [*models, *options])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    directory = thinking_model(tmp_path_factory.mktemp("model") / "thinker")
    made = Models(directory, {}, {})
    requests = [SampleRequest(f"{q}/s", q, asked, 0, 7 + n) for n, (q, asked) in enumerate(ASKED.items())]
    for kind in KINDS:
        teacher = TransformersTeacher(made.recipe(kind, kind).settings.teacher)
        made.engines[kind] = Engine(teacher, {})
        made.written[kind] = pl.concat(teacher.sample(requests, SPEC)).sort("sample_id")
    return made


def sampled(models: Models, author: str, reader: str) -> pl.DataFrame:
    return models.written[author]


def from_a_file(models: Models, author: str, reader: str) -> pl.DataFrame:
    """Whole responses, tag included, as people keep them, scored by the teacher as stage ``sample`` does it."""
    engine = models.engines[author]
    tokenizer = ChatTokenizer.load(models.recipe(author, reader).settings.teacher)
    defaults = {"temperature": 1.0, "top_p": 1.0, "model": "m"}
    read = GivenReader([questions()], SET_ASIDE.empty(), None, tokenizer, "low", defaults, "m")
    texts = dict(models.written["no tag"].select("question_id", "text").iter_rows())
    found = [read.sample({"question_id": q, "text": text}, 0) for q, text in texts.items()]
    assert [doubled for _, doubled in found] == [author == "opens"] * len(texts)
    rows = pl.DataFrame([row for row, _ in found], schema=models.written[author].schema)
    scores = pl.concat(
        Reading("", "").scored(engine, Reading("", "").to_score(rows, ASKED), ScoringSpec("low", 512))
    )
    columns = scores.select("sample_id", "token_ids", "token_ends", "logprobs")
    return rows.drop(columns.columns[1:]).join(columns, on="sample_id").select(rows.columns)


def continued(models: Models, author: str, reader: str) -> pl.DataFrame:
    """The reader's answers, cut in their middle, that the author goes on with, as stage ``mix`` does it."""
    settings = models.recipe(author, reader).settings
    back = Reading.of(settings.teacher, settings.student).back()
    requests = []
    for row in models.written[reader].iter_rows(named=True):
        prefix = row["text"].encode()[: row["token_ends"][len(row["token_ends"]) // 2]].decode()
        seen = back.view(prefix).text
        requests.append(
            ContinueRequest(
                f"{row['question_id']}/c", row["question_id"], ASKED[row["question_id"]], 0, 3, seen
            )
        )
    return pl.concat(models.engines[author].teacher.continue_(requests, SPEC)).sort("sample_id")


@pytest.mark.parametrize(("author", "reader"), PAIRS)
@pytest.mark.parametrize("origin", [sampled, from_a_file, continued])
def test_equal_weights_are_at_kl_0_and_what_is_scored_is_trained(
    models: Models, author: str, reader: str, origin: object
) -> None:
    recipe = models.recipe(author, reader)
    rows = origin(models, author, reader)  # type: ignore[operator]
    assert rows["text"].str.contains(CLOSE).any()
    assert rows["text"].str.starts_with(OPEN).all() == (author != "opens")
    reading = Reading.of(recipe.settings.teacher, recipe.settings.student)
    engine = models.engines[reader]
    scores = pl.concat(reading.scored(engine, reading.to_score(rows, ASKED), ScoringSpec("score", 512)))
    scores = rows.select("sample_id").join(scores, on="sample_id", maintain_order="left")

    shared = reading.shared(rows)
    kl = kl_metrics(shared.with_columns(domain=pl.lit("d")), scores, "before")["value"][0]
    assert abs(kl) < 1e-3
    assert shared["token_ids"].to_list() == scores["token_ids"].to_list()
    assert shared["token_ends"].to_list() == scores["token_ends"].to_list(), "in the author's bytes"
    found = compared(shared, scores, 0.1)
    assert found.select(pl.col("teacher", "student").sum()).row(0) == (0, 0)

    maker = RowMaker(recipe, ASKED, "low", train_prefix=False)
    tokenizer = ChatTokenizer.load(recipe.settings.student)
    trained = maker.rows(rows)
    for row, sample in zip(trained.iter_rows(named=True), rows.iter_rows(named=True), strict=True):
        prompt = tokenizer.prompt_ids(ASKED[sample["question_id"]])
        assert row["token_ids"][: len(prompt)] == prompt
        end = len(row["token_ids"]) - (sample["finish_reason"] == "stop")
        text = tokenizer.decode(row["token_ids"][len(prompt) : end])
        assert text == engine.texts[row["sample_id"]]
        assert (tokenizer.decode(prompt) + text).count(OPEN) == 1
        # The student's part is masked, in the student's own text.
        masked = tokenizer.decode(row["token_ids"][len(prompt) : row["loss_mask"][0]])
        prefix = sample["text"].encode()[: sample["prefix_end"]].decode()
        assert masked == (reading.view(prefix).text if prefix else "")


@pytest.mark.parametrize(("author", "reader"), PAIRS)
def test_the_length_filter_counts_what_is_trained(models: Models, author: str, reader: str) -> None:
    recipe, rows = models.recipe(author, reader), models.written[author]
    longest = RowMaker(recipe, ASKED, "low").rows(rows)["token_ids"].list.len().max()
    assert isinstance(longest, int)
    for limit, kept in ((longest, True), (longest - 1, False)):
        judge = Judge(recipe, make_registry(), limit, QuestionLookup([questions()]), "filter-low")
        assert ("length" not in judge.verdicts(rows)["reason"].to_list()) == kept


def test_filters_say_that_a_teachers_template_is_not_known(models: Models) -> None:
    recipe = make_recipe(teacher={"model": "/nowhere"})
    judge = Judge(recipe, make_registry(), 512, QuestionLookup([questions()]), "filter-low")
    assert judge.unknown is not None and "tokenizer of the teacher isn't here" in judge.unknown
    for kind in ("opens", "no tag"):
        rows = models.written[kind].filter(pl.col("finish_reason") == "stop")
        assert rows.height and judge.verdicts(rows)["kept"].all(), "each response tells by itself"


def test_a_response_between_templates() -> None:
    opened, plain = Reading("<think>\n", ""), Reading("", "<think>\n")
    assert opened.view("a</think>b").text == "<think>\na</think>b"
    assert plain.view("<think>\na</think>b").text == "a</think>b"
    assert plain.view("<think>a</think>b").text == "a</think>b", "the tag goes, whatever follows it"
    assert plain.view("<thi").text == "", "broken off inside the tag"
    assert plain.view("b").text == "\n</think>\n\nb", "a thought that the prompt opens is closed"
    assert Reading("<think>", "<think>\n").view("\na</think>b").text == "a</think>b"
    assert Reading("<think>\n", "<think>").view("a</think>b").text == "\na</think>b"


def test_a_teacher_whose_template_is_not_known_is_known_by_its_responses() -> None:
    reading = Reading(None, "")
    assert reading.view("a</think>b").text == "<think>\na</think>b"
    assert reading.view("<think>a</think>b").text == "<think>a</think>b"
    assert Reading(None, "<think>\n").view("a</think>b").text == "a</think>b"


_openings = st.sampled_from(["", "<think>", "<think>\n"])
_pieces = st.lists(st.sampled_from([OPEN, CLOSE, "\n", " ", "é", "So 1.", "<thi"]), max_size=8).map("".join)


@given(_openings, _openings, _pieces)
def test_every_text_is_the_same_behind_both_prompts_or_shares_its_end(
    author: str, reader: str, text: str
) -> None:
    view = Reading(author, reader).view(text)
    own, seen = text.encode(), view.text.encode()
    assert own[view.held :] == seen[view.added :]
    assert view.added == 0 or view.held == 0
    for end in range(view.held + 1, len(own) + 1):
        assert own[end:] == seen[view.offset(end) :]


@given(_openings, _openings, _pieces, st.integers(1, 3), st.booleans(), st.data())
def test_what_is_cut_of_the_tokens_is_cut_of_their_likeliest(
    author: str, reader: str, text: str, k: int, ended: bool, data: st.DataObject
) -> None:
    """Each token keeps its own K, whatever the reader's text begins with that the author's lacks."""
    view = Reading(author, reader).view(text)
    size = len(view.text.encode())
    cuts = data.draw(st.lists(st.integers(1, size), unique=True) if size else st.just([]))
    ends = sorted({*cuts, size} - {0}) + [size] * ended
    request = ScoreRequest("s", (), view.text, ended)
    values = {
        "sample_id": ["s"],
        "model": ["m"],
        "token_ids": [list(range(len(ends)))],
        "token_ends": [ends],
        "logprobs": [[-float(i) for i in range(len(ends))]],
        "top_ids": [[k * i + j for i in range(len(ends)) for j in range(k)]],
        "top_logprobs": [[-float(k * i + j) for i in range(len(ends)) for j in range(k)]],
    }
    rows = pl.DataFrame(values, schema=dict(TOP_SCORES.columns))
    engine = Canned(rows)
    asked = [ToScore(request, view.added, view.held)]
    (found,) = Reading(author, reader).scored(engine, asked, ScoringSpec("score", 512, top=k))  # type: ignore[arg-type]
    row = found.row(0, named=True)
    left = row["token_ids"]
    assert left == [i for i in range(len(ends)) if ends[i] > view.added or (ended and i == len(ends) - 1)]
    assert row["top_ids"] == [k * i + j for i in left for j in range(k)]
    assert row["top_logprobs"] == [-float(i) for i in row["top_ids"]]
    assert len(row["token_ends"]) == len(row["logprobs"]) == len(left)


@dataclass(frozen=True)
class Canned:
    """Answers with these rows."""

    rows: pl.DataFrame

    def score(self, requests: Iterable[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        assert [request.sample_id for request in requests] == self.rows["sample_id"].to_list()
        yield self.rows


def test_tokens_as_sampled_are_scored_behind_another_template() -> None:
    """Sampled in other tokens than the tokenizer would choose: with one vocabulary both models score the same event."""
    tokenizer = chat("byte_level")
    other = ChatTokenizer(tokenizer._tokenizer, "other", {"tag": True})
    assert other.hash != tokenizer.hash and other.vocabulary_hash == tokenizer.vocabulary_hash
    ids, ends = [], []
    for character in "So 9.":
        ids += tokenizer.encode_response(character, ended=False)[0]
        ends.append((ends or [0])[-1] + 1)
    rows = pl.DataFrame(
        {
            "sample_id": ["s"],
            "question_id": ["q0"],
            "text": ["So 9."],
            "finish_reason": ["length"],
            "token_ids": [ids],
        }
    ).with_columns(token_ends=pl.Series([ends]), tokenizer_hash=pl.lit(tokenizer.hash))
    reading = Reading("<think>\n", "", Vocabulary(tokenizer.hash, other))
    engine = Recorder()
    list(reading.scored(engine, reading.to_score(rows, ASKED), ScoringSpec("score", 512)))  # type: ignore[arg-type]
    tag, tag_ends = other.encode_response("<think>\n", ended=False)
    (sampled,) = [request.sampled for request in engine.requests]
    assert sampled is not None and sampled.tokenizer_hash == other.hash
    assert list(sampled.token_ids) == [*tag, *ids]
    assert list(sampled.token_ends) == [*tag_ends, *(end + 8 for end in ends)]


class Recorder:
    """Takes requests and scores nothing."""

    def __init__(self) -> None:
        self.requests: list[ScoreRequest] = []

    def score(self, requests: Sequence[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        self.requests += requests
        return iter(())


def test_openings(models: Models) -> None:
    found = {
        kind: prompt_opening(ChatTokenizer.load(models.recipe(kind, kind).settings.teacher)) for kind in KINDS
    }
    assert found == {"opens": "<think>", "doesn't": "", "no tag": ""}
    assert behind_tag("<think>\n\na", "<think>\n") == "\na"
    assert behind_tag("<think>a", "") == "<think>a"
