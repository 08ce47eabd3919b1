"""The one place where errors become messages and exit codes.

0 done, 1 a run that failed, 2 wrong use (recipe, plugin, arguments, input), 130 interrupted.
``DASD_DEBUG=1`` shows tracebacks as well.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from typing import TextIO

import click

from dasd.base.printable import echo, silence
from dasd.errors import DasdError
from dasd.plugins.blame import current_directory

INTERRUPTED = 130

_LONGEST = 10_000
"""Characters of a message; one may quote a file."""

_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""Of a place where the caller may not do what was asked: wrong use, no failed run."""

_WAITING_SECONDS = 2.0
"""Before it is told that the end waits for threads."""

_ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # Threads of torch that spin while they wait starve one another on a busy machine: a factor of ten on two cores.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def main() -> None:
    """Run the command line and exit."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller; the descriptor must not become a file's
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123
    code = run(sys.argv[1:])
    loaded = sys.modules.get("dasd.plugins.load_guard")
    alive = [(plugin, thread) for plugin, thread in (loaded.STRAY if loaded else ()) if thread.is_alive()]
    if alive:
        for plugin, thread in alive:
            echo(
                f"warning: plugin {plugin} left thread {thread.name} running; dasd ends without it", err=True
            )
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(code)  # Python would wait for these threads
    _tell_of_waiting()
    sys.exit(code)


def _tell_of_waiting() -> None:
    """Say for whom Python waits at its end: a thread that a plugin or library started in a run and that goes on."""
    others = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    if others:
        names = ", ".join(thread.name for thread in others)
        text = f"warning: dasd is done and waits for a thread that still runs ({names}); Ctrl-C ends it"
        later = threading.Timer(_WAITING_SECONDS, echo, (text,), {"err": True})
        later.daemon = True
        later.start()


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code. Errors are told on stderr, each once."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    debug = os.environ.get("DASD_DEBUG", "") not in ("", "0")
    if not debug:
        warnings.showwarning = _show_warning  # type: ignore[assignment]  # names of arguments differ
    from dasd.cli import cli

    try:
        result = cli.main(list(arguments), prog_name="dasd", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        echo(shown.getvalue(), err=True, nl=False)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; nothing is lost: continue with the same command", debug)
        return INTERRUPTED
    except BrokenPipeError:
        silence(sys.stdout)  # the reader (head, less) has seen enough
        return 0
    except DasdError as error:
        _say(f"error: {error}", debug)
        return error.exit_code
    except MemoryError:
        _say(
            "error: out of memory. What is finished is kept: give the same command again with more memory, or with "
            "smaller batches",
            debug,
        )
        return 1
    except Warning as error:  # by PYTHONWARNINGS=error or -W error
        _say(f"error: a warning was made an error ({type(error).__name__}): {error}", debug)
        return 1
    except OSError as error:
        if error.errno in _NOT_ALLOWED and error.filename is not None:
            text = f"error: {error.filename} may not be read or written: {error.strerror}; name another place"
            _say(text, debug)
            return 2
        if isinstance(error, FileNotFoundError) and current_directory() is None:
            _say(
                "error: the current directory was removed; change to another and give the same command again",
                debug,
            )
            return 2
        what = "the disk is full" if error.errno == errno.ENOSPC else "the system refused"
        _say(f"error: {what}: {error}", debug)
        return 1


def _say(text: str, debug: bool) -> None:
    if debug:
        echo(traceback.format_exc(), err=True, nl=False)
    cut = len(text) - _LONGEST
    echo(f"{text[:_LONGEST]} ... ({cut} characters more)" if cut > 0 else text, err=True)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    _filename: str,
    _line: int,
    _file: TextIO | None = None,
    _text: str | None = None,
) -> None:
    """dasd's own warnings as one line; those of libraries are for developers and need DASD_DEBUG."""
    if category.__module__.split(".")[0] not in ("builtins", "torch", "transformers", "polars", "pydantic"):
        echo(f"warning: {message}", err=True)
