"""The command line: help, exit codes, one message an error, results on stdout."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from tests.command import Done, dasd
from tests.plugin_factory import REGISTER, install

from dasd.cli import COMMANDS, cli
from dasd.cli.guard import run
from dasd.store import Run

HELLO = (
    "import click\nfrom dasd.api import hookimpl\n@click.command()\ndef hello():\n"
    "    'Says hello.'\n    click.echo('hello from a plugin')\n"
    "@hookimpl\ndef dasd_commands(cli):\n    cli.add_command(hello)\n"
)


def started(*arguments: str, cwd: Path | None = None, site: Path | None = None, **environment: str) -> Done:
    """The command in a process of its own: what comes with ``site`` stays out of this one."""
    path = os.pathsep.join(filter(None, [str(site or ""), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-m", "dasd", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def one_message(done: Done, code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr


# -- help -----------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom dasd.cli.guard import run\nassert run(['--help']) == 0\n"
        "heavy = {'torch', 'polars', 'transformers', 'pydantic', 'numpy', 'rich', 'yaml', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"  {name}  " in done.stdout for name in COMMANDS)


def test_help_takes_less_than_four_times_python_with_click() -> None:
    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    def seconds(*command: str) -> float:
        """Of the processor: other tests run at the same time."""
        best = []
        for _ in range(5):
            before = used()
            subprocess.run([sys.executable, *command], capture_output=True, check=True)
            best.append(used() - before)
        return min(best)

    assert seconds("-m", "dasd", "--help") < 4 * seconds("-c", "import click")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_line_an_example_and_documented_options(name: str) -> None:
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command is not None
    commands = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    for each in commands:
        assert "Example:" in (each.help or ""), f"dasd {name} {each.name} has no example"
        for parameter in each.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"dasd {name} {each.name} {parameter.opts} has no help"


def test_version() -> None:
    import dasd as package

    assert started("--version").stdout == f"dasd {package.__version__}\n"


# -- wrong use ------------------------------------------------------------------------------------------


def test_a_misspelt_command_gets_a_suggestion() -> None:
    one_message(started("smaple", "runs/x"), 2, "No such command 'smaple'", "Did you mean 'sample'?")


def test_a_wrong_option_is_wrong_use() -> None:
    one_message(dasd("pipeline", "--dryrun"), 2, "--dry-run")


def test_a_wrong_recipe_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("teacher: {modle: m}\n")
    done = dasd("pipeline", "my.yaml", cwd=tmp_path)
    one_message(done, 2, "my.yaml, line 1: teacher.modle", "did you mean 'model'", "student")
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]


def test_data_of_a_run_that_is_not_there(tmp_path: Path) -> None:
    done = dasd("pipeline", "dasd-30b-a3b", "-o", "data=nowhere/first", cwd=tmp_path)
    one_message(done, 2, f"data.run: {tmp_path}/nowhere/first is not a run directory")
    assert not (tmp_path / "runs").exists()


def test_an_unknown_plugin_is_wrong_use(tmp_path: Path) -> None:
    one_message(dasd("pipeline", "--plugins", "nonesuch", cwd=tmp_path), 2, "pip install dasd-nonesuch")
    assert not list(tmp_path.iterdir())


def test_a_requested_broken_plugin_is_wrong_use(tmp_path: Path) -> None:
    install(tmp_path / "site", "broken", "import a_module_that_is_not_there")
    done = started("pipeline", "--plugins", "broken", cwd=tmp_path, site=tmp_path / "site")
    one_message(done, 2, "a_module_that_is_not_there", "pip install")
    shown = started("pipeline", "--plugins", "broken", site=tmp_path / "site", DASD_DEBUG="1")
    assert shown.returncode == 2 and "Traceback" in shown.stderr


def test_no_run_directory_is_wrong_use(tmp_path: Path) -> None:
    one_message(dasd("select", "nowhere", cwd=tmp_path), 2, "nowhere is not a run directory", "--recipe")
    one_message(dasd("runs", "show", "nowhere", cwd=tmp_path), 2, "nowhere is not a run directory")


def test_a_reader_that_stops_reading_is_no_error() -> None:
    command = f"{sys.executable} -m dasd recipes keys | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# ")


def test_a_full_disk_is_a_failed_run() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m dasd recipes keys > /dev/full"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the disk is full" in done.stderr and "Traceback" not in done.stderr


# -- recipes --------------------------------------------------------------------------------------------


def test_recipes_list_show_init(tmp_path: Path) -> None:
    listed = json.loads(dasd("recipes", "list", "--json").stdout)
    assert "demo" in [recipe["name"] for recipe in listed]
    assert dasd("recipes", "show", "demo").stdout.startswith("# The whole method")
    resolved = yaml.safe_load(dasd("recipes", "show", "demo", "--resolved", "-o", "seed=5").stdout)
    assert (resolved["seed"], resolved["dedup"]["threshold"]) == (5, 0.8)

    assert dasd("recipes", "init", "my.yaml", "--from", "smollm2", cwd=tmp_path).stdout == "my.yaml\n"
    assert dasd("recipes", "show", "my.yaml", "--json", cwd=tmp_path).returncode == 0
    one_message(dasd("recipes", "init", "my.yaml", cwd=tmp_path), 2, "is there already", "--force")


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    done = dasd("pipeline", "demo", "--dry-run", "--json", cwd=tmp_path)
    planned = json.loads(done.stdout)
    assert {stage["state"] for stage in planned} == {"new"}
    assert planned[-1]["kind"] == "report"
    assert not list(tmp_path.iterdir())


# -- plugins --------------------------------------------------------------------------------------------


def test_plugins_list_and_info(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site, "broken", "import a_module_that_is_not_there")
    install(site, "hello", HELLO)
    install(site, "good", REGISTER + "registry.exporter('good', print, doc='Prints.')")
    found = json.loads(started("plugins", "list", "--json", site=site).stdout)
    plugins = {plugin["name"]: plugin for plugin in found["plugins"]}
    assert not plugins["broken"]["loaded"]
    assert "a_module_that_is_not_there" in plugins["broken"]["error"]
    assert plugins["hello"]["commands"] == ["hello"]
    assert {"name": "good", "role": "exporter", "plugin": "good", "doc": "Prints.", "options": {}} in found[
        "components"
    ]["exporter"]
    assert "transformers" in [component["name"] for component in found["components"]["teacher"]]
    text = started("plugins", "list", site=site).stdout
    assert "broken is broken: ModuleNotFoundError" in text

    info = json.loads(started("plugins", "info", "dasd-good", "--json", site=site).stdout)
    assert (info["distribution"], info["version"], info["hooks"]) == ("dasd-good", "1.0", ["dasd_register"])
    assert "options.path (needed)" in started("plugins", "info", "file", site=site).stdout
    one_message(started("plugins", "info", "goood", site=site), 2, "did you mean 'good'")


def test_commands_of_plugins(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site, "hello", HELLO)
    install(site, "thief", HELLO.replace("def hello()", "def pipeline()").replace("(hello)", "(pipeline)"))
    done = started("hello", site=site)
    assert done.stdout == "hello from a plugin\n"
    assert "thief" in done.stderr and "'pipeline' is there already" in done.stderr
    assert "hello" in started("--help", site=site).stdout
    assert dasd("hello").returncode == 2


# -- a run ----------------------------------------------------------------------------------------------

TINY = {
    "name": "tiny",
    "teacher": {"model": "dasd:mini-teacher", "precision": "fp32", "device": "cpu"},
    "student": {"model": "dasd:mini-student", "precision": "fp32", "device": "cpu"},
    "questions": {
        "train": [{"source": "miniature", "count": 6}],
        "eval": [{"source": "miniature", "count": 4}],
    },
    "sampling": {"candidates": 2, "max_tokens": 120, "chunk": 12},
    "stages": [{"name": "low", "temperature": 0.6}],
    "trainer": {"max_steps": 1, "batch_size": 2, "max_length": 256, "precision": "fp32", "device": "cpu"},
    "evaluation": {"attempts": 1, "max_tokens": 40, "heldout": 4},
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ``tiny.yaml`` and its finished run."""
    directory = tmp_path_factory.mktemp("work")
    (directory / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    done = dasd("pipeline", "tiny.yaml", cwd=directory)
    assert done.returncode == 0, done.stderr
    (directory / "stdout").write_text(done.stdout)
    return directory


PAUSING = """
import os, signal, sys
from dasd.api import hookimpl
from dasd.models.transformers.engine import TransformersTeacher


class Pausing(TransformersTeacher):
    "The built-in engine; notes what it is asked for, and waits for a signal once PAUSE_AFTER batches are taken."

    def sample(self, requests, spec):
        with open(os.environ["ASKED"], "a") as asked:
            asked.writelines(request.sample_id + "\\n" for request in requests)
        for number, rows in enumerate(super().sample(requests, spec), 1):
            yield rows
            if str(number) == os.environ.get("PAUSE_AFTER"):
                print("batches are taken", file=sys.stderr, flush=True)
                signal.pause()


@hookimpl
def dasd_register(registry):
    registry.teacher("pausing", Pausing)
"""


def test_ctrl_c_in_the_middle_of_sampling_loses_nothing(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path
    monkeypatch.syspath_prepend(str(site))
    install(site, "pausing", PAUSING)
    asked = site / "asked"
    command = [
        "pipeline", "tiny.yaml", "--run", "runs/stopped", "--plugins", "pausing", "--until", "sample-low",
        "-o", "teacher.batch_size=2", "-o", "sampling.max_tokens=16",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "dasd", *command],
        cwd=work,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]),
            "HF_HUB_OFFLINE": "1",
            "ASKED": str(asked),
            "PAUSE_AFTER": "3",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    head = ""
    while "batches are taken\n" not in head and (line := process.stderr.readline()):
        head += line
    process.send_signal(signal.SIGINT)
    stdout, rest = process.communicate(timeout=120)
    assert process.returncode == 130, head + rest
    assert "continue with the same command" in rest and "Traceback" not in rest
    assert stdout == ""

    first = asked.read_text().split()
    assert len(first) == 12, "one unit, of which six responses were finished"
    asked.unlink()
    done = dasd(*command, cwd=work, ASKED=str(asked))
    assert done.returncode == 0, done.stderr
    left = asked.read_text().split()
    assert len(left) == 6 and set(left) < set(first), "the finished ones aren't asked for again"
    samples = Run.open(work / "runs/stopped").frame("samples").collect()
    assert sorted(samples["sample_id"]) == sorted(first)


def test_a_pipeline_ends_with_a_table_and_the_report(work: Path) -> None:
    lines = (work / "stdout").read_text().splitlines()
    assert lines[0].split()[:2] == ["checkpoint", "accuracy"]
    assert {line.split()[0] for line in lines[2:] if line} >= {"before", "low"}
    assert "±" in lines[2]
    assert lines[-1] == "report: runs/tiny/report.html"
    assert (work / "runs/tiny/report.html").is_file()


def test_a_second_start_skips_everything_and_prints_json(work: Path) -> None:
    done = dasd("pipeline", "tiny.yaml", "--json", "--quiet", cwd=work)
    assert done.returncode == 0 and done.stderr == ""
    assert json.loads(done.stdout) == json.loads((work / "runs/tiny/report.json").read_text())


def test_one_stage_alone(work: Path) -> None:
    done = dasd("select", "runs/tiny", "--quiet", cwd=work)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2].startswith("select-low")


def test_runs_verify(work: Path, tmp_path: Path) -> None:
    whole = json.loads(dasd("runs", "verify", "runs/tiny", "--json", cwd=work).stdout)
    assert whole["problems"] == [] and whole["files"] > 10 and whole["bytes"] > 0
    copy = tmp_path / "altered"
    shutil.copytree(work / "runs/tiny", copy)
    altered, missing = sorted((copy / "stages").glob("*/part-*.parquet"))[:2]
    altered.write_bytes(altered.read_bytes()[:-1] + b"x")
    missing.unlink()
    torn = next((copy / "stages").glob("*-report/manifest.json"))
    torn.write_bytes(torn.read_bytes()[:-20])
    done = dasd("runs", "verify", str(copy))
    assert done.returncode == 1
    for words in (f"{altered} was altered", f"{missing} is missing", f"{torn} is damaged", "3 problems"):
        assert words in done.stdout


def test_runs_list_show_diff(work: Path) -> None:
    rows = {row["run"]: row for row in json.loads(dasd("runs", "list", "--json", cwd=work).stdout)}
    row = rows["runs/tiny"]
    assert (row["finished"], row["last_stage"]) == (True, "report")
    shown = json.loads(dasd("runs", "show", "runs/tiny", "--json", cwd=work).stdout)
    assert [stage["name"] for stage in shown["stages"]][:2] == ["questions", "sample-low"]
    assert "accuracy" in {figure["metric"] for figure in shown["metrics"]}

    begun = dasd(
        "pipeline", "tiny.yaml", "--run", "runs/other", "-o", "seed=1", "-o", "stages.low.temperature=0.7",
        "--until", "questions", cwd=work,
    )  # fmt: skip
    assert begun.stdout == "run: runs/other\n"
    found = json.loads(dasd("runs", "diff", "runs/tiny", "runs/other", "--json", cwd=work).stdout)
    assert found["recipe"] == [
        {"key": "seed", "first": 0, "second": 1},
        {"key": "stages.low.temperature", "first": 0.6, "second": 0.7},
    ]
    assert all(pair["second"] is None for pair in found["metrics"])
    assert "stages.low.temperature" in dasd("runs", "diff", "runs/tiny", "runs/other", cwd=work).stdout


def test_observers_and_requested_defaults_in_a_real_run(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path
    monkeypatch.syspath_prepend(str(site))
    install(
        site,
        "watcher",
        "import polars as pl\nfrom pathlib import Path\nfrom dasd.api import hookimpl\n"
        "class Last:\n    needs_student = False\n    def rank(self, candidates, student):\n"
        "        return candidates['candidate'].cast(pl.Float64)\n"
        "@hookimpl\ndef dasd_register(registry):\n    registry.selector('last', lambda s, seed: Last())\n"
        "@hookimpl\ndef dasd_stage_started(run, stage):\n"
        "    with open('seen', 'a') as f: f.write(f'+{stage}\\n')\n"
        "@hookimpl\ndef dasd_stage_finished(run, stage, seconds, summary):\n"
        "    with open('seen', 'a') as f: f.write(f'-{stage} {isinstance(run, Path)} {seconds >= 0}\\n')\n"
        "    raise ValueError('an observer that fails')\n",
    )
    done = dasd("pipeline", "tiny.yaml", "--plugins", "watcher", "--until", "select", cwd=work)
    assert done.returncode == 0, done.stderr
    # Only what the new selector changes has run again.
    assert (work / "seen").read_text() == "+select-low\n-select-low True True\n"
    assert "an observer that fails" in done.stderr
    kept = yaml.safe_load((work / "runs/tiny/recipe.yaml").read_text())
    assert (kept["select"]["selector"], kept["plugins"]) == ("last", ["watcher"])


def test_quiet_and_verbose_together_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["pipeline", "demo", "--dry-run"], ["select", "runs/none"]):
        assert run([*command, "--quiet", "--verbose"]) == 2
        assert "--quiet and --verbose are opposites" in capsys.readouterr().err
