"""The plan model and the builder behind @saga: pure, no I/O."""
