"""Recipes whose models run in another environment: what is asked there, what is refused, what is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.plugin_factory import install
from tests.remote_plugin import CODE, environment

from dasd.errors import DasdError, InputError, PluginError, RecipeError
from dasd.models.pool import backend_of
from dasd.models.remote import backend
from dasd.models.remote.channel import MAGIC
from dasd.models.remote.process import WorkerProcess, interpreter
from dasd.pipeline.compatibility import check_recipe
from dasd.pipeline.work.fingerprints import backend_settings
from dasd.plugins.host import PluginHost
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.model_settings import ModelSettings
from dasd.version import __version__

FAKE = """
import struct, sys
body = {body!r}
sys.stdout.buffer.write({magic!r} + struct.pack(">BIQ", 6, 0, len(body)) + body)
"""
"""A worker of another version of dasd; 6 is the kind ``hello``."""


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered from another test, and this environment's variables mean nothing to others."""
    monkeypatch.setattr(backend, "_KNOWN", {})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "leaks"))
    install(tmp_path / "leaks", "leaks", "raise AssertionError")


@pytest.fixture
def there(tmp_path: Path) -> str:
    """Python of an environment with the plugin, which this one hasn't."""
    install(tmp_path / "site", "speaker", CODE)
    return str(environment(tmp_path / "env", tmp_path / "site"))


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing in it."""
    return environment(tmp_path_factory.mktemp("environments") / "bare", ours=False).parents[1]


@pytest.fixture
def registry() -> Registry:
    return PluginHost.load(["echo"]).registry


def check(registry: Registry, *overrides: str) -> None:
    check_recipe(registry, Recipe.load("demo", overrides).settings)


def test_a_backend_that_is_installed_there_alone_will_do(registry: Registry, there: str) -> None:
    assert "speaker" not in registry.names("teacher")
    check(registry, "teacher.backend=speaker", f"teacher.python={there}", "teacher.options.size=4")
    with pytest.raises(PluginError, match="no teacher 'speaker'"):
        check(registry, "teacher.backend=speaker")


@pytest.mark.parametrize(
    ("overrides", "kind", "words"),
    [
        (
            ["teacher.backend=speaker", "teacher.options.sise=4"],
            RecipeError,
            r"teacher\.options\.sise: .*did you mean 'size'",
        ),
        (
            ["teacher.backend=mute"],
            RecipeError,
            r"stages\.mixed: teacher 'mute' \(plugin dasd-speaker\) can't",
        ),
        (
            ["teacher.backend=speeker"],
            PluginError,
            r"(?s)teacher\.backend: there is no teacher 'speeker' in .*; it has .*speaker.* install dasd-speeker",
        ),
    ],
)
def test_what_the_other_environment_refuses(
    registry: Registry, there: str, overrides: list[str], kind: type[DasdError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        check(registry, f"teacher.python={there}", *overrides)


def test_a_student_needs_a_backend_that_runs_one(registry: Registry, there: str) -> None:
    with pytest.raises(RecipeError, match=r"student\.backend: teacher 'mute' .*can't run a student"):
        check(registry, "student.backend=mute", f"student.python={there}")


def test_it_is_asked_once(registry: Registry, there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ModelSettings(model="m", backend="speaker", python=there)
    first = backend_of(registry, settings)
    assert first.gives_top

    def refuse(*_: object) -> None:
        raise AssertionError("a second worker was started")

    monkeypatch.setattr(backend, "WorkerProcess", refuse)
    assert backend_of(registry, settings) == first


def test_the_fingerprint_knows_the_plugin_there_and_not_the_place(registry: Registry, there: str) -> None:
    settings = ModelSettings(model="m", backend="speaker", python=there)
    found = backend_settings(settings, registry)
    versions = found["versions"]
    assert (versions.pop("plugin"), versions.pop("version")) == ("dasd-speaker", "1.0")
    assert list(versions) == ["code"], "of the modules that are installed there"
    assert there not in str(found)
    own = ModelSettings(model="m")
    elsewhere = own.model_copy(update={"python": there})
    assert backend_settings(own, registry) == backend_settings(elsewhere, registry)


def test_a_broken_plugin_there_is_named(registry: Registry, there: str, tmp_path: Path) -> None:
    install(tmp_path / "site", "other", "import missing_module")
    with pytest.raises(
        PluginError, match=r"(?s)no teacher 'other'.*plugin other .*is broken.*missing_module"
    ):
        check(registry, "teacher.backend=other", f"teacher.python={there}")


# -- where it is ------------------------------------------------------------------------------------


def test_a_directory_of_a_virtual_environment_means_its_python(bare: Path) -> None:
    assert interpreter(str(bare), "teacher.python") == bare / "bin" / "python"
    assert interpreter(str(bare / "bin" / "python"), "teacher.python") == bare / "bin" / "python"


def test_relative_paths_are_those_of_the_recipe(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bare.parent)
    settings = Recipe.load("demo", ["teacher.python=bare/bin/python", "student.python=bare"]).settings
    assert settings.teacher.python == str(bare / "bin" / "python")  # the link, not where it leads
    assert settings.student.python == str(bare)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(Recipe.load("demo").to_yaml().replace("python: null", "python: env", 1))
    assert Recipe.load(recipe).settings.teacher.python == str(tmp_path / "env")


def test_what_is_no_python_is_refused_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^teacher\.python: there is no .*/none; wanted"):
        WorkerProcess(str(tmp_path / "none"), "teacher.python")
    with pytest.raises(InputError, match=r"there is no .*/bin/python; wanted"):
        WorkerProcess(str(tmp_path), "teacher.python")
    plain = tmp_path / "plain"
    plain.write_text("hello")
    with pytest.raises(InputError, match=r"plain isn't a program"):
        WorkerProcess(str(plain), "teacher.python")
    plain.chmod(0o755)
    with pytest.raises(InputError, match=r"plain can't be run: Exec format error"):
        WorkerProcess(str(plain), "teacher.python")
    plain.write_text("#!/bin/sh\necho no use >&2; exit 3")
    with pytest.raises(
        PluginError, match=r"(?s)doesn't start dasd's worker \(ended with exit code 3\).*no use"
    ):
        WorkerProcess(str(plain), "teacher.python")


def test_a_script_may_set_what_that_environment_needs(registry: Registry, there: str, tmp_path: Path) -> None:
    script = tmp_path / "python-there"
    script.write_text(f'#!/bin/sh\nexport SPEAKER_SIZE=4\nexec {there} "$@"\n')
    script.chmod(0o755)
    settings = ModelSettings(model="m", backend="speaker", python=str(script))
    assert backend_of(registry, settings).versions["plugin"] == "dasd-speaker"


def test_an_environment_without_dasd(bare: Path) -> None:
    with pytest.raises(PluginError, match=rf"bare/bin/python has no dasd.*pip install dasd=={__version__}"):
        WorkerProcess(str(bare), "teacher.python")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"protocol": 1, "dasd": "0.0.9", "python": "3.11.7"}', r"has dasd 0\.0\.9 \(protocol 1\), this"),
        (
            b'{"protocol": 99, "dasd": "%b", "python": "3.11.7"}' % __version__.encode(),
            r"\(protocol 99\), this",
        ),
        (b'{"version": "9"}', "another version of dasd, whose worker answers differently"),
    ],
)
def test_an_environment_with_another_dasd(tmp_path: Path, body: bytes, words: str) -> None:
    package = tmp_path / "other" / "dasd" / "models" / "remote"
    package.mkdir(parents=True)
    (package.parent.parent / "__init__.py").touch()
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "worker.py").write_text(FAKE.format(body=body, magic=MAGIC))
    python = environment(tmp_path / "env", tmp_path / "other", ours=False)
    with pytest.raises(PluginError, match=rf"teacher\.python: .*{words}"):
        WorkerProcess(str(python), "teacher.python")
