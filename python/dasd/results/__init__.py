"""The results of runs: scores of their checkpoints, comparisons, and files that other tools read.

``dasd.results.scores(run)`` is the table as a frame, ``compare(*choose(read(run), ["before", "low"]))`` a
comparison, ``write_scores`` the files. Figures are in ``dasd.results.score_figures``, which imports matplotlib.
"""

from __future__ import annotations

from dasd.results.comparison import compare, holm
from dasd.results.document import comparison_document, scores_document
from dasd.results.files import write_comparison, write_scores
from dasd.results.read import choose, read
from dasd.results.records import ATTEMPTS, COMPARISONS, RESULTS, Compared, Evaluation, Origin, Ungraded
from dasd.results.table import scores

__all__ = [
    "ATTEMPTS",
    "COMPARISONS",
    "RESULTS",
    "Compared",
    "Evaluation",
    "Origin",
    "Ungraded",
    "choose",
    "compare",
    "comparison_document",
    "holm",
    "read",
    "scores",
    "scores_document",
    "write_comparison",
    "write_scores",
]
