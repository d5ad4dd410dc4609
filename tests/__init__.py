"""Tests of saga-orchestrator."""
