"""The loop that drives runs."""
