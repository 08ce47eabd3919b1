"""A checkpoint's results in the files of lm-evaluation-harness (layout and keys of its release 0.4.13).

``results_TIME.json`` and ``samples_TASK_TIME.jsonl`` as ``EvaluationTracker`` writes them; a benchmark is a
task, its only filter is "none". What lm-evaluation-harness knows and a run doesn't is null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC
from hashlib import sha256
from typing import Any

import polars as pl

from dasd.base.checksums import checksum
from dasd.results.records import EVERY_DOMAIN, Evaluation, Sampling

__all__ = ["directory_name", "lm_eval_files"]

_LONGEST = 100
"""Bytes of a name inside a file's name, which has at most 255."""
_FILTER = "none"
_NO_ANSWER = "[invalid]"
"""What lm-evaluation-harness's own filters give where they find no answer."""
_NOT_BETTER = {"truncation_rate": False}
"""Metrics of which more is worse; of a length nobody says, of all others more is better."""


def directory_name(evaluation: Evaluation) -> str:
    """The model's name as lm-evaluation-harness makes a directory of it: ``demo__low``."""
    return _short(re.sub(r"[\"<>:/|\\?*\[\]]+", "__", evaluation.label))


def lm_eval_files(evaluation: Evaluation, table: pl.DataFrame) -> Iterator[tuple[str, str]]:
    """Names and contents of the files. ``table``: RESULTS rows of this checkpoint.

    The time in the names is when the evaluation was finished, in UTC, so the same evaluation gives the same
    files.
    """
    finished = evaluation.origin.finished.astimezone(UTC).replace(tzinfo=None)
    time = finished.isoformat(timespec="microseconds").replace(":", "-")
    names = _file_names(evaluation.benchmarks)
    hashes: dict[str, str] = {}
    for benchmark, name in names.items():
        samples = list(_samples(evaluation, benchmark))
        hashes[benchmark] = _hash(
            "".join(s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in samples)
        )
        lines = [json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples]
        yield f"samples_{name}_{time}.jsonl", "".join(lines)
    yield (
        f"results_{time}.json",
        json.dumps(_results(evaluation, table, hashes), indent=2, ensure_ascii=False),
    )


def _results(evaluation: Evaluation, table: pl.DataFrame, task_hashes: Mapping[str, str]) -> dict[str, Any]:
    origin = evaluation.origin
    names = evaluation.benchmarks
    results = {name: _metrics(evaluation, table, name) for name in names}
    questions = {name: results[name]["sample_len"] for name in names}
    metrics = {
        name: [
            key.removesuffix(f",{_FILTER}")
            for key in results[name]
            if key.endswith(f",{_FILTER}") and "_stderr," not in key
        ]
        for name in names
    }
    version = origin.versions.get("dasd", "")
    seed = origin.seed
    return {
        "results": results,
        "group_subtasks": {},
        "configs": {name: _config(evaluation, name, metrics[name]) for name in sorted(names)},
        "versions": dict.fromkeys(sorted(names), version),
        "n-shot": dict.fromkeys(sorted(names), 0),
        "higher_is_better": {name: {m: _better(m) for m in metrics[name]} for name in sorted(names)},
        "n-samples": {name: {"original": questions[name], "effective": questions[name]} for name in names},
        "config": {
            "model": "dasd",
            "model_args": {
                "pretrained": origin.model,
                "run": origin.name,
                "checkpoint": evaluation.checkpoint,
            },
            "batch_size": None,
            "batch_sizes": [],
            "device": None,
            "use_cache": None,
            "limit": None,
            "bootstrap_iters": 0,
            "gen_kwargs": None,
            "random_seed": seed,
            "numpy_seed": seed,
            "torch_seed": seed,
            "fewshot_seed": seed,
        },
        "git_hash": None,
        "date": origin.started.timestamp(),
        "pretty_env_info": "\n".join(f"{name} {found}" for name, found in origin.versions.items()),
        "transformers_version": origin.versions.get("transformers", "N/A"),
        "lm_eval_version": f"written by dasd {version}".rstrip(),
        "upper_git_hash": None,
        "task_hashes": dict(task_hashes),
        "model_source": "dasd",
        "model_name": evaluation.label,
        "model_name_sanitized": directory_name(evaluation),
        "system_instruction": None,
        "system_instruction_sha": None,
        "fewshot_as_multiturn": None,
        "chat_template": None,
        "chat_template_sha": None,
        "total_evaluation_time_seconds": None if origin.seconds is None else str(origin.seconds),
    }


def _metrics(evaluation: Evaluation, table: pl.DataFrame, benchmark: str) -> dict[str, Any]:
    """``acc`` is avg@k, under the name that readers of such files look for."""
    rows = table.filter((pl.col("benchmark") == benchmark) & (pl.col("domain") == EVERY_DOMAIN))
    asked = evaluation.attempts.filter(pl.col("benchmark") == benchmark).n_unique("question_id")
    found: dict[str, Any] = {"name": benchmark, "alias": benchmark, "sample_len": asked}
    for metric, value, error in rows.select("metric", "value", "standard_error").iter_rows():
        for name in ("acc", metric) if metric.startswith("avg@") else (metric,):
            found[f"{name},{_FILTER}"] = value
            found[f"{name}_stderr,{_FILTER}"] = "N/A" if error is None else error
    return found


def _better(metric: str) -> bool | None:
    return None if metric == "length_tokens" else _NOT_BETTER.get(metric, True)


def _config(evaluation: Evaluation, benchmark: str, metrics: list[str]) -> dict[str, Any]:
    rows = evaluation.attempts.filter(pl.col("benchmark") == benchmark)
    return {
        "task": benchmark,
        "num_fewshot": 0,
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": _better(metric)}
            for metric in metrics
        ],
        "output_type": "generate_until",
        "generation_kwargs": _generation(evaluation.sampling(benchmark)),
        "repeats": int(rows.group_by("question_id").len().get_column("len").max()),  # type: ignore[arg-type]
        "should_decontaminate": False,
        "metadata": {"version": evaluation.origin.versions.get("dasd", "")},
    }


def _generation(sampling: Sampling) -> dict[str, Any]:
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_gen_toks": sampling.max_tokens,
        "do_sample": None if sampling.temperature is None else sampling.temperature != 0,
        "until": [],
    }


def _samples(evaluation: Evaluation, benchmark: str) -> Iterator[dict[str, Any]]:
    """One object a question, with all its attempts."""
    asked: dict[str, dict[str, Any]] = {}
    if evaluation.questions is not None:
        columns = ("question_id", "messages", "domain", "answer", "verifier")
        asked = {row["question_id"]: row for row in evaluation.questions.select(columns).to_dicts()}
    rows = evaluation.attempts.filter(pl.col("benchmark") == benchmark).sort("attempt", maintain_order=True)
    for number, part in enumerate(rows.partition_by("question_id", maintain_order=True)):
        doc = asked.get(part.item(0, "question_id"), {"question_id": part.item(0, "question_id")})
        prompt = json.dumps(doc["messages"], ensure_ascii=False) if "messages" in doc else ""
        target = str(doc.get("answer") or "")
        values = {
            "acc": part.get_column("correct").cast(pl.Float64).mean(),
            "length_tokens": part.get_column("tokens").mean(),
            "truncation_rate": (part.get_column("finish_reason") != "stop").mean(),
        }
        yield {
            "doc_id": number,
            "doc": doc,
            "target": target,
            "arguments": {
                "gen_args_0": {"arg_0": prompt, "arg_1": _generation(evaluation.sampling(benchmark))}
            },
            "resps": [part.get_column("text").to_list()],
            "filtered_resps": [part.get_column("extracted").fill_null(_NO_ANSWER).to_list()],
            "filter": _FILTER,
            "metrics": [name for name, value in values.items() if value is not None],
            "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
            "prompt_hash": _hash(prompt),
            "target_hash": _hash(target),
            **values,
        }


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _short(name: str) -> str:
    """``name``, where it fits into a file's name; else its beginning and a hash of it, so that no two become one."""
    data = name.encode()
    if len(data) <= _LONGEST:
        return name
    return data[:_LONGEST].decode("utf-8", "ignore") + f"-{checksum(data, 4)}"


def _file_names(benchmarks: list[str]) -> dict[str, str]:
    """A part of a file's name for every benchmark; a number keeps those apart that would be the same."""
    names: dict[str, str] = {}
    for benchmark in benchmarks:
        plain = _short(re.sub(r"[^\w.-]", "_", benchmark))
        taken = set(names.values())
        names[benchmark] = next(
            name
            for name in (plain, *(f"{plain}-{n}" for n in range(2, len(benchmarks) + 2)))
            if name not in taken
        )
    return names
