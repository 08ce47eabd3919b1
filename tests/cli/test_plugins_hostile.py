"""Plugins that misbehave while they load: named, of no effect on the output, and no plague for other commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests import command
from tests.plugin_factory import REGISTER, install

from dasd.plugins.host import PluginHost

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


LOUD = (
    "import os, subprocess, sys\nprint('by print')\nos.write(1, b'by write\\n')\n"
    "print('by stderr', file=sys.stderr)\nsubprocess.run(['echo', 'by child'])\n"
    + GOOD.format("loud")
    + "    print('at registration')\n"
    "@hookimpl\ndef dasd_commands(cli):\n    print('at commands')\n"
)


# Each would end the process, or keep it, or take what isn't its own.
LEAVING = {
    "exits": ("import sys\nsys.exit(0)", "SystemExit"),
    "quits": ("import os\nos._exit(7)", "os._exit(7)"),
    "raises": ("raise BaseException('of its own')", "of its own"),
    "closes": ("raise GeneratorExit", "GeneratorExit"),
}
HANGING = "import time\nwhile True:\n    try:\n        time.sleep(9)\n    except Exception:\n        pass\n"
TAKING = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + GOOD.format("takes")
STAYING = "import threading\nthreading.Thread(target=threading.Event().wait, name='stray').start()\n"


def test_a_list_of_plugins_outlives_them_all(tmp_path: Path) -> None:
    """Prints go to stderr with the plugin's name; who leaves or hangs is broken; no stray thread keeps the command."""
    for name, (code, _) in LEAVING.items():
        install(tmp_path, name, code)
    install(tmp_path, "good", GOOD.format("good"))
    install(tmp_path, "hangs", HANGING)
    install(tmp_path, "loud", LOUD)
    install(tmp_path, "stays", STAYING + GOOD.format("stays"))
    install(tmp_path, "takes", TAKING)
    install(tmp_path, "zgood", GOOD.format("zgood"))
    begun = time.monotonic()
    done = dasd(tmp_path, "plugins", "list", "--json", "--timeout", "2.5")
    assert time.monotonic() - begun < 40
    assert done.returncode == 0, done.stderr
    found = {record["name"]: record["error"] for record in json.loads(done.stdout)["plugins"]}
    for name in ("good", "loud", "stays", "takes", "zgood"):
        assert found[name] is None
    for name, (_, cause) in LEAVING.items():
        assert cause in (found[name] or ""), name
    assert found["hangs"] == "LoadingTooLong: it was still loading after 2.5 s"
    assert "plugin hangs is still loading after 2 s" in done.stderr
    for text in ("by print", "by write", "by child", "at registration", "at commands"):
        assert f"plugin loud printed: {text}\n" in done.stderr
    assert "by stderr" in done.stderr
    assert "plugin stays left thread stray running" in done.stderr
    assert "plugin takes replaced the handler of SIGINT" in done.stderr


def test_a_plugin_that_leaves_and_is_asked_for_ends_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("exits", "quits"):
        install(tmp_path, name, LEAVING[name][0])
    asked = ("pipeline", "demo", "--dry-run", "--plugins")
    for name, done in (
        ("exits", command.dasd(*asked, "exits")),
        ("quits", dasd(tmp_path, *asked, "quits")),
    ):
        assert done.returncode == 2, done.stderr
        assert f"error: plugin {name} (dasd-{name} 1.0) doesn't load: " in done.stderr
        assert "Traceback" not in done.stderr and not done.stdout


def test_handlers_of_signals_are_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    install(tmp_path, "takes", TAKING)
    before = signal.getsignal(signal.SIGINT)
    PluginHost.load(["takes"])
    assert signal.getsignal(signal.SIGINT) is before
    assert "plugin takes replaced the handler of SIGINT" in capfd.readouterr().err


def test_help_and_version_load_no_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    install(tmp_path, "loads", "raise AssertionError('it was loaded')")
    for arguments in (["--help"], ["--version"], ["recipes", "list"]):
        done = command.dasd(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "it was loaded" in command.dasd("plugins", "list").stdout


def test_damaged_package_metadata_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an interrupted installation leaves, of a plugin or of something else."""
    monkeypatch.syspath_prepend(str(tmp_path))
    install(tmp_path, "good", GOOD.format("good"))
    for name, file, content in (
        ("nameless", "entry_points.txt", b"[dasd.plugins]\nnameless = os\n"),
        ("binary", "entry_points.txt", b"[dasd.plugins]\n\xff\xfe = x\n"),
        ("binary", "METADATA", b"Name: binary\nVersion: 1.0\n"),
    ):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / file).write_bytes(content)
    assert "good" in command.dasd("--help").stdout
    found = {
        r["name"]: r["error"] for r in json.loads(command.dasd("plugins", "list", "--json").stdout)["plugins"]
    }
    assert found["good"] is None and "no hook" in found["nameless"]
