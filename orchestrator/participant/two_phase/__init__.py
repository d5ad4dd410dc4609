"""Branches of atomic groups: prepared transactions, and try, confirm, cancel."""
