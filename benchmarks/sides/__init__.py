"""Processes that run one side of a comparison in themselves: a line ``N`` in, how long N runs took out."""
