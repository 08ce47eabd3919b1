"""What must not happen: a dead interpreter, a deaf one, a stuck child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from dasd import _native, kernels

TOKENS = pl.Series([[1, 2, 3], [1, 2, 3], [4]], dtype=pl.List(pl.UInt32))


def python(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("in_kernel", [True, False], ids=["in the kernel", "before it"])
def test_a_panic_is_an_exception_and_the_next_call_works(in_kernel: bool) -> None:
    script = f"""
from dasd import _native, kernels
import polars as pl
for _ in range(3):
    try:
        _native._panic_for_test({in_kernel})
    except RuntimeError as error:
        print(error)
print(kernels.pack(pl.Series([1, 1]), 2).to_list())
"""
    process = python(script)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    words = "a kernel of dasd panicked, which is a bug of dasd: asked for by a test"
    assert out.splitlines() == [words] * 3 + ["[0, 0]"]


def test_control_c_ends_a_long_call() -> None:
    script = """
from dasd import _native
print("started", flush=True)
try:
    _native._wait_for_test(60.0)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    process = python(script)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    # The signal may come before the call is entered, where Python itself raises the interrupt; either
    # way it must not take the sixty seconds.
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=30)
    assert time.monotonic() - started < 20
    assert out == "interrupted\n" or "KeyboardInterrupt" in error


def test_control_c_ends_a_kernel_at_work() -> None:
    # Few shingles for very many bins, nearly all of which have to borrow: takes minutes.
    script = """
import polars as pl, threading, os, signal
from dasd import kernels
rows = [[20 * row + i for i in range(20)] for row in range(100_000)]
tokens = pl.Series(rows, dtype=pl.List(pl.UInt32))
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    kernels.near_duplicates(tokens, ngram=1, num_hashes=4096)
except KeyboardInterrupt:
    print("interrupted")
"""
    process = python(script)
    out, error = process.communicate(timeout=120)
    assert out == "interrupted\n", error


def test_other_threads_run_meanwhile() -> None:
    ticks = 0
    running = threading.Event()

    def call() -> None:
        running.set()
        _native._wait_for_test(0.5)

    thread = threading.Thread(target=call)
    thread.start()
    running.wait()
    while thread.is_alive():
        ticks += 1
        thread.join(0.01)
    assert ticks > 5


def test_many_threads_may_call_at_once() -> None:
    def call(_: int) -> list[Any]:
        return kernels.near_duplicates(TOKENS).to_list()

    with ThreadPoolExecutor(8) as executor:
        assert set(map(tuple, executor.map(call, range(200)))) == {(0, 0, 2)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_a_pool_of_its_own() -> None:
    script = """
import os, sys, threading
import polars as pl, pyarrow as pa
from dasd import _native, kernels
tokens = pa.array([[1, 2, 3], [1, 2, 3], [4]] * 1000, pa.list_(pa.uint32()))
kernels.near_duplicates(tokens)  # the parent's pool is at work
thread = threading.Thread(target=_native._wait_for_test, args=(1.0,))
thread.start()  # and in use while the child is born
child = os.fork()
if child == 0:
    column = _native.near_duplicates(tokens, 0.8, 5, 128, 0)
    os._exit(0 if len(column) == 3000 else 1)
_, status = os.waitpid(child, 0)
thread.join()
kernels.near_duplicates(tokens)
sys.exit(os.waitstatus_to_exitcode(status))
"""
    process = python(script)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error


@pytest.mark.parametrize(
    ("value", "got"),
    [
        ([[1]], "list: wrap it in polars.Series"),
        (None, "NoneType"),
        ("text", "str"),
        (pl.Series(["a"]), "Utf8View"),
        (pl.Series([1]), "Int64"),
        (pl.Series([["a"]]), "LargeList"),
        (pl.Series([[1.5]]), "LargeList"),
        (pl.DataFrame({"a": [[1]]}), "Struct"),
        (pa.table({"a": [[1]]}), "Struct"),
    ],
)
def test_another_type_is_a_type_error_with_words(value: Any, got: str) -> None:
    for kernel in (kernels.exact_duplicates, kernels.near_duplicates, kernels.repetition):
        with pytest.raises(TypeError, match=f"tokens: wanted .* got {got}"):
            kernel(value)


def test_text_must_be_text() -> None:
    with pytest.raises(TypeError, match="text: wanted text"):
        kernels.sentence_ends(pl.Series([1]))
    for dtype in (pa.string(), pa.large_string(), pa.string_view()):
        assert kernels.sentence_ends(pa.array(["Ab. B", None], dtype)).to_list() == [[4, 5], None]


def test_every_integer_and_list_type_is_read() -> None:
    for dtype in (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Int8, pl.Int16, pl.Int32, pl.Int64):
        assert kernels.exact_duplicates(TOKENS.cast(pl.List(dtype))).to_list() == [0, 0, 2]
    fixed = pl.Series([[1, 2], [1, 2], None], dtype=pl.Array(pl.UInt32, 2))
    assert kernels.exact_duplicates(fixed).to_list() == [0, 0, None]
    assert kernels.exact_duplicates(pa.array([[1], [1]], pa.list_(pa.int64(), 1))).to_list() == [0, 0]


def test_columns_without_any_value() -> None:
    for value in (pl.Series([[], []]), pl.Series([[]]), pl.Series([], dtype=pl.List(pl.UInt32))):
        assert kernels.exact_duplicates(value).to_list() == [0] * len(value)
    assert kernels.exact_duplicates(pl.Series([None, None])).to_list() == [None, None]
    assert kernels.sentence_ends(pl.Series([None])).to_list() == [None]
    assert kernels.pack(pl.Series([]), 3).to_list() == []
    assert kernels.exact_duplicates(pa.array([None, None])).to_list() == [None, None]
    with pytest.raises(ValueError, match="tokens: row 0: wanted a list without nulls"):
        kernels.exact_duplicates(pl.Series([[None]]))


def test_what_a_null_row_hides_is_not_read() -> None:
    values = pa.array([1, -5, None, 2], pa.int64())
    hidden = pa.ListArray.from_arrays(
        pa.array([0, 1, 3, 4], pa.int32()), values, mask=pa.array([False, True, False])
    )
    assert kernels.exact_duplicates(hidden).to_list() == [0, None, 2]


@pytest.mark.parametrize("offsets", [[0, 5, 2], [2, 1, 3]], ids=["too far", "backwards"])
def test_lists_whose_offsets_are_wrong_are_a_value_error(offsets: list[int]) -> None:
    places = pa.array(offsets, pa.int32()).buffers()[1]
    broken = pa.Array.from_buffers(
        pa.list_(pa.uint32()), 2, [None, places], children=[pa.array([1, 2, 3], pa.uint32())]
    )
    with pytest.raises(ValueError, match="tokens: row 0: wanted offsets that increase, up to 3, got"):
        kernels.exact_duplicates(broken)


def test_input_is_read_in_place() -> None:
    # 200 MB of tokens; a copy would show in the process's peak memory.
    script = """
import resource
import numpy as np, polars as pl
from dasd import kernels
tokens = pl.Series(np.arange(50_000_000, dtype=np.uint32).reshape(1000, -1)).arr.to_list()
kernels.exact_duplicates(tokens.head(1))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
kernels.exact_duplicates(tokens)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    process = python(script)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert int(out) < 100


def test_a_result_goes_to_any_arrow_library() -> None:
    column = _native.pack(pl.Series([2, 1]), 3)
    assert len(column) == 2
    assert pa.array(column).to_pylist() == [0, 0]
