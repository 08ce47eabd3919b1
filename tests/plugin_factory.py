"""Writes installed-looking plugins (a module and its .dist-info) into a directory that goes on ``sys.path``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

REGISTER = "from dasd.api import hookimpl\n@hookimpl\ndef dasd_register(registry):\n    "


def install(site: Path, name: str, code: str, distribution: str | None = None) -> None:
    """Plugin ``name`` of distribution ``dasd-NAME`` 1.0, whose module holds ``code``."""
    distribution = distribution or f"dasd-{name}"
    module = f"plugin_{name.replace('-', '_')}"
    site.mkdir(parents=True, exist_ok=True)
    (site / f"{module}.py").write_text(code)
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\nSummary: A test\n"
    )
    (info / "entry_points.txt").write_text(f"[dasd.plugins]\n{name} = {module}\n")


@contextmanager
def installed(site: Path) -> Iterator[None]:
    """With ``site`` on ``sys.path``; afterwards no module of it is left, so that another version may come."""
    with mock.patch.object(sys, "path", [str(site), *sys.path]):
        importlib.invalidate_caches()
        try:
            yield
        finally:
            for name, module in list(sys.modules.items()):
                if (getattr(module, "__file__", None) or "").startswith(f"{site}/"):
                    del sys.modules[name]
