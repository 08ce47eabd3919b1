"""Recipes made to hurt: every one is read or refused as a RecipeError with its place, in bounded time and memory."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzzing import fuzz

from dasd.errors import DasdError, RecipeError
from dasd.plugins.recipe import Recipe

VALID: dict[str, Any] = {
    "name": "x",
    "seed": 3,
    "teacher": {"model": "dasd:mini-teacher", "options": {"dtype": "float32"}},
    "student": {"model": "dasd:mini-student", "batch_size": 4},
    "questions": {
        "train": [{"source": "file", "count": 5, "options": {"path": "q.jsonl", "verifier": "math"}}],
        "eval": [{"source": "miniature"}],
    },
    "sampling": {"top_p": 0.9},
    "dedup": {"against": [{"source": "miniature"}]},
    "select": {"options": {"a": [1, 2]}},
    "trainer": {"learning_rate": 1e-4, "lora": {"rank": 4}, "adapter": "lora"},
    "evaluation": {"attempts": 2, "options": {}},
    "stages": [
        {"name": "low", "temperature": 0.6, "trainer": {"epochs": 1}},
        {"name": "given", "samples": ["a.jsonl"]},
        {"name": "mixed", "kind": "mixed-policy"},
    ],
}
SECONDS = 5
"""Of processor time, far more than any recipe takes."""

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "line 2: no aliases"),
        ("a: &a [*a]\n", "line 1: no aliases"),
        ("\na: " + "[" * 5000 + "]" * 5000, "line 2: wanted at most 50 levels"),
        ("a: " + "{a: " * 5000 + "}" * 5000, "line 1: wanted at most 50 levels"),
        ("\n".join(" " * i + "a:" for i in range(900)), "line 50: wanted at most 50 levels"),
        ("".join(f"k{i}: {i}\n" for i in range(20_000)), "line 5000: wanted at most 10000 keys"),
        ("#" * 1_100_000, "wanted a recipe of at most 1048576 bytes"),
        ("\nseed: " + "9" * 100_000, "line 2: a number of 100000 digits"),
        ("\nseed: 0x" + "f" * 100_000, "line 2: a number of 100002 digits"),
        ("a: 1\nb: !!bool abc\n", "line 2: no tags"),
        ("a: !!python/object/apply:os.system [echo]\n", "line 1: no tags"),
        ("\na: x\0", "line 2: this isn't YAML: the character 0x0000"),
        ('a: 1\nteacher: {model: "./a\\0b"}\n', "line 2: a text with a NUL"),
        ('a: "\\ud800"\n', "line 1: a text with a NUL character or half of a surrogate"),
        ("? " + "k" * 200_000 + "\n: 3\n", "line 1: a key of 200000 characters"),
        ('"\\e[31m": 3\n', "line 1: a key of 5 characters"),
        ("teacher: {model: '~nobodyofthatname/x'}\n", "teacher.model: '~nobodyofthatname/x' can't be a path"),
        ("teacher: {model: ./" + "a" * 9000 + "}\n", "can't be a path: File name too long"),
    ],
)
def test_each_kind_is_refused_with_its_place(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError) as error:
        Recipe.load(tmp_path / "r.yaml")
    assert words in str(error.value)
    assert len(str(error.value)) < 500


def test_the_command_refuses_laughs_at_once_and_in_little_memory(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(LAUGHS)
    code = (
        "import re, resource, sys\nresource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "from dasd.cli.guard import run\ncode = run(['pipeline', 'r.yaml', '--dry-run'])\n"
        # Not ru_maxrss: that starts at the size of the process that started this one.
        "peak = int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "assert peak < 1_000_000, peak\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (
        2,
        "error: r.yaml, line 2: no aliases (*name) here; write the values out\n",
    )


def test_a_thousand_problems_are_told_shortly() -> None:
    stages = [{"name": f"s{i}", "x": 1, "temperature": "hot"} for i in range(1000)]
    with pytest.raises(RecipeError, match=r"(?s)more than 30 problems.*and 1971 more") as error:
        Recipe.load({**VALID, "stages": stages})
    assert len(str(error.value)) < 10_000


@pytest.mark.parametrize("override", ["a." * 3000 + "a=1", "name=\udcff", "\udcff=1"])
def test_overrides_that_hurt_are_refused(override: str) -> None:
    with pytest.raises(RecipeError, match="wanted UTF-8, and at most 50 parts"):
        Recipe.load(VALID, [override])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every key path of ``value``, its inner ones and its leaves."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, below in items for found in places(below, (*path, key))]


TEXTS = st.text(max_size=8) | st.sampled_from(
    ["", "~", "~x/y", "*", "[", "../..", "/dev/zero", "dasd:", "x" * 5000, "\0", "\u2028", "sk-" + "a" * 30]
)
NUMBERS = st.sampled_from([0, -1, 2**63, 10**90, 10**200, 1e308, float("inf"), float("nan"), -0.0])
LEAVES = st.none() | st.booleans() | NUMBERS | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXTS | st.sampled_from([*VALID]), inner, max_size=4)
    ),
    max_leaves=8,
)
PIECES = st.sampled_from(
    [
        "*a",
        "&a ",
        "!!int ",
        "!x ",
        "<<: ",
        "[",
        "]",
        "{",
        "}",
        ": ",
        "- ",
        "\t",
        "\n",
        "? ",
        "|\n",
        ">-\n",
        "'",
    ]
    + ['"', '"\\ud800"', "%YAML 9\n", "---\n", "...\n", "\ufeff", "\x85", "\x7f", "0x", "1e999", ".inf", "1_"]
    + [
        "#",
        "@",
        "`",
        "~",
        "null",
        "[" * 60,
        "9" * 120,
        "a: " * 60,
        "%TAG ! tag:x,y:\n",
        "\r",
        "\0",
        "-\n" * 60,
    ]
)


@st.composite
def recipes(draw: st.DrawFn) -> str:
    """A valid recipe with a few values replaced, written as YAML and then cut up with pieces of syntax."""
    data = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(places(data)))
        here: Any = data
        for key in path[:-1]:
            here = here[key]
        here[path[-1]] = draw(VALUES)
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=draw(st.booleans()))
    for _ in range(draw(st.integers(0, 2))):
        at, cut = draw(st.integers(0, len(text))), draw(st.integers(0, 20))
        text = text[:at] + draw(PIECES) + text[at + cut :]
    return text


def loaded(source: Any, overrides: list[str]) -> None:
    """Read it: settings that can be written and read again, or an error of dasd's, soon."""
    start = time.process_time()
    try:
        recipe = Recipe.load(source, overrides)
        json.dumps(recipe.settings.model_dump(mode="json"))
        yaml.safe_load(recipe.to_yaml())
    except DasdError as error:
        assert error.exit_code == 2
    assert time.process_time() - start < SECONDS


@fuzz(examples=100)
@given(text=recipes())
def test_any_recipe_is_read_or_refused(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    loaded(path, [])


@fuzz(examples=100)
@given(
    path=st.sampled_from(places(VALID)),
    value=TEXTS | PIECES | VALUES.map(str) | recipes(),
    more=st.booleans(),
)
def test_any_override_is_taken_or_refused(path: tuple[Any, ...], value: str, more: bool) -> None:
    loaded(VALID, [f"{'.'.join(map(str, path))}{'.x' * more}={value}"])
