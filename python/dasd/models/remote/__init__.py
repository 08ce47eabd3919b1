"""A backend that runs in another Python environment: a worker process there, a teacher here that speaks to it."""
