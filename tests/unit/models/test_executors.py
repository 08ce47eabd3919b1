"""Where engines are opened: the role executor, and that nothing of it is in a fingerprint."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict, Field
from tests.stage_run import ScriptedModel, ScriptedTrainer, make_recipe, make_registry

from dasd.errors import PluginError, RecipeError
from dasd.models import executors
from dasd.models.pool import ModelPool, Start
from dasd.pipeline.compatibility import check_recipe
from dasd.pipeline.graph import build_graph
from dasd.pipeline.nodes import nodes_of
from dasd.plugins.components import Owner
from dasd.plugins.hosts import HostsWanted
from dasd.plugins.registry import Registry
from dasd.plugins.roles import OpenedTeacher
from dasd.recipe.executor_settings import ExecutorSettings
from dasd.recipe.model_settings import ModelSettings

SETTINGS = ModelSettings(model="dasd:mini-teacher", backend="scripted")


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    nodes: int = 1


class TrainerOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    machines: int | None = Field(None, json_schema_extra={"speed": True})
    depth: int = 1


class Elsewhere:
    """Opens engines here, and writes down what it is called for."""

    told: ClassVar[list[str]] = []

    def __init__(self, options: dict[str, Any]) -> None:
        self.told.append(f"nodes {options['nodes']}")

    def open(self, settings: ModelSettings, start: Callable[[ModelSettings], OpenedTeacher]) -> OpenedTeacher:
        self.told.append(f"open {settings.model}")
        return start(settings)

    def close(self) -> None:
        self.told.append("close")


def registry(factory: Callable[..., Any] = Elsewhere, *, launches: bool = False) -> Registry:
    made = make_registry()
    executors.dasd_register(made)
    of_plugin = Registry(Owner("far", "dasd-far", "1"))
    of_plugin.executor("elsewhere", factory, options=Options, launches=launches)
    of_plugin.trainer("many", lambda _: ScriptedTrainer(), options=TrainerOptions, hosts="machines")
    made.merge(of_plugin)
    return made


def test_the_pool_opens_by_the_executor_and_closes_it() -> None:
    Elsewhere.told.clear()
    pool = ModelPool(registry(), None, ExecutorSettings(executor="elsewhere", options={"nodes": 3}))
    assert isinstance(pool.open(SETTINGS).info.model, str)
    pool.open(SETTINGS)
    pool.open(SETTINGS.model_copy(update={"model": "dasd:mini-student"}))
    pool.close()
    pool.close()
    assert Elsewhere.told == ["nodes 3", "open dasd:mini-teacher", "open dasd:mini-student", "close"]


def test_what_opens_no_teacher_is_blamed() -> None:
    class Empty(Elsewhere):
        def open(self, settings: ModelSettings, start: Any) -> Any:
            return object()

    pool = ModelPool(registry(Empty), None, ExecutorSettings(executor="elsewhere"))
    with pytest.raises(
        PluginError, match=r"executor 'elsewhere' \(plugin dasd-far\).* object without sample"
    ):
        pool.open(SETTINGS)
    with pytest.raises(PluginError, match="returned a ScriptedModel without open"):
        registry(lambda _: ScriptedModel(SETTINGS)).make_executor(ExecutorSettings(executor="elsewhere"))


@pytest.mark.parametrize(
    ("section", "error", "told"),
    [
        ({"executor": "ray"}, PluginError, "there is no executor 'ray'. Known: elsewhere, local"),
        ({"options": {"nodes": 2}}, RecipeError, "executor.options: it takes no options, got nodes"),
        ({"executor": "elsewhere", "options": {"node": 2}}, RecipeError, "executor.options.node"),
    ],
)
def test_a_wrong_section_is_refused_before_the_run(
    section: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error) as raised:
        check_recipe(registry(), make_recipe(executor=section).settings)
    assert told in str(raised.value)


class Launching(Elsewhere):
    def hosts(self, wanted: HostsWanted) -> Any:
        self.told.append(f"{wanted.count} hosts")


def test_hosts_of_a_training_are_held_by_the_executor_that_has_some() -> None:
    Elsewhere.told.clear()
    wanted = HostsWanted(2, None, "auto", [])
    assert ModelPool(registry(), None, ExecutorSettings(executor="elsewhere")).hosts is None
    assert ModelPool(registry(), None, ExecutorSettings()).hosts is None
    pool = ModelPool(registry(Launching, launches=True), None, ExecutorSettings(executor="elsewhere"))
    pool.open(SETTINGS)
    hold = pool.hosts
    assert hold is not None
    hold(wanted)
    pool.close()
    assert Elsewhere.told == ["nodes 1", "open dasd:mini-teacher", "2 hosts", "close"]
    without = ModelPool(registry(launches=True), None, ExecutorSettings(executor="elsewhere")).hosts
    with pytest.raises(PluginError, match="registered as launching .* returned a Elsewhere without hosts"):
        without(wanted)  # type: ignore[misc]


def test_a_training_on_hosts_wants_an_executor_that_starts_it() -> None:
    trainer = {"trainer": "many", "options": {"machines": 2}}
    elsewhere = {"executor": "elsewhere"}
    check_recipe(registry(launches=True), make_recipe(executor=elsewhere, trainer=trainer).settings)
    check_recipe(registry(), make_recipe(trainer={"trainer": "many"}).settings)
    for section, launches in ((elsewhere, False), ({}, True)):
        told = r"trainer\.options\.machines: 2 hosts of an executor are wanted, and executor '.*' starts no trainer; use"
        with pytest.raises(RecipeError, match=told):
            check_recipe(registry(launches=launches), make_recipe(executor=section, trainer=trainer).settings)


def test_where_a_training_runs_is_in_no_fingerprint_and_other_options_are() -> None:
    made = registry()

    def of(**options: int) -> list[str]:
        recipe = make_recipe(trainer={"trainer": "many", "options": options})
        return [node.fingerprint for node in nodes_of(build_graph(recipe, made)) if node.kind == "train"]

    assert of() == of(machines=2) != of(depth=1)


def test_it_is_in_no_fingerprint() -> None:
    made = registry()
    fingerprints = [
        [(node.name, node.fingerprint) for node in nodes_of(build_graph(recipe, made))]
        for recipe in (
            make_recipe(),
            make_recipe(executor={"executor": "elsewhere", "options": {"nodes": 2}}),
        )
    ]
    assert fingerprints[0] == fingerprints[1]


def test_a_start_that_was_pickled_loads_plugins_where_it_is_called() -> None:
    start = pickle.loads(pickle.dumps(Start(registry(), ())))
    with pytest.raises(PluginError, match="there is no teacher 'scripted'"):
        start(SETTINGS)
    with pytest.raises(PluginError, match="'absent' is not installed"):
        pickle.loads(pickle.dumps(Start(registry(), ["absent"])))(SETTINGS)
