"""The state machine of a run: pure functions over events; no clock, no randomness, no I/O."""
