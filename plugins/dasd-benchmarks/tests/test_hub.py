"""The hub: a download at a commit, the cache without a connection, and what to bring where neither helps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmark_rows import math500
from dataset_server import COMMIT, HubServer

# huggingface_hub reads its environment when it is imported, so each question to it is a process of its own.
ASK = """
import json, sys
from dasd.api import DasdError, QuestionSource
from dasd.plugins.host import PluginHost
name, options = sys.argv[1], json.loads(sys.argv[2])
questions = PluginHost.load(["benchmarks"]).registry.make_questions(name)
try:
    read = questions.load(QuestionSource(source=name, options=options), "eval", 0)
    file = read.loaded.files[0]
    print(json.dumps([read.rows.height, file.name, file.repository, file.revision]))
except DasdError as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error)}))
"""
DATA = "\n".join(json.dumps(row) for row in math500()).encode()
FILES = {"HuggingFaceH4/MATH-500": {"test.jsonl": DATA}, "me/mine": {"data/m.jsonl": DATA}}


def ask(home: Path, url: str, name: str, *, offline: bool = False, **options: Any) -> Any:
    environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1"}
    environment.pop("HF_TOKEN", None)
    environment["HF_HUB_OFFLINE"] = "1" if offline else "0"
    command = [sys.executable, "-c", ASK, name, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_downloads_say_their_commit_and_serve_without_a_connection(tmp_path: Path) -> None:
    with HubServer(FILES, gated=("Idavidrein/gpqa",)) as hub:
        read = [5, "test.jsonl", "HuggingFaceH4/MATH-500", COMMIT]
        assert ask(tmp_path, hub.url, "math-500", expected=5) == read
        own = ask(tmp_path, hub.url, "math-500", expected=5, repository="me/mine", files="data/m.jsonl")
        assert own == [5, "data/m.jsonl", "me/mine", COMMIT]
        unknown = ask(tmp_path, hub.url, "math-500", repository="me/mine")
        assert "the files of me/mine aren't known; name them" in unknown["text"]
        missing = ask(tmp_path, hub.url, "math-500", repository="me/mine", files="other.jsonl")
        assert "can't get other.jsonl of the data set me/mine" in missing["text"]
        gated = ask(tmp_path, hub.url, "gpqa-diamond")
        assert gated["error"] == "NotHereError"
        assert "gpqa_diamond.csv of the data set Idavidrein/gpqa" in gated["text"]
        assert "accept its terms" in gated["text"]
        assert "HF_TOKEN" in gated["text"]
    # The server is gone; what was downloaded is still there, by its branch and by its commit.
    assert ask(tmp_path, hub.url, "math-500", expected=5) == read
    assert ask(tmp_path, hub.url, "math-500", expected=5, revision=COMMIT, offline=True) == read


def test_out_of_reach_the_message_names_file_command_and_option(tmp_path: Path) -> None:
    for offline in (False, True):
        told = ask(tmp_path, "http://127.0.0.1:9", "aime25", offline=offline)
        assert told["error"] == "NotHereError"
        for words in (
            "aime25: can't get test.jsonl of the data set math-ai/aime25",
            "hf download --repo-type dataset math-ai/aime25 test.jsonl --local-dir aime25",
            "option `path`",
        ):
            assert words in told["text"]
