"""The run directory: durable parts, manifests written last, fingerprints, resume, and the read side."""

from __future__ import annotations

from dasd.store.directory import RunDirectory
from dasd.store.inputs import FinishedInputs
from dasd.store.manifest import Event, Manifest, RunRecord, fingerprint
from dasd.store.node import Node, Standing, State, Summaries, Written
from dasd.store.parts import PartRows
from dasd.store.run import Run, is_run
from dasd.store.stage import StageDirectory
from dasd.store.verified import look
from dasd.store.writer import DirectoryWriter

__all__ = [
    "DirectoryWriter",
    "Event",
    "FinishedInputs",
    "Manifest",
    "Node",
    "PartRows",
    "Run",
    "RunDirectory",
    "RunRecord",
    "StageDirectory",
    "Standing",
    "State",
    "Summaries",
    "Written",
    "fingerprint",
    "is_run",
    "look",
]
