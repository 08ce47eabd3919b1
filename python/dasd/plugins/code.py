"""What a plugin's code is: a hash of its modules, as an edited plugin of the same version does other work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from dasd.base.checksums import file_checksum
from dasd.base.seeds import digest
from dasd.plugins.components import Owner

__all__ = ["code_digest"]


def code_digest(owner: Owner) -> str | None:
    """Hash of names and contents of all files in the modules that the owner's distribution installs.

    Where they lie doesn't matter, nor how they were installed. None for dasd's own components, which its version
    stands for, and for an owner without modules on this disk.
    """
    if owner.distribution == "dasd":
        return None
    found = [
        (name, file_checksum(path, size=32))
        for module in sorted({*owner.modules, *_installed(owner.distribution)})
        for name, path in _files(module)
    ]
    return digest(*(part for each in found for part in each)) if found else None


def _installed(distribution: str) -> set[str]:
    """Top-level modules by the distribution's own record; none where it is installed editable and lists none."""
    try:
        known = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return set()
    names = set((known.read_text("top_level.txt") or "").split())
    for file in known.files or ():
        if file.suffix == ".py" and file.parts[0] != ".." and not file.parts[0].startswith("__editable__"):
            names.add(file.parts[0].removesuffix(".py"))
    return names


def _files(module: str) -> Iterator[tuple[str, Path]]:
    """Each file of a module with its name below it, in a fixed order; what Python compiled of them left out."""
    loaded = sys.modules.get(module)
    try:
        spec = loaded.__spec__ if loaded is not None else find_spec(module)
    except (ImportError, ValueError):
        return
    if spec is None:
        return
    for place in sorted(spec.submodule_search_locations or ()):
        root = Path(place)
        for path in sorted(root.rglob("*")):
            below = path.relative_to(root)
            if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in below.parts:
                yield f"{module}/{below.as_posix()}", path
    if not spec.submodule_search_locations and spec.origin is not None and Path(spec.origin).is_file():
        yield f"{module}{Path(spec.origin).suffix}", Path(spec.origin)
