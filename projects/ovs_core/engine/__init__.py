"""Configs, training, evaluation, checkpoints, launching."""
