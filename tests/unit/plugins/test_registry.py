"""The registry: names, options, what is refused at registration, engines in a pool."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import Field
from tests.canned_teacher import (
    Canned,
    Options,
    registry,
    settings,
)

from dasd.errors import ComponentError, InputError, PluginError, RecipeError
from dasd.models.pool import ModelPool
from dasd.plugins import registering
from dasd.plugins.components import ROLES, Owner
from dasd.plugins.registry import Registry
from dasd.recipe.model_settings import ModelSettings


def test_plugins_are_promised_every_role_and_keyword() -> None:
    promised = {
        name: vars(registering.Registry)[name] for name in vars(registering.Registry) if name[0] != "_"
    }
    assert set(promised) == {*ROLES, "make_verifier", "make_evaluator"}
    for name, method in promised.items():
        given = inspect.signature(getattr(Registry, name)).parameters
        wanted = inspect.signature(method).parameters
        assert list(given.values()) == list(wanted.values()), name


def test_unknown_names_get_the_known_ones_and_a_suggestion() -> None:
    made = registry()
    made.teacher("canned", lambda _: Canned())
    with pytest.raises(PluginError, match=r"no teacher 'caned'; did you mean 'canned'\? Known: canned"):
        made.make_teacher(settings(backend="caned"))


def test_two_registrations_of_a_name_name_both_owners() -> None:
    made, other = registry(), Registry(Owner("other", "dasd-other", "1.0"))
    made.verifier("v", lambda: None)  # type: ignore[arg-type, return-value]
    other.verifier("v", lambda: None)  # type: ignore[arg-type, return-value]
    other.verifier("w", lambda: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(PluginError, match=r"verifier 'v'.*dasd-canned 2\.0.*dasd-other 1\.0"):
        made.merge(other)
    assert made.names("verifier") == ["v"]  # all or nothing


@pytest.mark.parametrize(
    "name", ["", " x", 3, None, "a b", "../x", "a,b", "a:b", "a\x1b[2Jb", "a\nb", "a\ud800", "x" * 10**6]
)
def test_a_name_must_be_one(name: Any) -> None:
    with pytest.raises(PluginError, match="wanted a name") as caught:
        registry().trainer(name, lambda _: None)  # type: ignore[arg-type, return-value]
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("options", [dict, {"a": 1}, Field(3)])
def test_options_must_be_a_model(options: Any) -> None:
    with pytest.raises(PluginError, match="wanted a class of pydantic's BaseModel"):
        registry().trainer("x", lambda _: None, options=options)  # type: ignore[arg-type, return-value]
    with pytest.raises(PluginError, match="doc=5; wanted a text"):
        registry().trainer("x", lambda _: None, doc=5)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("packages", ["torch", ["torch>=2"], ["torch.nn"]])
def test_packages_are_names_in_a_list(packages: Any) -> None:
    with pytest.raises(PluginError, match="wanted names of top-level packages, in a list"):
        registry().trainer("mine", lambda _: None, packages=packages)  # type: ignore[arg-type, return-value]


def test_a_factory_must_be_callable() -> None:
    with pytest.raises(PluginError, match="wanted a factory"):
        registry().trainer("x", "not callable")  # type: ignore[arg-type]


def test_options_are_checked_with_their_path_and_filled_in() -> None:
    made = registry()
    seen: list[ModelSettings] = []
    made.teacher("canned", lambda s: seen.append(s) or Canned(), options=Options)  # type: ignore[func-returns-value]
    made.make_teacher(settings())
    assert seen[0].options == {"size": 3}
    with pytest.raises(
        RecipeError, match=r"teacher\.options\.sise: unknown key; did you mean 'size'"
    ) as error:
        made.checked_options("teacher", "canned", {"sise": 1, "size": 0}, "teacher.options")
    assert "teacher.options.size: wanted at least 1, got 0" in str(error.value)


def test_a_factory_that_lacks_a_package_says_what_to_install() -> None:
    made = registry()

    def factory(_: ModelSettings) -> Any:
        raise ImportError("No module named 'engine'")

    made.teacher("canned", factory)
    with pytest.raises(PluginError, match=r"No module named 'engine'.*pip install --upgrade dasd-canned"):
        made.make_teacher(settings())


def test_a_component_without_its_roles_methods_is_refused() -> None:
    made = registry()
    made.teacher("canned", lambda _: object())  # type: ignore[arg-type, return-value]
    with pytest.raises(PluginError, match=r"without sample, continue_, score, close"):
        made.make_teacher(settings())


def test_a_factory_that_raises_names_its_plugin() -> None:
    made = registry()
    made.verifier("broken", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(
        ComponentError, match=r"verifier 'broken' \(plugin dasd-canned\) failed: ZeroDivisionError"
    ):
        made.make_verifier("broken")


def test_the_pool_keeps_one_engine_open() -> None:
    opened: list[Canned] = []

    def factory(_: ModelSettings) -> Canned:
        opened.append(Canned())
        return opened[-1]

    made = registry()
    made.teacher("canned", factory)
    pool = ModelPool(made)
    first = pool.open(settings())
    assert pool.open(settings()) is first
    pool.open(settings(model="other"))
    assert [engine.closed for engine in opened] == [1, 0]
    pool.close()
    pool.close()
    assert [engine.closed for engine in opened] == [1, 1]


def test_errors_of_dasd_pass_through_a_factory() -> None:
    made = registry()

    def factory(_: ModelSettings) -> Any:
        raise InputError("no tokenizer")

    made.teacher("canned", factory)
    with pytest.raises(InputError, match="^no tokenizer$"):
        made.make_teacher(settings())
