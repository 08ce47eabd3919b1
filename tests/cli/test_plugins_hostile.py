"""Plugins that misbehave while they load: named, of no effect on the output, and no plague for other commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.plugin_factory import REGISTER, install

GOOD = REGISTER + "registry.exporter('{0}-export', print)\n"


def dasd(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "dasd", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def listed(done: subprocess.CompletedProcess[str]) -> dict[str, str | None]:
    """Name -> error of every plugin that ``plugins list --json`` tells."""
    assert done.returncode == 0, done.stderr
    return {record["name"]: record["error"] for record in json.loads(done.stdout)["plugins"]}


LOUD = (
    "import os, subprocess, sys\nprint('by print')\nos.write(1, b'by write\\n')\n"
    "print('by stderr', file=sys.stderr)\nsubprocess.run(['echo', 'by child'])\n"
    + GOOD.format("loud")
    + "    print('at registration')\n"
    "@hookimpl\ndef dasd_commands(cli):\n    print('at commands')\n"
)


def test_what_a_plugin_prints_goes_to_stderr_with_its_name(tmp_path: Path) -> None:
    install(tmp_path, "loud", LOUD)
    done = dasd(tmp_path, "plugins", "list", "--json")
    assert listed(done)["loud"] is None
    for text in ("by print", "by write", "by child", "at registration", "at commands"):
        assert f"plugin loud printed: {text}\n" in done.stderr
    assert "by stderr" in done.stderr


# Each would end the process, or keep it, or take what isn't its own.
LEAVING = {
    "exits": ("import sys\nsys.exit(0)", "SystemExit"),
    "quits": ("import os\nos._exit(7)", "os._exit(7)"),
    "raises": ("raise BaseException('of its own')", "of its own"),
    "closes": ("raise GeneratorExit", "GeneratorExit"),
}


def test_plugins_that_leave_are_broken_and_the_others_listed(tmp_path: Path) -> None:
    for name, (code, _) in LEAVING.items():
        install(tmp_path, name, code)
    install(tmp_path, "good", GOOD.format("good"))
    found = listed(dasd(tmp_path, "plugins", "list", "--json"))
    assert found["good"] is None
    for name, (_, cause) in LEAVING.items():
        assert cause in (found[name] or ""), name


@pytest.mark.parametrize("name", ["exits", "quits"])
def test_a_plugin_that_leaves_and_is_asked_for_ends_with_its_name(tmp_path: Path, name: str) -> None:
    install(tmp_path, name, LEAVING[name][0])
    done = dasd(tmp_path, "pipeline", "demo", "--dry-run", "--plugins", name)
    assert done.returncode == 2, done.stderr
    assert f"error: plugin {name} (dasd-{name} 1.0) doesn't load: " in done.stderr
    assert "Traceback" not in done.stderr and not done.stdout


def test_a_plugin_that_hangs_is_named_and_listed_as_not_loading(tmp_path: Path) -> None:
    hang = "import time\nwhile True:\n    try:\n        time.sleep(9)\n    except Exception:\n        pass\n"
    install(tmp_path, "hangs", hang)
    install(tmp_path, "zgood", GOOD.format("zgood"))
    begun = time.monotonic()
    done = dasd(tmp_path, "plugins", "list", "--json", "--timeout", "2.5")
    found = listed(done)
    assert found["hangs"] == "LoadingTooLong: it was still loading after 2.5 s"
    assert found["zgood"] is None
    assert "plugin hangs is still loading after 2 s" in done.stderr
    assert time.monotonic() - begun < 40


def test_handlers_of_signals_are_put_back(tmp_path: Path) -> None:
    install(
        tmp_path,
        "takes",
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + GOOD.format("takes"),
    )
    code = (
        "import os, signal\nfrom dasd.plugins import PluginHost\nbefore = signal.getsignal(signal.SIGINT)\n"
        "PluginHost.load(['takes'])\nassert signal.getsignal(signal.SIGINT) is before"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "plugin takes replaced the handler of SIGINT" in done.stderr


def test_a_thread_that_never_ends_doesnt_keep_the_command(tmp_path: Path) -> None:
    code = "import threading\nthreading.Thread(target=threading.Event().wait, name='stray').start()\n"
    install(tmp_path, "stays", code + GOOD.format("stays"))
    done = dasd(tmp_path, "plugins", "list", "--json")
    assert listed(done)["stays"] is None
    assert "plugin stays left thread stray running" in done.stderr


def test_help_and_version_load_no_plugin(tmp_path: Path) -> None:
    install(tmp_path, "quits", "import os\nos._exit(7)")
    for command in (["--help"], ["--version"], ["recipes", "list"]):
        done = dasd(tmp_path, *command)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
