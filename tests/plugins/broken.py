"""What the deliberately broken plugins share: each is registered under the name ``broken``."""

from __future__ import annotations

from typing import Any, ClassVar

from dasd.plugins.components import Owner
from dasd.plugins.host import PluginHost
from dasd.plugins.registry import Registry


class Broken:
    """Mixed into a suite: ``make`` is the factory of the component under test.

    ``caught``: the check that has to fail, and words of its message.
    """

    name = "broken"
    doc = "Broken on purpose."
    role: str
    capabilities: ClassVar[dict[str, bool]] = {}
    caught: ClassVar[tuple[str, str]]

    @staticmethod
    def make(*arguments: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def make_registry(cls) -> Registry:
        registry = PluginHost.load().registry
        scratch = Registry(Owner("broken", "dasd-broken", "1.0"))
        getattr(scratch, cls.role)("broken", cls.make, doc=cls.doc, **cls.capabilities)
        registry.merge(scratch)
        return registry
