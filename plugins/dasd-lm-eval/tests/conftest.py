"""Tasks of the tests' own, a model to ask, and lm_eval's own model to hold it against."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dasd.api import ModelSettings, Teacher
from dasd.plugins.host import PluginHost
from dasd.plugins.registry import Registry


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if find_spec("lm_eval") is None:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="lm_eval is not installed in this environment"))


@pytest.fixture(scope="session", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No hub, and the caches of data sets in a directory that goes."""
    patch = pytest.MonkeyPatch()
    cache = tmp_path_factory.mktemp("datasets")
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("HF_DATASETS_OFFLINE", "1")
    patch.setenv("HF_DATASETS_CACHE", str(cache))
    if find_spec("datasets") is not None:
        import datasets.config

        patch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of YAMLs and their data."""
    from local_tasks import write_tasks

    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="session")
def registry() -> Registry:
    return PluginHost.load(["lm-eval"]).registry


@pytest.fixture(scope="session")
def student(registry: Registry) -> Iterator[Teacher]:
    settings = ModelSettings(model="dasd:mini-student", precision="fp32", device="cpu", batch_size=16)
    teacher = registry.make_teacher(settings)
    yield teacher
    teacher.close()
