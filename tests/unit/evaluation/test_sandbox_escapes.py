"""Programs that try to see, reach or write what isn't theirs. docs/sandbox.md sums them up."""

from __future__ import annotations

import os
import shutil
import socket
import uuid
from pathlib import Path

import pytest
from tests.unit.evaluation.sandbox_attempts import attempt

from dasd.evaluation.sandbox import Outcome

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap isn't installed")

# -- what it sees ----------------------------------------------------------------------------------------------


def test_files_of_the_system_and_the_home_are_not_there(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    home_file = next((p for p in sorted(Path.home().iterdir()) if p.is_file()), secret)
    paths = [
        "/etc/shadow",
        "/etc/passwd",
        "/etc/hostname",
        "/proc/self/environ",
        "/sys/kernel",
        secret,
        home_file,
    ]
    paths += [
        Path(__file__),
        Path.cwd() / "pyproject.toml",
        "/var/log",
        "/run",
        "/root/.ssh",
        "/root/.bashrc",
    ]
    result = attempt(f"""
        import os
        for path in {[str(path) for path in paths]!r}:
            assert not os.path.exists(path), path
            try:
                open(path)
            except OSError:
                continue
            print(path)
        """)
    assert (result.outcome, result.stdout) == (Outcome.PASSED, ""), result.stderr


def test_the_home_directory_shows_no_entry_of_its_own() -> None:
    result = attempt(f"""
        import os
        seen = []
        for base, folders, files in os.walk({str(Path.home())!r}):
            folders[:] = [f for f in folders if f not in ("bin", "lib", "lib64")]
            seen += files
        print(seen)
        """)
    assert result.stdout.strip() == "[]", result.stderr


def test_a_link_out_of_the_working_directory_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    result = attempt(f"""
        import os
        os.symlink({str(tmp_path / "secret")!r}, "link")
        try:
            print(open("link").read())
        except OSError:
            print("no")
        """)
    assert result.stdout == "no\n"


def test_the_environment_is_empty_of_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    result = attempt("import os; print(sorted(os.environ))")
    assert "SECRET_TOKEN" not in result.stdout
    assert "HOME" in result.stdout


def test_no_descriptor_of_the_host_is_open(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as stream:
        os.set_inheritable(stream.fileno(), True)
        result = attempt("""
            import os
            found = []
            for descriptor in range(3, 64):
                try:
                    os.fstat(descriptor)
                    found.append(descriptor)
                except OSError:
                    pass
            print(found)
            """)
    assert result.stdout == "[]\n"


def test_it_is_nobody_without_any_right() -> None:
    result = attempt("""
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        print(os.getuid() != 0, os.listdir("/tmp"), os.sched_getaffinity(0) != set())
        print(libc.prctl(39, 0, 0, 0, 0), [libc.prctl(23, c, 0, 0, 0) for c in range(40)].count(1))
        for attempt in (lambda: os.setuid(0), lambda: os.chroot("/tmp"), lambda: os.mknod("d", 0o20600, 5)):
            try:
                attempt()
                print("could")
            except OSError:
                pass
        """)
    assert result.stdout == "True [] True\n1 0\n", result.stderr


# -- the network -----------------------------------------------------------------------------------------------


def test_the_hosts_own_server_is_out_of_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = attempt(f"""
            import socket
            try:
                socket.create_connection(("127.0.0.1", {port}), timeout=2)
                print("connected")
            except OSError:
                print("no")
            """)
        server.settimeout(0.0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert result.stdout == "no\n"


def test_no_name_no_route_and_no_abstract_socket() -> None:
    name = f"\0dasd-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        result = attempt(f"""
            import socket
            def tries(work):
                try:
                    work()
                    print("reached")
                except OSError:
                    print("no")
            tries(lambda: socket.getaddrinfo("example.org", 80))
            tries(lambda: socket.create_connection(("192.0.2.1", 53), timeout=2))
            tries(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)))
            tries(lambda: socket.socket(socket.AF_UNIX).connect({name!r}))
            """)
    assert result.stdout == "no\n" * 4


# -- writing ---------------------------------------------------------------------------------------------------


def test_nothing_can_be_written_outside_of_the_working_directory() -> None:
    result = attempt("""
        import os, sys
        folders = ["/", "/usr/lib", "/usr/bin", "/dev", "/root", "/home", os.path.dirname(os.__file__), sys.prefix]
        for folder in folders:
            try:
                open(os.path.join(folder, "escaped"), "w")
                print("wrote", folder)
            except OSError:
                pass
        open("here", "w").write("x")
        """)
    assert (result.outcome, result.stdout) == (Outcome.PASSED, ""), result.stderr
    assert not Path("/tmp/here").exists()


def test_nothing_lasts_from_one_program_to_the_next() -> None:
    assert attempt("open('/tmp/kept', 'w').write('x')").passed
    assert attempt("import os; print(os.listdir('/tmp'))").stdout == "[]\n"


def test_a_full_disk_is_its_own() -> None:
    free = shutil.disk_usage("/tmp").free
    result = attempt("""
        total = 0
        try:
            for number in range(1000):
                with open(str(number), "wb") as stream:
                    total += stream.write(bytes(8 << 20))
        except OSError as error:
            print(error.errno, total >> 20)
        """)
    number, written = map(int, result.stdout.split())
    assert number == 28
    assert written <= 64
    assert shutil.disk_usage("/tmp").free > free - (256 << 20)


def test_one_file_has_a_size_limit() -> None:
    result = attempt("open('big', 'wb').write(bytes(20 << 20))")
    assert result.outcome in (Outcome.FAILED, Outcome.CRASH)


def test_a_zip_bomb_fills_only_what_it_may() -> None:
    result = attempt("""
        import io, zipfile, zlib
        packed = bytes(64 << 20)
        for _ in range(3):
            packed = zlib.compress(packed, 9)
        for _ in range(3):
            packed = zlib.decompress(packed)
        packed * 8
        """)
    assert result.outcome is Outcome.MEMORY
