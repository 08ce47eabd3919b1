"""One real server for all tests of the plugin that need one, and what asks it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from openai_serving import KEY, VllmServer
from openai_wire import SECRET

from dasd.api import ModelSettings, Teacher
from dasd.plugins.host import PluginHost
from dasd.plugins.registry import Registry

Open = Callable[..., Teacher]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """vLLM with the miniature teacher."""
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed in this environment")
    server = VllmServer(tmp_path_factory.mktemp("vllm") / "server.log")
    try:
        server.start()
        server.wait()
        yield server
    finally:  # Ctrl-C doesn't reach its session
        server.kill()


@pytest.fixture(scope="module")
def in_process() -> Iterator[Teacher]:
    """The model that the servers serve, by the built-in backend."""
    settings = ModelSettings(model="dasd:mini-teacher", precision="fp32", device="cpu")
    teacher = PluginHost.load([]).registry.make_teacher(settings)
    yield teacher
    teacher.close()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The server's key, in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return KEY


@pytest.fixture
def only_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the environment, and no proxies or certificates of this machine's."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("SSL_CERT"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


@pytest.fixture(scope="session")
def registry() -> Registry:
    """With this plugin; looking for what is installed takes longer than most tests."""
    return PluginHost.load(["openai"]).registry


@pytest.fixture
def open_teacher(key: str, registry: Registry) -> Iterator[Open]:  # noqa: ARG001 - the key has to be set
    """Opens teachers on an address, with quick retries; closes them."""
    opened: list[Teacher] = []

    def opens(url: str, **options: Any) -> Teacher:
        settings = ModelSettings(
            model=options.pop("model", "dasd:mini-teacher"),
            backend="openai",
            precision="fp32",
            device="cpu",
            batch_size=8,
            options={"base_url": url, "backoff": 0.05, "timeout": 60, "patience": 60, **options},
        )
        opened.append(registry.make_teacher(settings))
        return opened[-1]

    yield opens
    for teacher in opened:
        teacher.close()
