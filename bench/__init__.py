"""Measurements: each a command that prints a table beside the goals and writes JSON."""
