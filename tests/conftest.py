"""What all tests share: directories in memory, and imported modules that stay out of garbage collections."""

from __future__ import annotations

import gc
import os

import pytest
from tests.in_memory import memory


def pytest_configure() -> None:
    """Pytest's temporary directories, ``tmp_path`` and its like, lie in memory where that has 2 GiB left."""
    if room := memory(2**31):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(room))


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
