"""Benchmarks, run from the repository: `python -m benchmarks.kernels`. No part of the package."""
