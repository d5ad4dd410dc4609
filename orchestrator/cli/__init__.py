"""The saga command."""
