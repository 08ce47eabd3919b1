"""What plugins change of the process or raise that is no Exception: put back or told with their name, never the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from tests.plugin_factory import REGISTER
from tests.plugin_factory import install as install_plugin

from dasd.errors import ComponentError, PluginError
from dasd.plugins.components import Owner
from dasd.plugins.host import PluginHost
from dasd.plugins.registry import Registry

GOOD = REGISTER + "registry.exporter('x', print)\n"
Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs plugin ``bad`` with the given code."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.chdir(tmp_path)

    def add(code: str) -> None:
        install_plugin(tmp_path / "site", "bad", code)
        monkeypatch.delitem(sys.modules, "plugin_bad", raising=False)

    return add


CHANGES: dict[str, tuple[str, Callable[[], Any], str]] = {
    "directory": ("import os\nos.chdir('/')\n", os.getcwd, "the current directory"),
    "umask": ("import os\nos.umask(0o777)\n", lambda: os.umask(0o022), "the umask"),
    "recursion": (
        "import sys\nsys.setrecursionlimit(10**6)\n",
        sys.getrecursionlimit,
        "the recursion limit",
    ),
    "dtype": (
        "import torch\ntorch.set_default_dtype(torch.float64)\n",
        torch.get_default_dtype,
        "torch's default dtype",
    ),
    "stdout": ("import sys\nsys.stdout = None\n", lambda: sys.stdout, "stdout"),
    "stderr": ("import io, sys\nsys.stderr = io.StringIO()\n", lambda: sys.stderr, "stderr"),
}
AT_HOOK = "from dasd.api import hookimpl\n@hookimpl\ndef dasd_stage_started(stage):\n    "


@pytest.mark.parametrize("change", list(CHANGES))
def test_settings_of_the_process_are_put_back(
    install: Install, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    """At import and in a hook of a run."""
    code, read, what = CHANGES[change]
    os.umask(0o022)
    install(code + GOOD + AT_HOOK.removeprefix("from dasd.api import hookimpl\n") + code.replace("\n", "; "))
    before = read()
    host = PluginHost.load(["bad"])
    assert read() == before
    host.observe("dasd_stage_started", run=Path("r"), stage="mix")
    assert read() == before
    assert capsys.readouterr().err.count(f"plugin bad changed {what}; it is put back") == 2


def test_a_closed_stdout_is_opened_again(tmp_path: Path, install: Install) -> None:
    """In a process of its own: pytest's stdout can't be closed."""
    import subprocess

    install("import sys\nsys.stdout.close()\n" + GOOD)
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "dasd", "plugins", "list"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 and "exporter: x" in done.stdout, done.stderr
    assert "plugin bad changed stdout" in done.stderr


UNSAYABLE = "class E(Exception):\n    def __str__(self): raise ValueError\nraise E\n"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise KeyboardInterrupt", "it raised KeyboardInterrupt, which nobody pressed"),
        (UNSAYABLE, r"E: its message can't be shown \(ValueError\)"),
        ("raise ValueError('a\\n\\nwarning: b' + 'x' * 10**6)", r"ValueError: a warning: bx+ \.\.\.\. Mend"),
        (GOOD.replace("def ", "async def "), "a generator or async"),
        (GOOD.replace("registry.e", "yield registry.e"), "a generator or async"),
    ],
    ids=["interrupt", "unsayable", "long", "async", "generator"],
)
def test_what_a_plugin_raises_is_one_short_line(install: Install, code: str, words: str) -> None:
    install(code)
    warned: list[str] = []
    host = PluginHost.load(None, warned.append)
    assert [record.name for record in host.plugins if record.error] == ["bad"]
    assert len(warned) == 1 and "\n" not in warned[0] and len(warned[0]) < 3000
    with pytest.raises(PluginError, match=words):
        PluginHost.load(["bad"])


def test_a_hook_that_raises_no_exception_is_ignored(install: Install) -> None:
    install(AT_HOOK + "raise GeneratorExit('gone')")
    warned: list[str] = []
    PluginHost.load(["bad"], warned.append).observe("dasd_stage_started", run=Path("r"), stage="mix")
    assert warned == ["plugin bad: dasd_stage_started failed and is ignored: GeneratorExit: gone"]


@pytest.mark.parametrize("error", [SystemExit(0), type("PanicException", (BaseException,), {})("lost")])
def test_a_component_that_leaves_is_a_failure(error: BaseException) -> None:
    """``sys.exit(0)`` in a plugin's code would end the command as if all were done."""

    def factory() -> Any:
        raise error

    made = Registry(Owner("bad", "dasd-bad", "1.0"))
    made.verifier("leaves", factory)
    with pytest.raises(
        ComponentError, match=rf"verifier 'leaves'.*failed: {type(error).__name__}: .*dasd-bad 1\.0"
    ):
        made.make_verifier("leaves")


def test_a_component_that_changes_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    class Wanders:
        def __init__(self) -> None:
            os.chdir("/")

        def grade(self, response: str, answer: str, argument: str) -> Any:
            raise AssertionError

    made = Registry(Owner("bad", "dasd-bad", "1.0"))
    made.verifier("wanders", Wanders)
    made.make_verifier("wanders")
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("cli.commands[5] = click.Command('x')", ["mine"]),
        ("cli.add_command(click.Command(5))", ["mine"]),
        ("cli.commands['odd'] = 5", ["mine"]),
        ("cli.commands = None", []),
    ],
)
def test_commands_that_are_none_are_left_out(install: Install, change: str, left: list[str]) -> None:
    install(
        "import click\nfrom dasd.api import hookimpl\n@hookimpl\ndef dasd_commands(cli):\n"
        f"    cli.add_command(click.Command('mine'))\n    {change}\n"
    )
    warned: list[str] = []
    group = click.Group()
    PluginHost.load(["bad"], warned.append).commands(group)
    assert list(group.commands) == left
    assert warned == ["plugin bad: its dasd_commands adds what is no command with a text as its name"]


@pytest.mark.parametrize("change", ["del registry._components", "registry._components = {1: 2}"])
def test_a_plugin_that_damages_its_registry_is_broken(install: Install, change: str) -> None:
    install(f"from dasd.api import hookimpl\n@hookimpl\ndef dasd_register(registry):\n    {change}\n")
    warned: list[str] = []
    host = PluginHost.load(None, warned.append)
    assert "changed the registry in other ways" in warned[0] and host.registry.components("teacher")
