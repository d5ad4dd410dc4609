"""Proof: every failure of a saga, explored from its plan. ``verify`` a saga, ``replay`` what was found."""

from orchestrator.testing.proof import replay, verify

__all__ = ["replay", "verify"]
