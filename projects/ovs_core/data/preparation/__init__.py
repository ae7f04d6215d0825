"""Preparing benchmarks: one module per source, and the jobs that they share."""
