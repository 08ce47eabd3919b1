"""What every suite shares: the component under test, made through the plugin host, and how it is registered."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from pydantic import JsonValue

from dasd.errors import PluginError, RecipeError
from dasd.plugins.components import Component, Role
from dasd.plugins.host import PluginHost
from dasd.plugins.registry import Registry

__all__ = ["ComponentSuite", "caught_stdout"]

T = TypeVar("T")

_HEAVY = ("torch", "transformers", "vllm", "deepspeed", "openai", "ray", "jax", "tensorflow", "lm_eval")
"""Packages that take seconds to import: a plugin's module is imported for every command."""

_IMPORT = """
import sys
from importlib import import_module, metadata
plugin = sys.argv[1]
points = [p for p in metadata.entry_points(group="dasd.plugins") if p.name == plugin]
import_module("dasd.api")
from dasd.plugins.host import BUILTIN
before = set(sys.modules)
points[0].load() if points else import_module(BUILTIN[plugin])
print(*sorted({name for name in sys.argv[2:] if name in sys.modules} - before))
"""


@lru_cache
def _heavy_imports(plugin: str) -> list[str]:
    """Which of the heavy packages a fresh Python has imported once it has loaded the plugin."""
    command = [sys.executable, "-c", _IMPORT, plugin, *_HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@dataclass
class Written:
    """What has been written; complete once the block is left."""

    text: str = ""


@contextlib.contextmanager
def caught_stdout() -> Iterator[Written]:
    """Hold back everything written on stdout inside the block: a command's results go there, nothing else."""
    written, python = Written(), io.StringIO()
    saved = os.dup(1)
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 1)
            try:
                with contextlib.redirect_stdout(python):
                    yield written
            finally:
                os.dup2(saved, 1)
                file.seek(0)
                written.text = python.getvalue() + file.read().decode(errors="replace")
    finally:
        os.close(saved)


class ComponentSuite:
    """Base of the suites: set ``name`` to the registered name, and ``options`` where it has some."""

    role: ClassVar[Role]
    name: ClassVar[str]
    """The component's registered name."""
    options: ClassVar[Mapping[str, JsonValue]] = {}
    """Its options, as a recipe would give them."""

    _kept: ClassVar[dict[type, tuple[contextlib.ExitStack, dict[str, Any]]]] = {}

    @classmethod
    def make_options(cls, directory: Path) -> Mapping[str, JsonValue]:
        """The options; override it where they name files, which it may write into ``directory``."""
        del directory
        return cls.options

    @classmethod
    def make_registry(cls) -> Registry:
        """The registry to look the component up in: the built-ins' and all installed plugins'."""
        broken: list[str] = []
        registry = PluginHost.load(warn=broken.append).registry
        if cls.name not in registry.names(cls.role) and broken:
            raise PluginError(f"there is no {cls.role} {cls.name!r}, and " + "; ".join(broken))
        return registry

    @classmethod
    def registry(cls) -> Registry:
        """``make_registry``'s, once a class."""
        return cls._once("registry", lambda _: cls.make_registry())

    @classmethod
    def component(cls) -> Component:
        """What was registered."""
        return cls.registry().component(cls.role, cls.name)

    @classmethod
    def directory(cls) -> Path:
        """A directory of this class's own; it goes when its tests are done."""
        made = tempfile.TemporaryDirectory
        return Path(cls._once("directory", lambda ends: ends.enter_context(made(prefix="dasd-suite-"))))

    @classmethod
    def _once(cls, what: str, make: Callable[[contextlib.ExitStack], T]) -> T:
        """What ``make`` makes, once a class. It is given what is closed after the last test of the class."""
        ends, kept = cls._kept.setdefault(cls, (contextlib.ExitStack(), {}))
        if what not in kept:
            kept[what] = make(ends)
        found: T = kept[what]
        return found

    @classmethod
    def teardown_class(cls) -> None:
        """Called by pytest after the last test of the class."""
        if cls in cls._kept:
            cls._kept.pop(cls)[0].close()

    def test_it_is_registered_with_a_line_of_documentation(self) -> None:
        """`dasd plugins info` has a line for the component and one for each option."""
        component = self.component()
        assert component.doc, f"{component.label} has no doc; register it with doc='...'"
        fields = component.options.model_fields if component.options is not None else {}
        bare = [name for name, field in fields.items() if not field.description]
        assert not bare, f"options of {component.label} without a description: {bare}"

    def test_registering_imports_nothing_heavy(self) -> None:
        """Plugins are loaded for every command, so torch and the like are imported in the factory."""
        owner = self.component().owner
        imported = _heavy_imports(owner.plugin)
        assert not imported, f"loading {owner} imports {', '.join(imported)}; import inside the factory"

    def test_an_unknown_option_is_refused(self) -> None:
        """A misspelt option is told before anything runs, where the component registered its options."""
        component = self.component()
        if component.options is None:
            return
        wrong = {**self.make_options(self.directory()), "no_such_option": 1}
        with pytest.raises(RecipeError, match="no_such_option"):
            self.registry().checked_options(self.role, self.name, wrong, "options")
