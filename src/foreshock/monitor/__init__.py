"""Readings watched while a model runs, and alarms with a stated false-alarm rate."""
