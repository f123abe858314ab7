"""Benchmarks of the router: one file per question, run as `python -m benchmarks`."""
