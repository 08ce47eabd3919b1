"""Tasks from YAML and JSONL: sums to write out, to choose from, to score; and what can't be asked."""

from __future__ import annotations

import json
import random
from pathlib import Path

from dasd.models.miniature import world

DOCUMENTS = 12

YAMLS = {
    "sums": """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: DATA, train: TRAIN}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n\\n"], do_sample: false, max_gen_toks: 120}
filter_list:
  - name: strict
    filter: [{function: regex, regex_pattern: "^(-?[0-9]+)$"}, {function: take_first}]
  - name: last-number
    filter: [{function: regex, regex_pattern: "(-?[0-9]+)", group_select: -1}, {function: take_first}]
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}]
metadata: {version: 3.0}
""",
    "sums_shown": """
include: sums.yaml
task: sums_shown
fewshot_split: train
num_fewshot: 2
generation_kwargs: {until: ["\\n\\n"], do_sample: false, max_gen_toks: 100}
""",
    "sums_bleu": """
include: sums.yaml
task: sums_bleu
filter_list: [{name: none, filter: [{function: take_first}]}]
metric_list: [{metric: bleu, aggregation: bleu, higher_is_better: true}]
""",
    "options": """
task: options
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{options}}"
doc_to_target: "{{right}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
""",
    "beginnings": """
task: beginnings
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: "{{beginning}}"
metric_list:
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
""",
    "opened": """
include: sums.yaml
task: opened
gen_prefix: "<think>"
filter_list: [{name: none, filter: [{function: take_first}]}]
""",
    "text": """
task: text
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}]
""",
    "voted": "include: sums.yaml\ntask: voted\nrepeats: 8\n",
    "beams": "include: sums.yaml\ntask: beams\ngeneration_kwargs: {until: [], num_beams: 4}\n",
    "bare": 'include: options.yaml\ntask: bare\ndoc_to_text: ""\n',
    "everything": """
group: everything
task: [sums, options]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
""",
}


def write_tasks(directory: Path) -> Path:
    """Write the YAMLs and the data; returns the directory."""
    draw = random.Random(5)
    for split, name in (("eval", "data.jsonl"), ("train", "train.jsonl")):
        lines = []
        for number, question in enumerate(world.questions(DOCUMENTS, seed=5, split=split)):
            options = [str(int(question.answer) + shift) for shift in (0, 1, -1)]
            draw.shuffle(options)
            lines.append(
                {
                    "question": question.question,
                    "answer": question.answer,
                    "options": options,
                    "right": options.index(question.answer),
                    "beginning": "<think>" if number % 3 else "<think>7",
                }
            )
        (directory / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, text in YAMLS.items():
        text = text.replace("DATA", str(directory / "data.jsonl")).replace(
            "TRAIN", str(directory / "train.jsonl")
        )
        (directory / f"{name}.yaml").write_text(text)
    return directory
