"""What a cluster holds, which replicas are of one kind, and pieces of frames: without a cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from dasd.api import HostsWanted, InputError, ModelInfo, ModelSettings
from dasd_ray import RayOptions
from dasd_ray.capacity import device_kind, need_of, wanted
from dasd_ray.fleet import _difference
from dasd_ray.hosts import gpus_of_hosts
from dasd_ray.items import MOST_BYTES, Opened, frame_of, pieces

INFO = ModelInfo("m", "r1", "t1", "e", "1", "raw", 100, concurrency=4)
OPENED = Opened(INFO, "n1", "10.0.0.1", 7, "0.1.0")


def node(alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "NodeID": "n", "NodeManagerAddress": "10.0.0.1", "Resources": resources}


def settings(device: str = "auto", **options: Any) -> ModelSettings:
    return ModelSettings(model="m", backend="vllm", device=device, options=options)


def test_as_many_replicas_as_the_gpus_hold() -> None:
    nodes = [node(CPU=64, GPU=8), node(CPU=64, GPU=6), node(CPU=64), node(alive=False, CPU=64, GPU=8)]
    options = RayOptions()
    need = need_of(options, settings(tensor_parallel_size=2, pipeline_parallel_size=2), nodes)
    assert (need.gpus, wanted(options, need, nodes)) == (4.0, 3)
    assert wanted(options, need_of(options, settings(), nodes), nodes) == 14
    assert wanted(RayOptions(replicas=5), need, nodes) == 5


def test_one_replica_a_node_without_gpus_and_one_where_none_fits_yet() -> None:
    nodes = [node(CPU=64), node(CPU=2), node(CPU=0)]
    options = RayOptions.model_validate({"resources": {"cpus": 4}})
    need = need_of(options, settings(), nodes)
    assert (need.gpus, wanted(options, need, nodes)) == (0.0, 1)
    assert wanted(options, need, []) == 1
    assert wanted(RayOptions(), need_of(RayOptions(), settings(), nodes), nodes) == 2


def test_an_engine_on_the_cpu_takes_no_gpu() -> None:
    nodes = [node(CPU=64, GPU=8)]
    need = need_of(RayOptions(), settings("cpu", tensor_parallel_size=2), nodes)
    assert (need.gpus, wanted(RayOptions(), need, nodes)) == (0.0, 1)


def test_custom_resources_choose_nodes_and_name_the_device() -> None:
    nodes = [node(CPU=8, GPU=2, **{"accelerator_type:H200": 1.0}), node(CPU=8, GPU=4)]
    options = RayOptions.model_validate({"resources": {"others": {"accelerator_type:H200": 0.001}}})
    need = need_of(options, settings(), nodes)
    assert wanted(options, need, nodes) == 2
    assert device_kind(need, nodes[0]) == "H200"
    assert device_kind(need_of(options, settings("cpu"), nodes), nodes[0]) == "CPU"


@pytest.mark.parametrize("key", ["model_revision", "tokenizer_hash", "engine", "engine_version"])
def test_replicas_of_two_kinds_are_told_apart(key: str) -> None:
    other = replace(OPENED, info=replace(INFO, **{key: "other"}), host="10.0.0.2")
    told = _difference((OPENED, "H200"), (other, "H200"))
    assert told is not None
    assert f"differ in {key}" in told and "other on 10.0.0.2" in told


def test_another_device_or_dasd_is_told_and_another_place_is_not() -> None:
    elsewhere = replace(OPENED, node="n2", host="10.0.0.2", pid=8)
    assert _difference((OPENED, "H200"), (elsewhere, "H200")) is None
    assert "differ in device: H200 on 10.0.0.1, H100 on" in str(
        _difference((OPENED, "H200"), (elsewhere, "H100"))
    )
    assert "differ in dasd" in str(_difference((OPENED, "CPU"), (replace(elsewhere, dasd="0.2.0"), "CPU")))


def test_large_frames_come_in_pieces_and_whole_again() -> None:
    frame = pl.DataFrame({"text": [chr(97 + n % 26) * 2**18 for n in range(60)], "n": range(60)})
    found = list(pieces(frame))
    assert len(found) > 1 and max(map(len, found)) < 2 * MOST_BYTES
    assert pl.concat([frame_of(piece) for piece in found]).equals(frame)
    assert len(list(pieces(frame.head(1)))) == 1


@pytest.mark.parametrize(
    "options", [{"replicas": "many"}, {"retries": -1}, {"resources": {"gpu": 1}}, {"adress": ""}]
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RayOptions.model_validate(options)


def test_a_training_takes_the_hosts_with_most_gpus_whole_or_as_many_as_it_has_processes() -> None:
    nodes = [node(CPU=64, GPU=2), node(CPU=64, GPU=8), node(CPU=64), node(alive=False, GPU=8), node(GPU=4)]
    assert gpus_of_hosts(HostsWanted(2, None, "auto", []), nodes) == [8, 4]
    assert gpus_of_hosts(HostsWanted(3, 2, "cuda", []), nodes) == [2, 2, 2]
    assert gpus_of_hosts(HostsWanted(2, None, "cpu", []), nodes) == []
    assert gpus_of_hosts(HostsWanted(2, 3, "auto", []), [node(CPU=8)]) == []
    for many in (HostsWanted(4, None, "auto", []), HostsWanted(3, 4, "auto", [])):
        with pytest.raises(InputError, match=r"wanted \d hosts with \d GPUs or more .* cluster has 4 nodes"):
            gpus_of_hosts(many, nodes)
    with pytest.raises(InputError, match="wanted 1 hosts"):
        gpus_of_hosts(HostsWanted(1, None, "cuda", []), [node(CPU=8)])
