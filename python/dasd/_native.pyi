"""The compiled kernels. Call them through dasd.kernels, which documents them."""

from typing import Any, final

__all__ = [
    "Column",
    "_panic_for_test",
    "_wait_for_test",
    "compare_sentences",
    "divergence",
    "exact_duplicates",
    "near_duplicates",
    "overlap",
    "pack",
    "repetition",
    "sentence_ends",
    "sentence_probabilities",
]

@final
class Column:
    """One Arrow array, exported through the PyCapsule interface."""

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[Any, Any]: ...
    def __len__(self) -> int: ...

def sentence_ends(text: object) -> Column: ...
def sentence_probabilities(logprobs: object, token_ends: object, sentence_ends: object) -> Column: ...
def compare_sentences(
    teacher_logprobs: object,
    teacher_token_ends: object,
    student_logprobs: object,
    student_token_ends: object,
    sentence_ends: object,
    beta: float,
) -> Column: ...
def divergence(teacher_probabilities: object, student_probabilities: object, beta: float) -> Column: ...
def exact_duplicates(tokens: object) -> Column: ...
def near_duplicates(tokens: object, threshold: float, ngram: int, num_hashes: int, seed: int) -> Column: ...
def repetition(tokens: object) -> Column: ...
def overlap(tokens: object, reference: object, ngram: int) -> Column: ...
def pack(lengths: object, capacity: int) -> Column: ...
def _panic_for_test(in_kernel: bool) -> None: ...
def _wait_for_test(seconds: float) -> None: ...
