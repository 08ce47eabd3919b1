"""The plugin host: loading, isolation, errors, hooks, and what requested plugins change in a recipe."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.plugin_factory import REGISTER
from tests.plugin_factory import install as install_plugin

from dasd.cli import cli
from dasd.errors import PluginError, RecipeError
from dasd.pipeline.compatibility import check_recipe
from dasd.pipeline.plan import plan_recipe
from dasd.pipeline.plan.drafts import read_draft
from dasd.plugins import hooks
from dasd.plugins.code import code_digest
from dasd.plugins.components import Owner
from dasd.plugins.host import HOOKS, PluginHost
from dasd.plugins.recipe import Recipe

ROOT = Path(__file__).parents[3]
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a plugin for this test alone; modules that it imports leave with it."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def add(name: str, code: str, distribution: str | None = None) -> None:
        install_plugin(site, name, code, distribution)
        monkeypatch.delitem(sys.modules, f"plugin_{name.replace('-', '_')}", raising=False)

    return add


def load(*requested: str) -> tuple[PluginHost, list[str]]:
    warnings: list[str] = []
    return PluginHost.load(requested or None, warnings.append), warnings


def record(host: PluginHost, name: str):
    return next(r for r in host.plugins if r.name == name)


def exporters(host: PluginHost) -> list[str]:
    """Names of the exporters that plugins brought."""
    return [c.name for c in host.registry.components("exporter") if c.owner.distribution != "dasd"]


def test_builtins_are_loaded_through_the_hook() -> None:
    host, warnings = load()
    assert "transformers" in host.registry.names("teacher")
    assert "divergence" in host.registry.names("selector")
    assert record(host, "dasd.backends").hooks == ("dasd_register",)
    assert not warnings


def test_every_installed_plugin_is_loaded_when_none_is_requested(install: Install) -> None:
    install("one", REGISTER + "registry.exporter('one-export', print)")
    install("two", REGISTER + "registry.exporter('two-export', print)")
    host, _ = load()
    assert {"one-export", "two-export"} <= set(host.registry.names("exporter"))


@pytest.mark.parametrize("name", ["one", "dasd-one", "ONE", "dasd_one"])
def test_requested_are_loaded_exactly(install: Install, name: str) -> None:
    install("one", REGISTER + "registry.exporter('one-export', print)")
    install("two", "raise RuntimeError('never loaded')")
    host, warnings = load(name)
    assert exporters(host) == ["one-export"]
    assert [r.name for r in host.plugins if r.requested] == ["one"]
    assert not warnings


def test_a_distribution_name_of_another_kind(install: Install) -> None:
    install("short", REGISTER + "registry.exporter('x', print)", distribution="acme-distillery")
    host, _ = load("acme-distillery")
    assert host.registry.component("exporter", "x").owner.distribution == "acme-distillery"


def test_an_unrequested_broken_plugin_is_listed_and_ignored(install: Install) -> None:
    install("broken", "import a_module_that_is_not_there")
    install("leaving", "raise SystemExit('goodbye')")
    install("good", REGISTER + "registry.exporter('good', print)")
    host, warnings = load()
    assert "a_module_that_is_not_there" in (record(host, "broken").error or "")
    assert "goodbye" in (record(host, "leaving").error or "")
    assert exporters(host) == ["good"]
    assert len(warnings) == 2 and "dasd-broken" in warnings[0]


def test_a_requested_broken_plugin_ends_with_cause_and_command(install: Install) -> None:
    install("broken", "import a_module_that_is_not_there")
    with pytest.raises(PluginError, match=r"a_module_that_is_not_there.*pip install .*dasd-broken"):
        load("broken")


def test_a_missing_plugin_ends_with_the_install_command(install: Install) -> None:
    install("shortest", REGISTER + "registry.exporter('x', print)")
    with pytest.raises(PluginError, match=r"did you mean 'shortest'.*pip install dasd-shortes$") as error:
        load("shortes")
    assert error.value.exit_code == 2


def test_a_plugin_that_fails_half_way_leaves_nothing(install: Install) -> None:
    install("half", REGISTER + "registry.exporter('left', print); raise ValueError('half way')")
    host, _ = load()
    assert exporters(host) == []
    assert "half way" in (record(host, "half").error or "")


def test_two_owners_of_a_name_are_both_named(install: Install) -> None:
    install("one", REGISTER + "registry.exporter('same', print)")
    install("two", REGISTER + "registry.exporter('same', print)")
    with pytest.raises(PluginError, match=r"'same'.*dasd-one 1\.0.*dasd-two 1\.0"):
        load("one", "two")
    host, warnings = load()
    assert len(warnings) == 1
    with pytest.raises(PluginError, match=r"dasd-one.*dasd-two"):  # nobody is picked in silence
        host.registry.component("exporter", "same")


def test_a_builtin_name_cant_be_taken(install: Install) -> None:
    install("thief", REGISTER + "registry.teacher('transformers', print)")
    with pytest.raises(PluginError, match=r"'transformers'.*dasd\.backends.*dasd-thief"):
        load("thief")
    host, _ = load()
    assert host.registry.component("teacher", "transformers").owner.distribution == "dasd"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "from dasd.api import hookimpl\n@hookimpl\ndef dasd_regster(registry): ...",
            "did you mean 'dasd_register'",
        ),
        ("def dasd_register(registry): ...", "isn't marked with dasd.api.hookimpl"),
        ("VALUE = 1", "implements no hook"),
        ("from dasd.api import hookimpl\n@hookimpl\ndef dasd_register(regstry): ...", "regstry"),
    ],
    ids=["misspelt", "unmarked", "none", "argument"],
)
def test_hooks_that_would_never_be_called_are_refused(install: Install, code: str, words: str) -> None:
    install("odd", code)
    with pytest.raises(PluginError, match=words):
        load("odd")


def observed(kind: str) -> str:
    return (
        "from dasd.api import hookimpl\nseen = []\n@hookimpl\n"
        f"def dasd_stage_{kind}(run, stage): seen.append((run, stage))\n"
    )


def test_dasd_register(install: Install) -> None:
    install("one", REGISTER + "registry.verifier('always', print, doc='Says yes.')")
    host, _ = load("one")
    component = host.registry.component("verifier", "always")
    assert (component.doc, component.owner.plugin) == ("Says yes.", "one")
    versions = host.registry.versions("verifier", "always")
    assert (versions["plugin"], versions["version"]) == ("dasd-one", "1.0")


def test_an_edited_plugin_has_other_code(install: Install, tmp_path: Path) -> None:
    code = REGISTER + "registry.verifier('always', print)"
    install("one", code)

    def version() -> object:
        host, _ = load("one")
        return host.registry.versions("verifier", "always")["code"]

    first = version()
    module = tmp_path / "site" / "plugin_one.py"
    assert (tmp_path / "site" / "__pycache__").is_dir() or sys.dont_write_bytecode
    assert version() == first, "what Python compiled is no code of the plugin's"
    module.write_text(code + "\n# edited\n")
    assert version() != first
    module.write_text(code)
    assert version() == first
    host, _ = load("one")
    assert "code" not in host.registry.versions("verifier", "math"), "dasd's own go by its version"


def test_code_is_all_that_a_package_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "a_plugin_of_many_files"
    (package / "prompts").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    owner = Owner("many", "dasd-many", "1.0", (package.name,))
    seen = [code_digest(owner)]
    (package / "prompts" / "ask.txt").write_text("Think.")
    seen.append(code_digest(owner))
    (package / "prompts" / "ask.txt").rename(package / "prompts" / "say.txt")
    seen.append(code_digest(owner))
    assert None not in seen and len(set(seen)) == 3
    assert code_digest(Owner("gone", "dasd-gone", "1.0", ("a_module_that_is_not_there",))) is None


def test_dasd_commands(install: Install) -> None:
    import click

    install(
        "one",
        "import click\nfrom dasd.api import hookimpl\n@hookimpl\ndef dasd_commands(cli):\n"
        "    cli.add_command(click.Command('hello'))",
    )
    host, _ = load("one")
    group = click.Group()
    host.commands(group)
    assert list(group.commands) == ["hello"]


def test_dasd_stage_started(install: Install) -> None:
    install("one", observed("started"))
    host, _ = load("one")
    host.observe("dasd_stage_started", run=Path("runs/x"), stage="sample-low")
    assert sys.modules["plugin_one"].seen == [(Path("runs/x"), "sample-low")]


def test_dasd_stage_finished_and_observers_are_called_one_by_one(install: Install) -> None:
    failing = (
        "from dasd.api import hookimpl\n@hookimpl\ndef dasd_stage_finished(stage): raise ValueError('oh')"
    )
    install("a-failing", failing)
    install("b-good", observed("finished"))
    host, warnings = load("a-failing", "b-good")
    host.observe("dasd_stage_finished", run=Path("r"), stage="mix", seconds=1.0, summary={})
    assert sys.modules["plugin_b_good"].seen == [(Path("r"), "mix")]
    assert len(warnings) == 1 and "a-failing" in warnings[0] and "oh" in warnings[0]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_and_tested(hook: str) -> None:
    arguments = ", ".join(inspect.signature(getattr(hooks, hook)).parameters)
    assert f"### {hook}({arguments})" in (ROOT / "docs/plugins.md").read_text()
    assert (getattr(hooks, hook).__doc__ or "").strip()
    assert any(name.startswith(f"test_{hook}") for name in globals())


# -- requested plugins are the recipe's defaults ------------------------------------------------------

ALL_ROLES = REGISTER + (
    "registry.teacher('t', print)\n    registry.trainer('tr', print)\n    registry.evaluator('e', print)\n"
    "    registry.selector('s', print)\n    registry.filter('f', print)"
)


def test_requested_plugins_become_defaults(install: Install) -> None:
    install("all", ALL_ROLES)
    settings = Recipe.load("demo", ["select={}"], ["all"]).settings
    assert settings.plugins == ("all",)
    assert (settings.teacher.backend, settings.student.backend) == ("t", "t")
    assert (settings.trainer.trainer, settings.evaluation.evaluator) == ("tr", "e")
    assert (settings.select.selector, settings.filters.extra) == ("s", ("f",))
    # The demo recipe itself names its selector, and -o the backend: those stay.
    kept = Recipe.load("demo", ["teacher.backend=transformers"], ["all"]).settings
    assert (kept.select.selector, kept.teacher.backend) == ("divergence", "transformers")


def test_an_unrequested_plugin_changes_no_default(install: Install) -> None:
    install("all", ALL_ROLES)
    assert Recipe.load("demo").settings.teacher.backend == "transformers"


def test_a_teacher_that_runs_no_student_leaves_the_student(install: Install) -> None:
    install("api", REGISTER + "registry.teacher('api', print, runs_student=False)")
    settings = Recipe.load("demo", plugins=["api"]).settings
    assert (settings.teacher.backend, settings.student.backend) == ("api", "transformers")


def test_two_requested_plugins_for_one_key(install: Install) -> None:
    install("one", REGISTER + "registry.teacher('x', print)")
    install("two", REGISTER + "registry.teacher('y', print)")
    with pytest.raises(PluginError, match=r"dasd-one.*dasd-two.*teacher\.backend"):
        Recipe.load("demo", plugins=["one", "two"])


CAPABILITIES = REGISTER + "registry.teacher('api', print, runs_student=False, {})"


@pytest.mark.parametrize(
    ("code", "overrides", "words"),
    [
        (CAPABILITIES.format(""), ["student.backend=api"], r"student\.backend.*can't run a student"),
        (CAPABILITIES.format("continues=False"), [], r"stages\.mixed.*can't continue"),
        (CAPABILITIES.format("gives_logprobs=False"), [], r"'divergence'.*gives none; use one of .*random"),
    ],
)
def test_recipes_that_dont_fit_are_refused_early(
    install: Install, code: str, overrides: list[str], words: str
) -> None:
    install("api", code)
    recipe = Recipe.load("demo", overrides, ["api"])
    host, _ = load("api")
    with pytest.raises(RecipeError, match=words):
        check_recipe(host.registry, recipe.settings)


GOOD = REGISTER + 'registry.exporter("good", lambda options: None)\n'
COUNTS = """
from pathlib import Path
from dasd.api import hookimpl
calls = Path({calls!r})

@hookimpl
def dasd_register(registry):
    calls.write_text(calls.read_text() + "x")
    registry.exporter({name!r}, lambda options: None)
"""


@pytest.mark.parametrize("requested", [(), ("counted",), ("counted", "other")])
@pytest.mark.parametrize("command", [("pipeline", "--dry-run"), ("plan",), ("recipes", "show", "--resolved")])
def test_a_command_loads_each_plugin_once(
    install: Install,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    requested: tuple[str, ...],
) -> None:
    calls = {name: tmp_path / name for name in ("counted", "other")}
    for name, file in calls.items():
        file.write_text("")
        install(name, COUNTS.format(calls=str(file), name=name))
    monkeypatch.chdir(tmp_path)
    options = ["--plugins", ",".join(requested)] if requested else []
    done = CliRunner().invoke(cli, [*command, "demo", *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    counted = {name for name, file in calls.items() if file.read_text() == "x"}
    if requested or command[0] != "recipes":  # showing a recipe loads what is requested alone
        assert counted == set(requested or calls)
    assert {file.read_text() for file in calls.values()} <= {"", "x"}


def test_a_plan_names_each_plugin_that_does_not_load_and_uses_the_others(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("good", GOOD)
    install("bad", "raise RuntimeError('torn')")
    monkeypatch.chdir(tmp_path)
    draft = read_draft("demo", [], ["bad", "good", "absent"])
    told = [finding.text for finding in draft.findings if finding.key == "plugins"]
    assert len(told) == 2 and "torn" in told[0] and "'absent' is not installed" in told[1]
    assert exporters(PluginHost.load(["good"])) == [
        c.name for c in draft.registry.components("exporter") if c.owner.distribution != "dasd"
    ]
    assert draft.recipe is not None and draft.recipe.settings.plugins == ("good",)


def test_where_no_requested_plugin_loads_the_installed_ones_are_there(install: Install) -> None:
    install("good", GOOD)
    install("bad", "raise RuntimeError('torn')")
    host, problems = PluginHost.load_working(["bad"], warn=pytest.fail)
    assert [str(problem) for problem in problems] and "torn" in str(problems[0])
    assert exporters(host) == exporters(PluginHost.load(["good"])) and not host.defaults()


DECLARING = """
from dasd.api import hookimpl

@hookimpl
def dasd_register(registry):
    registry.teacher("mine", lambda settings: None, **{teacher!r})
    registry.trainer("mine", lambda settings: None, **{trainer!r})
    registry.evaluator("mine", lambda registry: type("E", (), {{"evaluate": None}})(), **{evaluator!r})
"""


@pytest.mark.parametrize("declares", [True, False])
def test_a_plan_goes_by_what_components_say_of_themselves(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declares: bool
) -> None:
    needs = {"packages": ("not_installed_here",), "extra": "gpu"}
    declared = {
        "teacher": {"loads_model": True, **needs},
        "trainer": needs,
        "evaluator": {"grades_by_verifier": True},
    }
    install("mine", DECLARING.format(**(declared if declares else {key: {} for key in declared})))
    (tmp_path / "q.jsonl").write_text('{"question": "Why?"}\n')
    monkeypatch.chdir(tmp_path)
    bare = "questions.eval=[{source: file, options: {path: q.jsonl}}]"
    made = plan_recipe("demo", [bare], ["mine"], tmp_path / "run")
    assert ("teacher, sampling" in {each.what for each in made.memory}) is declares
    told = {(finding.key, finding.advice): finding.text for finding in made.findings}
    install_it = "pip install --upgrade 'dasd-mine[gpu]'"
    lacking = told.get(("teacher.backend", install_it), "")
    assert ("teacher 'mine'" in lacking and "trainer 'mine'" in lacking) is declares
    assert any("no answer or no verifier" in text for text in told.values()) is declares


def test_what_dasds_own_components_say_of_themselves() -> None:
    registry = PluginHost.load(["echo"]).registry
    assert [c.name for c in registry.components("selector") if c.by_length] == ["longest"]
    assert [c.name for c in registry.components("teacher") if c.loads_model] == ["transformers"]
    assert registry.component("trainer", "torch").install == "pip install --upgrade 'dasd[torch]'"
