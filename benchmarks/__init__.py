"""Measurements against the peers: ``python -m benchmarks.run``; docs/performance.md has what they found."""
