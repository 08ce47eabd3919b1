"""The report: numbers gathered from a run directory, figures, and one self-contained page."""
