"""The experiments: each takes a subject and gives back a finding with its null and a computed verdict."""
