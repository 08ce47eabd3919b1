"""The worker process of the verifier ``math``: compares, one request a line, until its input ends.

A comparison that takes too much processor time ends the process by a signal whose action no code can stop,
and memory is limited: both hold even when the process that asked is gone.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from contextlib import suppress

__all__ = ["main"]


def main() -> None:
    """Arguments: seconds of processor time a comparison, bytes of memory. Answers ``ready``, then grades."""
    seconds, memory = float(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What a library prints must not be read as an answer.
    os.dup2(2, 1)
    from dasd.evaluation.verifiers.equality import equal
    from dasd.evaluation.verifiers.symbolic import same

    with suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        expected, found = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            answer = "right" if equal(expected, found, same) else "wrong"
        except MemoryError:
            answer = "out of memory"
        except BaseException:  # noqa: BLE001 - sympy raises anything on odd input; such an answer isn't right
            answer = "wrong"
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(answer + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
