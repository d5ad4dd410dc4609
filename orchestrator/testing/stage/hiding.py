"""What keeps the stage's own lines out of pytest's tracebacks of a ``StagingError``: wrong then is a line of the test.

A module says ``__tracebackhide__ = hidden``, which pytest looks for.
"""

from __future__ import annotations

from operator import methodcaller

from orchestrator.errors import StagingError

hidden = methodcaller("errisinstance", StagingError)
