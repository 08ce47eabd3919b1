"""The executor held against dasd's own suite, with two replicas on two nodes."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from conftest import Nodes
from dasd.testing import ExecutorSuite


class TestRay(ExecutorSuite):
    name = "ray"
    # Half a processor each: two processes of a training find room on one of the nodes.
    options: ClassVar[dict[str, Any]] = {"replicas": 2, "resources": {"cpus": 0.5}}

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def cluster(cls, nodes: Nodes) -> None:
        nodes.have(2)
        cls.options = {**cls.options, "address": nodes.address}
