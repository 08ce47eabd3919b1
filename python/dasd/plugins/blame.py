"""Exceptions of a plugin's code, made into errors that say whose code it was and what to do."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from dasd.errors import ComponentError, DasdError

__all__ = ["Origin", "current_directory", "words_of"]

T = TypeVar("T")

_LONGEST = 2_000
"""Characters of an exception's message; one may hold a whole file."""


def words_of(error: BaseException) -> str:
    """``ValueError: its message`` in one line of bounded length, also where the message itself can't be made."""
    try:
        text = " ".join(str(error)[: 2 * _LONGEST].split())
    except Exception as other:  # noqa: BLE001 (whatever a plugin's own __str__ does)
        text = f"its message can't be shown ({type(other).__name__})"
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} ..."
    return f"{type(error).__name__}: {text or 'no message'}"


def current_directory() -> str | None:
    """The current directory; None for one that was removed."""
    try:
        return os.getcwd()  # noqa: PTH109 (a plain text is all that is compared)
    except OSError:
        return None


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
        """ComponentError in place of what the code inside raises, unless that is an error of dasd's already.

        SystemExit is one too: the command would end as if it were done. So are the panics of compiled libraries, which
        are no Exception. The current directory is put back: paths of a run may be below it.
        """
        place = None if self.plugin is None else current_directory()
        try:
            yield
        except (DasdError, Warning, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            if self.plugin is None or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
                raise
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise ComponentError(
                f"{self.label} failed: {words_of(error)} ("
                f"{frame.filename}, line {frame.lineno}). Mend or update plugin {self.plugin}, or do without it, and "
                "give the same command again; DASD_DEBUG=1 shows the traceback"
            ) from error
        finally:
            if place is not None and current_directory() != place:
                with suppress(OSError):
                    os.chdir(place)

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
