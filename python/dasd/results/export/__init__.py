"""Exports: what a run trains on, in the formats of other tools."""

from __future__ import annotations

from dasd.results.export.gather import ROWS, Rows
from dasd.results.export.write import MANIFEST, ExportManifest, export_run

__all__ = ["MANIFEST", "ROWS", "ExportManifest", "Rows", "export_run"]
