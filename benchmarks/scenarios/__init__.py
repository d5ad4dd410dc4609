"""One module per scenario; each has ``measure`` functions that return ``Figure``s."""
