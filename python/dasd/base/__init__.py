"""The ground that all rooms stand on: schemas and records, files and checksums, seeds, progress."""
