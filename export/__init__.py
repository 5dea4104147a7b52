"""Traces templates of bundles, and compares bundles with checkpoints; needs the `export` extra."""
