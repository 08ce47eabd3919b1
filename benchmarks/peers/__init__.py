"""The peers, each a small function."""
