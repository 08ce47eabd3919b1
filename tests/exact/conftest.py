"""One set of tiny models for all exact checks, on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.exact.models import Models, make_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def beside_the_models(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models go by relative names. Their content enters the seeds: every run draws the same."""
    monkeypatch.chdir(models.root)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "run"
