"""Programs that use more than they may, or leave processes behind. docs/sandbox.md sums them up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import uuid

import pytest
from tests.unit.evaluation.sandbox_attempts import SMALL, attempt, left_over, processes

from dasd.evaluation.sandbox import Limits, Outcome, run_many, run_program

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap isn't installed")


@pytest.fixture
def mark() -> str:
    """A text that stands in the program's arguments of every process that it starts."""
    return f"escape-{uuid.uuid4().hex}"


# -- memory, time, processes, output ---------------------------------------------------------------------------


def test_memory_of_one_process_is_limited() -> None:
    result = attempt("kept = []\nwhile True: kept.append(bytearray(1 << 20))")
    assert result.outcome is Outcome.MEMORY


def test_memory_of_many_processes_is_limited_together() -> None:
    result = attempt(
        """
        import os, time
        for _ in range(12):
            if os.fork() == 0:
                break
        kept = bytearray(120 << 20)
        for place in range(0, len(kept), 4096):
            kept[place] = 1
        time.sleep(60)
        """,
        Limits(cpu_seconds=10, wall_seconds=50, memory_bytes=256 << 20),
    )
    assert result.outcome is Outcome.MEMORY


def test_memory_that_no_process_holds_is_refused() -> None:
    """Shared segments and files in memory would count for no process."""
    result = attempt("""
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        print(libc.shmget(0, 1 << 20, 0o1600), ctypes.get_errno())
        try:
            os.memfd_create("x")
            print("made")
        except OSError as error:
            print(error.errno)
        """)
    assert result.stdout == "-1 1\n1\n", result.stderr


def test_an_endless_loop_ends() -> None:
    result = attempt("while True: pass", Limits(cpu_seconds=1))
    assert result.outcome is Outcome.TIMEOUT


def test_an_endless_sleep_ends() -> None:
    result = attempt("import time\ntime.sleep(10**6)", Limits(wall_seconds=0.3))
    assert result.outcome is Outcome.TIMEOUT
    assert result.seconds < 10


def test_ignoring_every_signal_does_not_help() -> None:
    ignoring = """
        import signal
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        """
    result = attempt(ignoring + "\n        while True: pass", Limits(cpu_seconds=1, wall_seconds=30))
    assert result.outcome in (Outcome.TIMEOUT, Outcome.CRASH)
    waiting = attempt(ignoring + "\n        while True: signal.pause()", Limits(wall_seconds=0.3))
    assert waiting.outcome is Outcome.TIMEOUT


def test_a_fork_bomb_stays_small(mark: str) -> None:
    result = attempt(
        f"""
        import os, time
        mark = {mark!r}
        while True:
            try:
                os.fork()
            except OSError:
                time.sleep(0.01)
        """,
        Limits(cpu_seconds=2, wall_seconds=1.0, processes=20),
    )
    assert result.outcome in (Outcome.TIMEOUT, Outcome.PROCESSES)


def test_the_number_of_processes_is_limited() -> None:
    result = attempt("""
        import os, time
        made = 0
        try:
            while made < 1000:
                if os.fork() == 0:
                    time.sleep(60)
                made += 1
        except OSError:
            print(made)
        """)
    assert int(result.stdout) <= 32


def test_endless_printing_ends() -> None:
    for stream in ("stdout", "stderr"):
        result = attempt(f"import sys\nwhile True: print('x' * 1000, file=sys.{stream})")
        assert result.outcome is Outcome.OUTPUT
        assert len(getattr(result, stream)) <= SMALL.output_bytes


def test_input_that_is_never_read_does_no_harm() -> None:
    assert run_program("print(1)", "x" * (8 << 20), SMALL).passed
    closing = "import os\nos.close(0)\nprint(1)"
    assert run_program(closing, "x" * (8 << 20), SMALL).stdout == "1\n"


def test_open_files_are_limited() -> None:
    result = attempt("kept = [open('/dev/null') for _ in range(1000)]")
    assert result.outcome is Outcome.FAILED
    assert "Too many open files" in result.stderr


def test_a_crash_of_the_interpreter_is_a_crash() -> None:
    result = attempt("import ctypes\nctypes.string_at(0)")
    assert (result.outcome, result.signal) == (Outcome.CRASH, 11)


def test_deep_recursion_fails_or_crashes() -> None:
    assert attempt("def f(): f()\nf()").outcome is Outcome.FAILED
    deeper = "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return [f, sorted([1], key=f)]\nf(1)"
    assert attempt(deeper).outcome in (Outcome.CRASH, Outcome.MEMORY, Outcome.TIMEOUT)


# -- other processes -------------------------------------------------------------------------------------------


def test_killing_everything_kills_only_itself() -> None:
    result = attempt("""
        import os, signal
        for target in (os.getppid(), 1, -1, 0):
            try:
                os.kill(target, signal.SIGKILL)
            except OSError:
                pass
        """)
    assert (result.outcome, result.signal) == (Outcome.CRASH, 9)


def test_no_process_of_the_host_can_be_signalled() -> None:
    result = attempt(f"""
        import os
        try:
            os.kill({os.getpid()}, 0)
            print("there")
        except ProcessLookupError:
            print("no")
        """)
    assert result.stdout == "no\n"


def test_daemons_end_with_the_program(mark: str) -> None:
    """Forked twice, in a session of their own, with every stream closed; the program itself ends at once."""
    result = attempt(f"""
        import os, sys, time
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    for descriptor in range(3):
                        os.close(descriptor)
                    os.execv(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(300)", {mark!r}])
                os._exit(0)
        time.sleep(0.3)
        """)
    assert result.passed, result.stderr
    assert left_over(mark) == []


def test_a_daemon_that_holds_the_output_open_does_not_hold_the_run() -> None:
    begun = time.monotonic()
    result = attempt("import os, time\nprint('done', flush=True)\nif os.fork() == 0: time.sleep(300)")
    assert (result.outcome, result.stdout) == (Outcome.PASSED, "done\n")
    assert time.monotonic() - begun < 60


def test_system_calls_that_reach_further_are_refused() -> None:
    result = attempt("""
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        def refused(name, *arguments):
            value = getattr(libc, name)(*arguments)
            print(name, value, ctypes.get_errno())
        refused("unshare", 0x10000000)
        refused("ptrace", 16, 1, 0, 0)
        refused("mount", b"none", b"/tmp", b"tmpfs", 0, 0)
        refused("setns", 0, 0)
        """)
    assert result.stdout.splitlines() == [f"{n} -1 1" for n in ("unshare", "ptrace", "mount", "setns")]


def test_many_hostile_programs_beside_honest_ones() -> None:
    """Each gets its own outcome, and the honest ones aren't disturbed."""
    hostile = [
        "while True: pass",
        "import os\nos.kill(-1, 9)",
        "x = bytearray(1 << 40)",
        "print('x' * 10**7)",
    ]
    programs = [(source, "") for each in hostile for source in (each, "print(7)")]
    before = processes()
    results = run_many(programs, Limits(cpu_seconds=1))
    assert [r.stdout for r in results[1::2]] == ["7\n"] * len(hostile)
    outcomes = [r.outcome for r in results[::2]]
    assert outcomes[0] is Outcome.TIMEOUT
    assert outcomes[2:] == [Outcome.MEMORY, Outcome.OUTPUT]
    assert processes() == before


def test_leaving_early_ends_the_program() -> None:
    """An exception in dasd's own thread (here: an interrupt) leaves no process behind."""
    from dasd.evaluation.sandbox import box as module

    before = processes()
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with module.Box("program", {"program": "import time\ntime.sleep(300)"}, SMALL):
            assert processes() > before
            raise KeyboardInterrupt
    assert processes() == before


def test_the_scan_for_processes_sees_one_inside(mark: str) -> None:
    """So that finding none, in the tests above, means something."""
    from dasd.evaluation.sandbox import box as module

    source = f"import os, sys\nos.execv(sys.executable, [sys.executable, '-S', '-c', 'import time; time.sleep(300)', {mark!r}])"
    with module.Box("program", {"program": source}, SMALL) as box:
        threading.Thread(target=module.finish, args=(box,), daemon=True).start()
        end = time.monotonic() + 60
        while not left_over(mark) and time.monotonic() < end:
            pass
        assert left_over(mark)
        box.kill()
        assert left_over(mark) == []


def test_a_killed_run_takes_its_programs_along(mark: str) -> None:
    source = f"import os, sys\nos.execv(sys.executable, [sys.executable, '-S', '-c', 'import time; time.sleep(300)', {mark!r}])"
    code = f"from dasd.evaluation.sandbox import run_program\nrun_program({source.replace(mark, '@')!r}.replace('@', open(0).read()))"
    run = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert run.stdin is not None
    run.stdin.write(mark.encode())
    run.stdin.close()
    end = time.monotonic() + 60
    while not left_over(mark) and time.monotonic() < end:
        pass
    assert left_over(mark)
    run.kill()
    run.wait()
    while left_over(mark) and time.monotonic() < end:
        pass
    assert left_over(mark) == []
