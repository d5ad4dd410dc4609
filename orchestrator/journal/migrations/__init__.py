"""The journal's schema migrations, run by ``orchestrator.journal.upgrade``."""
