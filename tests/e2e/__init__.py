"""Whole installations of real processes."""
