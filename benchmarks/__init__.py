"""Benchmarks: each module is a command that prints its table and writes `results/NAME.json`."""
