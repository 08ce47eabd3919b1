"""What the host has to know of a backend before it starts one, wherever that backend is installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

if TYPE_CHECKING:
    from dasd.plugins.components import Component
    from dasd.plugins.registry import Registry

__all__ = ["Backend"]


@dataclass(frozen=True, slots=True)
class Backend:
    """A teacher component of this environment, or of the one that a model's ``python`` names."""

    label: str
    """How messages call it, e.g. ``teacher 'vllm' (plugin dasd-vllm)``."""
    versions: dict[str, JsonValue]
    """Distribution that registers it, its version and code, for fingerprints; where it runs is not in it."""
    runs_student: bool
    continues: bool
    gives_logprobs: bool
    speed_options: tuple[str, ...] = ()
    """Options that change how fast or how patiently it works and never what it gives."""
    loads_model: bool = False
    """Whether the model's weights are loaded onto this run's own devices."""

    @classmethod
    def of(cls, registry: Registry, name: str) -> Backend:
        """What a registered teacher says of itself. PluginError for a name that nobody registered."""
        component = registry.component("teacher", name)
        return cls(
            component.label,
            registry.versions("teacher", name),
            component.runs_student,
            component.continues,
            component.gives_logprobs,
            _speed_options(component),
            component.loads_model,
        )


def _speed_options(component: Component) -> tuple[str, ...]:
    """Names of the options that are marked ``json_schema_extra={"speed": True}``."""
    fields = component.options.model_fields if component.options is not None else {}
    extras = {name: field.json_schema_extra for name, field in fields.items()}
    return tuple(
        name for name, extra in extras.items() if isinstance(extra, dict) and extra.get("speed") is True
    )
