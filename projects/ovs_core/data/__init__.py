"""Datasets: registration, preparation, checks, loading."""
