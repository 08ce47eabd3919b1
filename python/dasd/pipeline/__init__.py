"""A run: its graph, its stages, the runner, and the plan before it."""
