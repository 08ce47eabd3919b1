"""Against a real llama.cpp server: the same tokens and numbers as the model gives in process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from openai_serving import LlamaServer

from dasd.api import ModelSettings, Teacher, resolve_model
from dasd.testing import TeacherSuite

Open = Callable[..., Teacher]
pytestmark = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed here")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """llama.cpp with the miniature teacher."""
    import openai_gguf

    directory = tmp_path_factory.mktemp("llama")
    openai_gguf.write(Path(resolve_model("dasd:mini-teacher")), directory / "mini.gguf")
    server = LlamaServer(directory / "server.log", directory / "mini.gguf")
    server.start()
    server.wait()
    yield server
    server.kill()


@pytest.mark.usefixtures("key")
class TestLlamaCpp(TeacherSuite):
    name = "openai"
    scores = True
    streams = True

    @pytest.fixture
    def settings(self, llama: LlamaServer) -> ModelSettings:
        return ModelSettings(
            model=self.model,
            backend=self.name,
            precision="fp32",
            device="cpu",
            batch_size=8,
            options={"base_url": llama.url, "backoff": 0.05},
        )
