"""What every suite shares: the component under test, made through the plugin host, and how it is registered."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import JsonValue

from dasd.errors import PluginError, RecipeError
from dasd.plugins.components import Component, Role
from dasd.plugins.host import PluginHost
from dasd.plugins.registry import Registry

__all__ = ["ComponentSuite"]

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


class ComponentSuite:
    """Base of the suites: set ``name`` to the registered name, and ``options`` where it has some."""

    role: ClassVar[Role]
    name: ClassVar[str]
    """The component's registered name."""
    options: ClassVar[Mapping[str, JsonValue]] = {}
    """Its options, as a recipe would give them."""

    _directories: ClassVar[dict[type, tempfile.TemporaryDirectory[str]]] = {}
    _registries: ClassVar[dict[type, Registry]] = {}

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
        if cls not in cls._registries:
            cls._registries[cls] = cls.make_registry()
        return cls._registries[cls]

    @classmethod
    def component(cls) -> Component:
        """What was registered."""
        return cls.registry().component(cls.role, cls.name)

    @classmethod
    def directory(cls) -> Path:
        """A directory of this class's own; it goes when its tests are done."""
        if cls not in cls._directories:
            cls._directories[cls] = tempfile.TemporaryDirectory(prefix="dasd-suite-")
        return Path(cls._directories[cls].name)

    @classmethod
    def teardown_class(cls) -> None:
        """Called by pytest after the last test of the class."""
        cls._registries.pop(cls, None)
        directory = cls._directories.pop(cls, None)
        if directory is not None:
            directory.cleanup()

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
