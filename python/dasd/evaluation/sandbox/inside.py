"""What runs inside the sandbox: limits itself, then runs a program, serves its functions, or runs tests.

Given to ``python -c`` as text, so it imports the standard library alone. Arguments: the mode, the descriptor to
read the job from, the one to report on, then those of the calls in modes ``serve`` and ``tests``.
Values cross between processes as JSON with plain types only: nothing that arrives can run code.
"""

from __future__ import annotations

import ast
import builtins
import json
import os
import resource
import sys
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

__all__ = ["decode", "encode"]

OUT_OF_MEMORY = 91
"""Exit code of a program that ended with a MemoryError."""
_LONGEST = 64 << 20
_DEEPEST = 200


class Opaque:
    """A value that can't cross; equal to nothing but itself."""


def encode(value: object, depth: int = 0) -> Any:
    """``value`` as JSON: lists as they are, other containers under a one-letter tag, by value."""
    if depth > _DEEPEST:
        return {"o": 0}
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return {"b": bytes(value).hex()}
    if isinstance(value, complex):
        return {"c": [value.real, value.imag]}
    if isinstance(value, dict):
        return {"d": [[encode(k, depth + 1), encode(v, depth + 1)] for k, v in value.items()]}
    for kind, tag in ((list, ""), (tuple, "t"), (set, "s"), (frozenset, "f")):
        if isinstance(value, kind):
            items = [encode(each, depth + 1) for each in value]
            return {tag: items} if tag else items
    return {"o": 0}


def decode(value: Any) -> Any:
    """What ``encode`` made; whatever isn't of its making becomes Opaque."""
    if isinstance(value, list):
        return [decode(each) for each in value]
    if not isinstance(value, dict):
        return value
    with suppress(TypeError, ValueError, KeyError, OverflowError):
        [(tag, inside)] = value.items()
        if tag == "b":
            return bytes.fromhex(inside)
        if tag == "c":
            return complex(*inside)
        if tag == "d":
            return {decode(k): decode(v) for k, v in inside}
        if tag in "tsf" and tag:
            return {"t": tuple, "s": set, "f": frozenset}[tag](decode(each) for each in inside)
    return Opaque()


def main() -> None:
    """Read the job, set the limits, tell that the start is over, and do what the mode says."""
    sys.set_int_max_str_digits(0)
    mode, job_fd, report_fd, *others = sys.argv[1], *map(int, sys.argv[2:])
    with os.fdopen(job_fd, "rb") as stream:
        job = json.loads(stream.read())
    sys.argv = ["program.py"]
    limit(job["limits"])
    os.write(report_fd, b"started\n")
    for descriptor in (report_fd, *others):
        os.set_inheritable(descriptor, False)
    if mode == "program":
        os.close(report_fd)
        guarded(lambda: run(job, "__main__"))
    elif mode == "calls":
        guarded(lambda: make_calls(job, report_fd))
    elif mode == "serve":
        os.close(report_fd)
        guarded(lambda: serve(job, *others))
    elif mode == "tests":
        run_tests(job, report_fd, *others)


def limit(limits: Mapping[str, int]) -> None:
    """Set the limits of this process and of all that it starts."""
    for name, value in limits.items():
        soft = hard = value
        if name == "RLIMIT_CPU":
            hard = value + 1  # SIGXCPU first, which tells what happened; a program that ignores it is killed
        with suppress(ValueError):  # a lower limit holds already
            resource.setrlimit(getattr(resource, name), (soft, hard))


def guarded(work: Callable[[], object]) -> None:
    """Run; a MemoryError ends the process with an exit code of its own."""
    try:
        work()
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def run(job: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The names of a program that was run as the module ``name``, after its preamble."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    # Each compiled by itself: a program may begin with an import that has to come first of all.
    for part in ("preamble", "program"):
        code = compile(job.get(part, ""), f"{part}.py", "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - the purpose
    return module.__dict__


def resolve(names: Mapping[str, Any], path: str) -> Any:
    """The function at ``path``: ``name``, or ``Class.method`` of a fresh instance."""
    first, *rest = path.split(".")
    found = names[first]
    for name in rest:
        found = getattr(found() if isinstance(found, type) else found, name)
    return found


def make_calls(job: Mapping[str, Any], report_fd: int) -> None:
    """Call a function with each list of arguments; one line a result."""
    with os.fdopen(report_fd, "wb") as report:
        names = run(job, "solution")
        for arguments in job["arguments"]:
            value = resolve(names, job["function"])(*arguments)
            report.write(json.dumps(encode(value)).encode() + b"\n")
            report.flush()


def serve(job: Mapping[str, Any], requests_fd: int, replies_fd: int) -> None:
    """Answer calls to the program's functions until none comes."""
    with os.fdopen(requests_fd, "rb") as requests, os.fdopen(replies_fd, "wb") as replies:
        names = run(job, "solution")
        for line in requests:
            path, arguments, keywords = json.loads(line)
            try:
                value = resolve(names, path)(*decode(arguments), **decode(keywords))
                reply = {"value": encode(value)}
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - it goes to the tests, which may expect it
                reply = {"raised": type(error).__name__, "text": str(error)[:500]}
            replies.write(json.dumps(reply).encode() + b"\n")
            replies.flush()


class Gone(BaseException):
    """The program ended, or sent what is no reply."""


class Program:
    """The tests' end of the calls."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self.requests, self.replies = requests, replies
        self.gone = False

    def call(self, path: str, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        """The value, rebuilt from plain types, or the exception that it raised."""
        try:
            line = json.dumps([path, encode(arguments), encode(keywords)]).encode() + b"\n"
            self.requests.write(line)
            self.requests.flush()
            reply = json.loads(self.replies.readline(_LONGEST))
            if "raised" not in reply:
                return decode(reply["value"])
            kind, text = getattr(builtins, str(reply["raised"]), None), str(reply["text"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            self.gone = True
            raise Gone("the program ended before it answered a call") from None
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            kind, text = RuntimeError, f"{reply['raised']}: {text}"
        try:
            error = kind(text)
        except TypeError:
            error = RuntimeError(text)
        raise error


def remote(program: Program, path: str) -> Callable[..., Any]:
    """A function of the program, to be called from the tests."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        return program.call(path, list(arguments), keywords)

    call.__name__ = call.__qualname__ = path
    return call


def run_tests(job: Mapping[str, Any], report_fd: int, requests_fd: int, replies_fd: int) -> None:
    """Run the tests against a program in another sandbox and report the verdict as one JSON value."""
    with os.fdopen(requests_fd, "wb") as requests, os.fdopen(replies_fd, "rb") as replies:
        program = Program(requests, replies)
        try:
            names = run_against(job, program)
            if "check" in names and job["entry_point"]:
                names["check"](remote(program, job["entry_point"]))
            verdict = "the program ended before its time" if program.gone else ""
        except BaseException as error:  # noqa: BLE001 - whatever a test raises, it didn't pass
            verdict = f"{where(error, job['tests'])}{type(error).__name__}: {error}"[:500]
    os.write(report_fd, json.dumps(verdict).encode())


def where(error: BaseException, tests: str) -> str:
    """The line of the tests that raised ``error``."""
    number, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "tests.py":
            number = trace.tb_lineno
        trace = trace.tb_next
    return f"line {number}, {tests.splitlines()[number - 1].strip()[:200]}: " if number else ""


def run_against(job: Mapping[str, Any], program: Program) -> dict[str, Any]:
    """The tests' names after they ran; names that they don't define are the program's functions."""
    tree = ast.parse(job["tests"])
    loaded = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    module = types.ModuleType("tests")
    sys.modules["tests"] = module
    for name in loaded - set(dir(builtins)):
        # Prompts often import for the tests what the standard library has.
        module.__dict__[name] = __import__(name) if name in sys.stdlib_module_names else remote(program, name)
    exec(compile(tree, "tests.py", "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the purpose
    return module.__dict__


if __name__ == "__main__":
    main()
