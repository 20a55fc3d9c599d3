"""The experiments: each `run(subject)` gives back findings with their nulls and computed verdicts."""
