"""Starts commands in a fraction of a second, and stops them at a chosen change to the disk.

As a program this file is the launcher: it imports what a run needs once and forks a process for each command.
Processes that a killed command leaves behind become its children and are seen. What the launcher has imported is kept
out of the commands' garbage collections: each would cost half a second.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0
"""Seconds that a process may take to end after what it belongs to; the machine may be busy."""
PRELOADED = (
    "torch._dynamo",
    "transformers.generation.utils",
    "transformers.models.llama.modeling_llama",
    "transformers.models.llama.tokenization_llama",
    "dasd.models.transformers.engine",
    "dasd.pipeline.graph",
    "dasd.pipeline.stages.report",
    "dasd.training.torch.trainer",
    "dasd.training.export",
    "dasd.evaluation.verifier_evaluator",
    "dasd.evaluation.verifiers.code",
    "dasd.results.export.gather",
    "dasd.results.export.write",
    "dasd.results.report.build",
    "dasd.results.report.figures_sentences",
    "dasd.results.report.figures_training",
    "dasd.cli.pipeline",
    "dasd.cli.summary",
    "rich.progress",
)
CHANGES = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"})
"""What Python announces before it changes a disk."""
_STAGE = re.compile(r"/stages/(\d\d-[^/]+)")
_PR_SET_CHILD_SUBREAPER = 36


# -- inside the command's process ----------------------------------------------------------------


@dataclass
class Watch:
    """Follows changes below ``place``: writes each down, and stops the process at one of them.

    A change belongs to the stage whose directory was touched last; ``""`` before the first.
    """

    place: str
    log: str | None
    stage: str
    at: int | None
    """Stop at the so-manyth change from the first one of ``stage``, or of one after it, on; from 1."""

    def start(self) -> None:
        count, current, process = 0, "", os.getpid()
        log = None if self.log is None else os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal count, current
            if event not in CHANGES or os.getpid() != process:
                return
            path = str(arguments[0])
            if self.place not in path or (event == "open" and arguments[1] in ("r", "rb")):
                return
            if event == "open" and arguments[1] is None and not int(str(arguments[2])) & os.O_ACCMODE:
                return
            if found := _STAGE.search(path):
                current = max(current, found[1])
            if log is not None:
                os.write(log, f"{current}\t{time.process_time()}\t{event} {path}\n".encode())
            if current >= self.stage:
                count += 1
                if count == self.at:
                    os.kill(process, signal.SIGSTOP)

        sys.addaudithook(hook)


def _serve() -> None:
    """For each line of JSON: run its call in a child, tell its pid, each time that it stops, and how it ended."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    tell = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if any(module.startswith("transformers") for module in sys.argv[1:]):
        from dasd.cli import guard

        guard.run(["--help"])  # which sets what libraries must know before they are imported
    for module in sys.argv[1:]:
        import_module(module)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        wanted = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(wanted)
        print(child, file=tell, flush=True)
        while True:
            _, status = os.waitpid(child, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                break
            print("stopped", file=tell, flush=True)
        print(os.waitstatus_to_exitcode(status), file=tell, flush=True)


def _become(wanted: Mapping[str, Any]) -> NoReturn:
    os.setsid()
    for descriptor, path in ((0, os.devnull), (1, wanted["output"]), (2, wanted["output"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), descriptor)
    os.environ.update(wanted["environment"])
    os.chdir(wanted["directory"])
    if wanted["watch"] is not None:
        Watch(**wanted["watch"]).start()
    sys.argv = ["dasd", *map(str, wanted["arguments"])]
    module, function = wanted["call"].split(":")
    _end(getattr(import_module(module), function)(wanted["arguments"]))


def _end(code: int) -> NoReturn:
    """As Python ends, but for its taking all modules to pieces, which takes torch and its like over a second."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
    sys.exit()


# -- in the test ------------------------------------------------------------------------------


class Command:
    """A command under way."""

    def __init__(self, launcher: Launcher, output: Path) -> None:
        self._launcher = launcher
        self._output = output
        self.pid = int(launcher.line())
        self.code: int | None = None

    def wait(self) -> int | None:
        """Its exit code once it has ended, negative for a signal; None when it stops at its moment."""
        line = self._launcher.line()
        self.code = None if line == "stopped" else int(line)
        return self.code

    @property
    def said(self) -> str:
        """What it wrote to stdout and stderr."""
        return self._output.read_text(errors="replace")

    def go_on(self) -> None:
        """Let it go on after a stop."""
        os.kill(self.pid, signal.SIGCONT)

    def find(self, words: str) -> int | None:
        """A descendant whose command line has ``words``."""
        for pid in below(self.pid):
            with suppress(OSError):
                if words in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "):
                    return pid
        return None


class Launcher:
    """Starts commands, one at a time, in processes of their own."""

    def __init__(
        self, scratch: Path, modules: Sequence[str] = PRELOADED, python: str = sys.executable
    ) -> None:
        """``modules``: what to import once for all commands; none makes each command import for itself."""
        self._scratch = scratch
        self._count = 0
        quiet = {"NO_COLOR": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [python, __file__, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **quiet, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
        )

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *error: object) -> None:
        for pid in below(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.communicate()

    def line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the launcher has ended"
        return line.rstrip()

    def start(
        self,
        arguments: Sequence[object],
        watch: Watch | None = None,
        call: str = "dasd.cli.guard:run",
        environment: Mapping[str, str] | None = None,
    ) -> Command:
        """Start ``call(arguments)``, the command line by default."""
        self._count += 1
        output = self._scratch / f"output-{self._count}"
        wanted = {
            "arguments": [
                str(argument) if isinstance(argument, Path) else argument for argument in arguments
            ],
            "watch": None if watch is None else vars(watch),
            "call": call,
            "output": str(output),
            "environment": dict(environment or {}),
            "directory": str(self._scratch),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        return Command(self, output)

    def run(self, arguments: Sequence[object], **options: Any) -> Command:
        """Run a command to its end."""
        command = self.start(arguments, **options)
        command.wait()
        return command

    def left_behind(self) -> list[str]:
        """Command lines of what ended commands have started and what doesn't end by itself."""
        until = time.monotonic() + PATIENCE
        while (left := below(self._process.pid)) and time.monotonic() < until:
            time.sleep(0.01)
        lines = []
        for pid in left:
            with suppress(OSError):
                lines.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
        return lines


def below(pid: int) -> list[int]:
    """Descendants of a process that are no zombies."""
    found, waiting = [], [pid]
    while waiting:
        with suppress(OSError):
            for task in Path(f"/proc/{waiting.pop()}/task").iterdir():
                waiting += (children := [int(child) for child in (task / "children").read_text().split()])
                found += [child for child in children if state(child) not in ("Z", "X", "")]
    return found


def state(pid: int) -> str:
    """Letter of a process's state; "" if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
