"""What a run says of the engines that it opens: how much they take at a time, and what of it they chose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

from pydantic import JsonValue

from dasd.base.progress import Console
from dasd.base.records import ModelInfo

__all__ = ["Opened"]


class Opened:
    """Told of each engine that is opened: every time for the run's events, once a choice for the terminal."""

    def __init__(
        self, console: Console, event: Callable[[str, str | None, Mapping[str, JsonValue]], None]
    ) -> None:
        self._console = console
        self._event = event
        self._told: set[str] = set()

    def __call__(self, model: ModelInfo) -> None:
        """``model_opened`` with the sizes, of an engine that says them."""
        sizes = model.sizes
        if sizes is None:
            return
        fields = {"model": model.model, "engine": model.engine, **asdict(sizes)}
        self._event("model_opened", None, {**fields, "chosen": list(sizes.chosen)})
        text = f"{model.model} {sizes}"
        if sizes.chosen and text not in self._told:
            self._told.add(text)
            # What a CPU gets is the same everywhere, and in the documentation.
            say = self._console.detail if sizes.device == "cpu" else self._console.info
            say(text)
