"""Exceptions of a plugin's code, made into errors that say whose code it was and what to do."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from dasd.errors import ComponentError, DasdError

__all__ = ["Origin"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose code is called: how messages call the component, and the plugin that it is of."""

    label: str
    plugin: str | None = None
    """Distribution and version; None for dasd's own, whose exceptions are left as they are."""

    def __str__(self) -> str:
        return self.label

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """ComponentError in place of what the code inside raises, unless that is an error of dasd's already."""
        try:
            yield
        except (DasdError, Warning):
            raise
        except Exception as error:
            if self.plugin is None or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
                raise
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise ComponentError(
                f"{self.label} failed: {type(error).__name__}: {str(error).strip() or 'no message'} "
                f"({frame.filename}, line {frame.lineno}). Mend or update plugin {self.plugin}, or do without it, and "
                "give the same command again; DASD_DEBUG=1 shows the traceback"
            ) from error

    def each(self, start: Callable[[], Iterable[T]]) -> Iterator[T]:
        """What ``start()`` gives, with exceptions of its making blamed, and none of whoever takes it."""
        with self.blamed():
            items = iter(start())
        while True:
            with self.blamed():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item
