"""Findings → one self-contained HTML page, pictures and JSON."""
