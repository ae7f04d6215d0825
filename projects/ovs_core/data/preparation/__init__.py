"""Preparing benchmarks: one module per source, and the jobs and the command that they share."""
