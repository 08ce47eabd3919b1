"""Writes installed-looking plugins (a module and its .dist-info) into a directory that goes on ``sys.path``."""

from __future__ import annotations

from pathlib import Path

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
