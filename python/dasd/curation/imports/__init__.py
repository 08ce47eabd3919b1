"""Imports: published sets of responses made into files that a recipe's stages take."""

from __future__ import annotations

from dasd.curation.imports.responses import Imported, import_responses

__all__ = ["Imported", "import_responses"]
