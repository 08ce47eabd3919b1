"""What all tests share: imported modules stay out of garbage collections."""

from __future__ import annotations

import gc

import pytest


def pytest_collection_finish() -> None:
    """Engines collect garbage when they close, which takes a third of a second with torch's modules looked through."""
    _set_aside()


@pytest.fixture(scope="module", autouse=True)
def modules_of_earlier_tests() -> None:
    """What was imported since."""
    _set_aside()


def _set_aside() -> None:
    gc.collect()
    gc.freeze()
