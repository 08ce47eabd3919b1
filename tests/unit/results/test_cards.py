"""Cards of real small runs: valid for the hub's own classes, with the run's figures and nothing of the machine."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests import report_run
from tests.stage_run import run_recipe

from dasd import results
from dasd.errors import InputError
from dasd.recipe.question_settings import QuestionSource
from dasd.results.cards import CardOptions, HubBenchmark, dataset_card, model_card
from dasd.results.cards.card_words import card_text
from dasd.results.cards.contents import dataset_files, model_files, warnings_about
from dasd.results.cards.export_files import read_export
from dasd.results.cards.facts import Facts, gather_facts
from dasd.results.cards.licences import find_licences, front_matter
from dasd.results.cards.names import hub_name, leaks, public, public_text
from dasd.results.cards.of_dataset import size_category
from dasd.results.export import export_run
from dasd.results.report import steps
from dasd.store import Run
from dasd.store.origin import Origin


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_recipe(tmp_path_factory.mktemp("cards") / "run")


@pytest.fixture(scope="module")
def unevaluated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose evaluations left no answers, and whose teacher and student are directories or hub names."""
    return report_run.make_run(tmp_path_factory.mktemp("cards") / "made-up", reported=False)


@pytest.fixture(autouse=True)
def no_library_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"huggingface_hub.*")
        yield


OPTIONS = CardOptions(
    license="apache-2.0",
    base_model="someone/student",
    trained_on=("me/responses",),
    language=("en",),
    benchmarks=(HubBenchmark.parse("miniature=someone/sums:default:percent"),),
)


def head(card: str) -> dict[str, object]:
    return front_matter(card)


# -- model card -----------------------------------------------------------------------------------------


def test_the_front_matter_is_what_the_hub_reads(run: Run) -> None:
    from huggingface_hub import ModelCard

    made = model_card(run, options=OPTIONS, name="me/sums")
    card = ModelCard(made.readme)
    data = card.data.to_dict()
    assert data["license"] == "apache-2.0"
    assert (data["base_model"], data["base_model_relation"]) == ("someone/student", "finetune")
    assert (data["library_name"], data["pipeline_tag"]) == ("transformers", "text-generation")
    assert (data["datasets"], data["language"]) == (["me/responses"], ["en"])
    assert card.data.model_name == "sums"
    assert yaml.safe_load(made.readme.split("---\n")[1]) == data


def test_the_scores_are_the_runs(run: Run) -> None:
    from huggingface_hub import ModelCard

    made = model_card(run, options=OPTIONS)
    scores = results.scores(run).filter(pl.col("checkpoint") == "mixed")
    found = {item.metric_name: item for item in ModelCard(made.readme).data.eval_results}
    assert set(found) == {"avg@2", "pass@2", "majority@2"}
    for metric, item in found.items():
        row = scores.filter(pl.col("metric") == metric).row(0, named=True)
        assert item.metric_value == pytest.approx(row["value"])
        assert item.metric_args["standard_error"] == pytest.approx(row["standard_error"])
        assert item.metric_args["questions"] == 6 and item.metric_args["answers"] == 12
        assert (item.metric_args["temperature"], item.metric_args["max_tokens"]) == (1.0, 400)
        assert (item.dataset_type, item.dataset_name) == ("someone/sums", "miniature")


def test_every_checkpoint_is_in_the_table_with_its_error(run: Run) -> None:
    made = model_card(run, "high")
    text = made.readme
    assert made.checkpoint == "high" and "**after high (this model)**" in text
    for name in ("before", "low", "high", "mixed"):
        value, error = (
            results.scores(run)
            .filter((pl.col("checkpoint") == name) & (pl.col("metric") == "avg@2"))
            .select("value", "standard_error")
            .row(0)
        )
        words = {"before": "student before training", "high": "**after high (this model)**"}
        assert f"| {words.get(name, f'after {name}')} | {100 * value:.1f} ± {100 * error:.1f} |" in text
    kl = run.frame("metrics").filter(pl.col("metric") == "kl_nats_per_response").collect()
    assert kl.height and "KL, nats a response" in text
    assert f"Mean over {kl['n'][0]} held-out teacher responses" in text
    assert (
        "over 6 questions, 12 answers in all; temperature 1.0, top-p 1.0, tokens at most 400, seed 3" in text
    )


def test_the_hubs_evaluation_results(run: Run) -> None:
    from huggingface_hub import parse_eval_result_entries

    made = model_card(run, options=OPTIONS)
    assert made.eval_results is not None
    (entry,) = parse_eval_result_entries(yaml.safe_load(made.eval_results))
    row = results.scores(run).filter((pl.col("checkpoint") == "mixed") & (pl.col("metric") == "avg@2"))
    assert (entry.dataset_id, entry.task_id) == ("someone/sums", "default")
    assert entry.value == pytest.approx(100 * row["value"][0])
    assert "standard error" in str(entry.notes) and "6 questions" in str(entry.notes)
    assert model_card(run).eval_results is None
    other = CardOptions(benchmarks=(HubBenchmark.parse("miniatrue=a/b:c"),))
    with pytest.raises(InputError, match="did you mean 'miniature'"):
        model_card(run, options=other)


def test_counts_selection_recipe_and_versions_are_there(run: Run) -> None:
    text = model_card(run, "low").readme
    row = steps.flow(run)[0]
    assert row.sampled == 36 and f"| low | {row.questions} | 36 | {row.after_filter}" in text
    for reason, dropped in row.dropped_by_filter.items():
        assert f"| filters: {reason.replace('_', ' ')} | {dropped} |" in text
    assert "Selector divergence" in text and "| high |" not in text.split("## How it was made")[1]
    recipe = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert recipe == run.settings.model_dump(mode="json")
    assert f"| dasd | {run.record.dasd_version} |" in text and "| polars |" in text and "Seed 3;" in text
    assert "the teacher goes on from there" not in text
    assert "| teacher | dasd:mini-teacher | r1 | scripted 1 | apache-2.0 (from its model card) |" in text


def questions_section(facts: Facts) -> list[str]:
    """Lines of the card of a data set about its questions."""
    row = ("low", "low", "0.6", "1", "`a`")
    licences = find_licences(facts.settings, CardOptions())
    text = card_text(facts, licences, "sums", stage=None, configs=[row])
    return text.split("## Questions\n")[1].split("\n## Models")[0].split("\n")


def test_a_stages_own_sources_are_among_the_questions(run: Run) -> None:
    facts = gather_facts(run)
    own = {"sources": (QuestionSource(source="file", count=7, options={"path": "/home/me/mine.jsonl"}),)}
    stages = (facts.settings.stages[0], facts.settings.stages[1].model_copy(update=own))
    told = questions_section(replace(facts, settings=facts.settings.model_copy(update={"stages": stages})))
    assert "- Training high: source `file` (path: mine.jsonl), at most 7 questions" in told


def test_domains_of_data_are_words_and_no_markup(run: Run) -> None:
    facts = gather_facts(run)
    hostile = "a\\\\|b <script>x</script> [l](javascript:x) `c`\n| new | row |\n---"
    lines = questions_section(replace(facts, questions=(replace(facts.questions[0], domain=hostile),)))
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 3 and {line.count("|") for line in table} == {4}
    assert not set("<[`\\\\") & set(table[2])


def test_responses_that_another_run_chose_are_called_so(run: Run) -> None:
    facts = gather_facts(run)
    made = {"selected_in": "first", "student": "dasd:mini-student", "answers_filtered": False}
    facts = replace(facts, origin=Origin.model_construct(**made))
    licences = find_licences(facts.settings, CardOptions())
    text = card_text(facts, licences, "sums", stage=None, configs=[("low", "low", "0.6", "1", "`a`")])
    assert "chosen for `dasd:mini-student` by the dasd run `first`." in text
    assert "run `first` chose them for `dasd:mini-student`, and this student was trained" in text
    assert "Run `first` decontaminated its questions by its own recipe" in text
    assert "no person has read them one by one. Wrong answers were not filtered out.\n" in text


def test_what_nobody_states_is_called_unknown(run: Run) -> None:
    text = model_card(run).readme
    assert head(text)["license"] == "unknown" and "base_model" not in head(text)
    assert "- this model: unknown: no source states it" in text
    assert "- student before training, dasd:mini-student: apache-2.0 (from its model card)" in text
    assert "- questions: unknown" in text
    assert "may bind what is made of its responses" in text
    told = CardOptions(teacher_license="other-terms", data_license="cc-by-4.0")
    text = model_card(run, options=told).readme
    assert "dasd:mini-teacher: other-terms (as told by who made this card)" in text
    assert "- questions: cc-by-4.0 (as told" in text


def test_a_run_without_answers_says_so(unevaluated: Run) -> None:
    from huggingface_hub import ModelCard

    text = model_card(unevaluated).readme
    data = ModelCard(text).data
    assert data.eval_results is None and "model-index" not in head(text)
    assert "This checkpoint itself was not evaluated." in text
    assert "The teacher itself on eval: 90.0 ± 5.0 % of 10 responses right" in text
    assert "| after high | 26.0 ± 1.9 |" in text  # its KL, which needs no answers


def test_a_run_without_any_evaluation(tmp_path: Path) -> None:
    run = report_run.make_run(tmp_path / "run", until="train-low", reported=False)
    text = model_card(run).readme
    assert "model-index" not in head(text)
    assert "was not evaluated" in text
    with pytest.raises(InputError, match="Checkpoints: low"):
        model_card(run, "high")
    bare = report_run.make_run(tmp_path / "bare", until="questions", reported=False)
    with pytest.raises(InputError, match="no finished training"):
        model_card(bare)


def test_nothing_of_the_machine_is_in_a_card(tmp_path: Path) -> None:
    from dasd.models.miniature import model_path

    secret = tmp_path / "home" / "alice" / "models" / "own-student"
    secret.parent.mkdir(parents=True)
    secret.symlink_to(model_path("student"))
    run = run_recipe(
        tmp_path / "home" / "alice" / "runs" / "first",
        until="train-low",
        student={"model": str(secret), "options": {"base": "http://10.1.2.3:8000/v1"}},
    )
    exported, _ = export_run(run, "text", tmp_path / "home" / "alice" / "out", stages=["low"])
    for text in (model_card(run).readme, dataset_card(run, exported)):
        assert str(tmp_path) not in text and "alice" not in text and "10.1.2.3" not in text
        assert "own-student" in text and "(address left out)" in text
        assert not re.search(r"(?<![\w:/.])/(?:home|root|tmp|Users|work|usr)/", text)
        assert leaks(text, (tmp_path,)) == []


# -- dataset card ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "trl"])
def test_a_dataset_card_names_the_files_of_each_stage(run: Run, tmp_path: Path, form: str) -> None:
    from huggingface_hub import DatasetCard

    exported, manifest = export_run(run, form, tmp_path / "data")
    text = dataset_card(run, exported, CardOptions(license="cc-by-4.0"))
    data = DatasetCard(text).data.to_dict()
    assert data["license"] == "cc-by-4.0" and data["size_categories"] == ["n<1K"]
    configs = {item["config_name"]: item["data_files"][0]["path"] for item in data["configs"]}
    written = [file.path for file in manifest.files if file.stage]
    assert sorted(path for paths in configs.values() for path in paths) == sorted(written)
    assert list(configs) == (["stage1", "stage2", "stage3"] if form == "text" else ["low", "high", "mixed"])
    for file in manifest.files:
        if file.stage:
            assert re.search(rf"\| {file.stage} \| [\d.]+ \| {file.rows} \|", text)
    assert "| miniature | arithmetic | 12 |" in text
    assert "arithmetic" in data["tags"]


def test_a_directory_of_any_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "low").mkdir()
    for number in range(2):
        pl.DataFrame({"a": [1, 2]}).write_parquet(tmp_path / "low" / f"part-{number}.parquet")
        (tmp_path / f"high-0000{number}-of-00002.jsonl").write_text('{"b": 1}\n\n')
    low, high = sorted(read_export(tmp_path), key=lambda config: -config.rows)
    assert (low.name, low.rows, low.columns) == ("low", 4, ("a",))
    assert (high.name, high.rows, high.columns) == ("high", 2, ("b",))
    (tmp_path / "export.json").write_text("{")
    (tmp_path / "README.md").write_text("no head")
    assert len(read_export(tmp_path)) == 2
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"torn\.parquet"):
        read_export(tmp_path)


@pytest.mark.parametrize(
    ("rows", "word"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (448_000, "100K<n<1M"), (2 * 10**12, "n>1T")],
)
def test_size_categories_are_the_hubs(rows: int, word: str) -> None:
    assert size_category(rows) == word


# -- names and files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/alice/models/qwen", "qwen"),
        ("see /home/alice/my/file.txt, and/or 1/2 of </think>", "see file.txt, and/or 1/2 of </think>"),
        ("~/models/qwen", "qwen"),
        (r"C:\Users\alice\qwen", "qwen"),
        ("http://alice:secret@10.0.0.1:8000/v1", "(address left out)"),
        ("s3://bucket/of/alice", "(address left out)"),
        ("https://huggingface.co/Qwen/Qwen3-4B", "https://huggingface.co/Qwen/Qwen3-4B"),
        ("Qwen/Qwen3-4B-Instruct-2507", "Qwen/Qwen3-4B-Instruct-2507"),
        ("token hf_abcdefghijklmnopqrstuvwx", "token (secret left out)"),
    ],
)
def test_public_text(text: str, shown: str) -> None:
    assert public_text(text) == shown


@given(st.lists(st.text("abcXYZ019-_ ", min_size=1).filter(str.strip), min_size=2, max_size=5))
def test_a_path_becomes_its_last_name(parts: list[str]) -> None:
    shown = public({"options": {"path": ["/" + "/".join(parts)]}})
    assert shown == {"options": {"path": [parts[-1]]}}


def test_hub_names() -> None:
    assert hub_name("Qwen/Qwen3-4B") == "Qwen/Qwen3-4B"
    assert [hub_name(model) for model in ("dasd:mini-student", "/a/b", "./a/b", "~/a", "gpt2")] == [None] * 5


@pytest.mark.parametrize(
    "text", ["gpqa", "gpqa=x:y", "gpqa=a/b", "gpqa=a/b:", "=a/b:c", "gpqa=a/b:c:permille"]
)
def test_a_hub_benchmark_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match="hub benchmark"):
        HubBenchmark.parse(text)


def test_paths_inside_files_are_told(tmp_path: Path) -> None:
    private = tmp_path / "run"
    (tmp_path / "config.json").write_text(json.dumps({"_name_or_path": f"{private}/checkpoints/stage1"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "tokenizer.json").write_text("{}")
    pieces, _ = model_files(tmp_path)
    assert warnings_about(pieces, (private,)) == [f"config.json holds the path {private}"]
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="no tokenizer"):
        model_files(tmp_path)


def test_hidden_and_foreign_files_are_no_data(tmp_path: Path) -> None:
    (tmp_path / "low.jsonl").write_text("{}\n")
    (tmp_path / ".hidden.jsonl").write_text("{}\n")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "low.jsonl").write_text("{}\n")
    (tmp_path / "train.py").write_text("")
    pieces, left_out = dataset_files(tmp_path)
    assert [piece.path for piece in pieces] == ["low.jsonl"]
    assert {item.path for item in left_out} == {".hidden.jsonl", ".cache/", "train.py"}
