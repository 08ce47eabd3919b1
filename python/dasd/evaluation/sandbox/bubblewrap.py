"""The command line of bubblewrap: what a program sees of the machine."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from pathlib import Path

from dasd.errors import BackendError
from dasd.evaluation.sandbox.limits import Limits

__all__ = ["SandboxError", "python_command", "require_sandbox", "sandbox_command"]

_HOW = (
    "install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap; Arch: "
    "pacman -S bubblewrap); or set unsafe_run_code_without_sandbox in the recipe, at your own risk (docs/sandbox.md)"
)
_INSIDE = Path(__file__).with_name("inside.py").read_text(encoding="utf-8")
_MOUNTS = "/mnt"
_NOBODY = "65534"


class SandboxError(BackendError):
    """Model-written code can't be run: no bubblewrap, or it doesn't start on this machine."""

    exit_code = 2


def require_sandbox() -> None:
    """SandboxError unless bubblewrap is installed (and setpriv, for root)."""
    for program in ("bwrap", "setpriv") if os.getuid() == 0 else ("bwrap",):
        if _which(program) is None:
            raise SandboxError(
                f"model-written code runs in a sandbox only, and `{program}` isn't on this machine: {_HOW}"
            )


def python_command(mode: str, *descriptors: int) -> list[str]:
    """The running interpreter on the part of dasd that is inside: no site packages, nothing from the environment."""
    # Not -I: it would ignore PYTHONHASHSEED too. The environment holds nothing else of Python's.
    return [_python(), "-P", "-s", "-S", "-c", _INSIDE, mode, *map(str, descriptors)]


def sandbox_command(limits: Limits, info: int, seccomp: int | None) -> list[str]:
    """What to put before a command so that it runs in the sandbox.

    ``info``: descriptor on which bubblewrap tells the first process; ``seccomp``: one to read the filter from.
    Root hands its rights over first: the program is then nobody's, and limits hold that root is exempt from.
    """
    require_sandbox()
    own = (
        []
        if _prefix().is_relative_to("/usr") and _prefix() != Path("/usr/local")
        else ["bin", "lib", "lib64"]
    )
    own = [name for name in own if (_prefix() / name).is_dir()]
    command: list[str] = []
    sources = {name: str(_prefix() / name) for name in own}
    outermost = ["--info-fd", str(info)]
    if os.getuid() == 0:
        # The interpreter may lie where nobody but root can look, such as below /root. A namespace of root's own
        # ends with dasd; the death of a root process can't be signalled to one of nobody's.
        command += [_need("bwrap"), "--unshare-pid", "--die-with-parent", *outermost, "--dev-bind", "/", "/"]
        command += ["--proc", "/proc", "--tmpfs", _MOUNTS]
        for name in own:
            command += ["--ro-bind", sources[name], f"{_MOUNTS}/{name}"]
        sources = {name: f"{_MOUNTS}/{name}" for name in own}
        command += ["--", _need("setpriv"), "--reuid", _NOBODY, "--regid", _NOBODY, "--clear-groups", "--"]
        outermost = []
    command += [_need("bwrap"), "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"]
    command += ["--new-session", "--cap-drop", "ALL", "--hostname", "sandbox", "--clearenv"]
    command += outermost + (["--seccomp", str(seccomp)] if seccomp is not None else [])
    for name, value in _ENVIRONMENT.items():
        command += ["--setenv", name, value]
    for path in ("/usr/bin", "/usr/lib", "/usr/lib64", "/usr/lib32", "/etc/ld.so.cache"):
        command += ["--ro-bind-try", path, path]
    for path in ("/bin", "/lib", "/lib64", "/lib32"):
        if Path(path).is_symlink():
            command += ["--symlink", str(Path(path).readlink()), path]
        else:
            command += ["--ro-bind-try", path, path]
    # Before the interpreter, which may be installed below /tmp itself.
    command += ["--size", str(limits.disk_bytes), "--tmpfs", "/tmp"]  # noqa: S108 - its own
    for name in own:
        command += ["--ro-bind", sources[name], str(_prefix() / name)]
    for device in ("null", "zero", "random", "urandom"):
        command += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    return [*command, "--chdir", "/tmp", "--remount-ro", "/", "--"]  # noqa: S108 - its own


_ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108 - the sandbox's own
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    # The same program gives the same answer each time, orders of sets included.
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUTF8": "1",
}


def plain_environment() -> dict[str, str]:
    """The environment of a program that runs without a sandbox."""
    return {key: value for key, value in _ENVIRONMENT.items() if key != "HOME"}


@functools.cache
def _prefix() -> Path:
    """Where the interpreter itself is installed: a virtual environment's base."""
    prefix = Path(sys.base_prefix).resolve()
    if Path.home().resolve().is_relative_to(prefix):
        raise SandboxError(
            f"the Python that runs dasd is installed in {prefix}, which holds the home directory; "
            "a sandbox would show it: use a Python in a directory of its own"
        )
    return prefix


@functools.cache
def _python() -> str:
    return str(_prefix() / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")


@functools.cache
def _which(program: str) -> str | None:
    return shutil.which(program)


def _need(program: str) -> str:
    path = _which(program)
    assert path is not None, program
    return path
